// SPDX-License-Identifier: Apache-2.0
// What an Adapter consists of; for adapter.cpp and adapter_save.cpp.
#pragma once

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "adapt/adapter.h"
#include "adapt/plan.h"
#include "adapt/strategy.h"
#include "adapt/values_view.h"

namespace graft::adapt {

struct Adapter::State {
  State(model::Model& m, Strategy s) : model(m), strategy(std::move(s)) {}

  model::Model& model;
  Strategy strategy;
  Plan plan;
  bool is_warm = false;
  std::vector<std::string> modules_to_save;  // whole names once attached
  SitePatterns ranks, alphas;
  std::vector<at::Tensor> trained;    // of plan.tensors
  std::vector<at::Tensor> reference;  // their values at keep_reference()

  // Plans and allocates, for the selection in `input`; what else it holds is filled in.
  void attach(PlanInput input);
  // Reads the tensors of a PEFT directory.
  void load(const std::filesystem::path& directory);

  [[nodiscard]] ModelView view(Grads grads = Grads::kNone, std::int64_t step = 0,
                               std::int64_t total_steps = 0) const {
    return {*plan.hook, model.sites(), model.params(), Weights::kNone, grads, step, total_steps};
  }

 private:
  void require_used(const SitePatterns& patterns, bool is_taken, const char* key,
                    const std::vector<std::vector<std::string>>& names,
                    const std::vector<bool>& selected) const;
};

}  // namespace graft::adapt
