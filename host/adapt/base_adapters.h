// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "adapt/merge.h"
#include "model/hooks.h"
#include "model/model.h"
#include "plugin/registry.h"

namespace graft::adapt {

struct Attachment;
struct Plan;

// Frozen adapters beneath the trained one, first to last: the layer that each sees is the one below it, as with PEFT's
// set_adapter([a, b]); for methods that read the weight it is the weight with those below merged in. Control thread, hooks aside.
class BaseAdapters {
 public:
  BaseAdapters();
  BaseAdapters(BaseAdapters&&) noexcept;
  BaseAdapters& operator=(BaseAdapters&&) noexcept;
  ~BaseAdapters();

  // Loads PEFT directories. UserError as for Adapter::load(), and if two of them have copies of one parameter.
  static BaseAdapters load(model::Model& model, plugin::Registry& registry,
                           const std::vector<std::filesystem::path>& directories);

  [[nodiscard]] bool empty() const { return list_.empty(); }
  // The model's hook for these with `top` above them; `top` may be null.
  [[nodiscard]] std::shared_ptr<model::LinearHook> chain(const std::shared_ptr<model::LinearHook>& top) const;
  // Merges all of them, first to last, into `merged`.
  void merge(MergedParams& merged) const;
  // `params` of the model with all of them merged in, in the model's dtype: what a strategy above starts from.
  [[nodiscard]] std::vector<model::Param> merged_params(std::vector<model::Param> params) const;
  // UserError if an adapter planned above would train copies of what these change.
  void require_no_copies(const std::vector<model::Param>& params, const Plan& above) const;
  // A line each, for people.
  [[nodiscard]] std::string summary() const;

 private:
  struct Item {
    std::string directory;
    std::unique_ptr<Attachment> attachment;
  };
  std::vector<Item> list_;
};

}  // namespace graft::adapt
