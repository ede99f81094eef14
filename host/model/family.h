// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <graft/model_family.h>

#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "model/directory.h"
#include "model/model.h"
#include "plugin/registry.h"

namespace graft::model {

// How a parameter is filled when no weights are read.
struct RandomInit {
  std::int32_t kind = GRAFT_RANDOM_NORMAL;
  double std = 0.02;
};

// What a family declares, copied and checked. Params have no tensors yet.
struct Declarations {
  std::vector<Param> params;
  std::vector<RandomInit> random;  // by parameter
  std::vector<Site> sites;
  std::vector<Segment> segments;
  std::uint32_t head_site = 0;
  std::int64_t vocab_size = 0;
  std::int64_t hidden_size = 0;
  std::int64_t image_value_size = 0;  // columns of image features
  std::uint32_t n_attention_layers = 0;
  std::uint32_t position_rank = 1;
  std::vector<std::int64_t> image_token_ids;
  std::int32_t grounding_space = 0;
  std::string grounding_format;
};

// A model family plugin opened on a directory.
class Family {
 public:
  // Picks the component (options.family: by name, or by asking each one's probe() for "auto"), makes an instance and opens
  // it. Throws UserError for a checkpoint that no family reads or that the family refuses, PluginError for a
  // plugin's mistakes.
  static std::shared_ptr<const Family> open(plugin::Registry& registry, const OpenOptions& options,
                                            const ModelDirectory& directory,
                                            const text::Tokenizer& tokenizer);

  [[nodiscard]] const std::string& name() const { return instance_->component().name; }
  [[nodiscard]] const graft_model_family& table() const { return *table_; }
  [[nodiscard]] graft_instance* instance() const { return instance_->raw(); }
  [[nodiscard]] Declarations describe() const;

  // Runs one slot, with the grad mode restored afterwards and other threads kept out as the component asks
  // for. `what` names the slot in errors. Throws PluginError with the plugin's text.
  void call(const char* what, const std::function<graft_status(graft_error*)>& slot) const;
  // The same for slots that judge the user's data: what the plugin calls an invalid or unsupported argument
  // is a UserError.
  void call_on_user_data(const char* what, const std::function<graft_status(graft_error*)>& slot) const;

 private:
  explicit Family(std::shared_ptr<plugin::Instance> instance);
  std::shared_ptr<plugin::Instance> instance_;
  const graft_model_family* table_;
  std::recursive_mutex*
      mutex_;  // null: any number of threads. Recursive: a slot's callbacks run further slots
  mutable std::recursive_mutex own_mutex_;
};

}  // namespace graft::model
