// SPDX-License-Identifier: Apache-2.0
// What an Adapter consists of; for the sources of this folder.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "adapt/adapter.h"
#include "adapt/base_adapters.h"
#include "adapt/plan.h"
#include "adapt/strategy.h"
#include "adapt/values_view.h"

namespace graft::adapt {

// A strategy on the layers of a model, the trained one or one beneath it.
struct Attachment {
  Attachment(model::Model& m, Strategy s) : model(m), strategy(std::move(s)) {}

  model::Model& model;
  Strategy strategy;
  Plan plan;
  bool is_warm = false;
  bool is_calibrated = false;
  std::vector<std::string> modules_to_save;  // whole names once attached
  SitePatterns ranks, alphas;

  // Plans and allocates, for the selection in `input`; what else it holds is filled in.
  void attach(PlanInput input);
  // Reads the tensors of a PEFT directory.
  void load(const std::filesystem::path& directory);

  [[nodiscard]] ModelView view(Grads grads = Grads::kNone, std::int64_t step = 0,
                               std::int64_t total_steps = 0) const {
    return {*plan.hook, model.sites(), model.params(), Weights::kNone, grads, step, total_steps};
  }

 private:
  // Lets the strategy look at training data, if it wants to.
  void calibrate(PlanInput& input);
  void require_used(const SitePatterns& patterns, bool is_taken, const char* key,
                    const std::vector<std::vector<std::string>>& names,
                    const std::vector<bool>& selected) const;
};

// The attachment of a PEFT directory with its values. `options` as for Adapter::attach(), with `adapter` set; `base`: what lies
// beneath it.
[[nodiscard]] std::unique_ptr<Attachment> attach_stored(model::Model& model, plugin::Registry& registry,
                                                        const AttachOptions& options,
                                                        const BaseAdapters& base);

struct Adapter::State {
  std::unique_ptr<Attachment> own;
  BaseAdapters base;
  std::vector<at::Tensor> trained;    // of own->plan.tensors
  std::vector<at::Tensor> reference;  // their values at keep_reference()
};

}  // namespace graft::adapt
