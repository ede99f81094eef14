// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <vector>

#include "config/run_config.h"
#include "model/model.h"
#include "rewards/rewards.h"
#include "train/prompt_source.h"

namespace graft::train {

struct Evaluation {
  nlohmann::ordered_json
      summary;  // samples, rewards by name (mean over the scored), iou_accuracy, mean_length, …
  std::vector<nlohmann::ordered_json>
      samples;  // one a sample: id, image, completion, solution, scores, reasons, sizes
};

// Answers the first eval.samples samples of `prompts` in file order, one completion each (greedy unless eval.temperature
// says otherwise), and scores them. The component "iou", if there, also gives the share at or above eval.iou_threshold.
[[nodiscard]] Evaluation evaluate(const model::Model& model, const rewards::RewardSet& rewards,
                                  const PromptSource& prompts, const config::RunConfig& config);

}  // namespace graft::train
