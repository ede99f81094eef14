// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "adapt/calibration.h"
#include "config/run_config.h"
#include "model/model.h"
#include "train/prompt_source.h"

namespace graft::train {

// Passes over the first samples that training will draw: peft.calibration_samples of them, peft.calibration_batch_size in each pass, over and over.
// With answers where `command` learns them (sft), else prompts alone. Each pass is made anew, so that no more than one is in
// memory. `model` and `prompts` must outlive it.
[[nodiscard]] adapt::CalibrationData calibration_data(const model::Model& model, const PromptSource& prompts,
                                                      const config::RunConfig& config,
                                                      config::Command command);

}  // namespace graft::train
