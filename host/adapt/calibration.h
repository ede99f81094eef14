// SPDX-License-Identifier: Apache-2.0
// Showing a strategy what its layers are given, before it is planned.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "adapt/base_adapters.h"
#include "adapt/site_patterns.h"
#include "adapt/strategy.h"
#include "model/model.h"
#include "support/error.h"

namespace graft::adapt {

// One pass of a model over some samples.
struct CalibrationPass {
  std::function<void(bool with_head)> run;  // without gradients; logits are computed only if asked for
  at::Tensor answer_rows;  // [A] int64: the decoder's rows of tokens of answers; undefined: prompts alone
};

// Where passes come from; train/ makes them of the training data.
struct CalibrationData {
  std::function<CalibrationPass(std::int64_t)> pass;  // by number, from 0
  std::int64_t most_passes = 0;
};

// The strategy wants to see training data, and there is none.
class NeedsCalibration : public support::UserError {
 public:
  using support::UserError::UserError;
};

// Runs passes until the strategy has seen enough, and takes over what it decides: `selected` and `overrides`, by site, change. The
// model's linear hook is gone afterwards. Returns false if the strategy wants none. `base`: what lies beneath it. UserError if
// it wants one and `data` is null or without a pass. Control thread.
bool calibrate(model::Model& model, const Strategy& strategy, const BaseAdapters& base,
               const CalibrationData* data, std::vector<bool>& selected,
               std::vector<SiteOverrides>& overrides);

}  // namespace graft::adapt
