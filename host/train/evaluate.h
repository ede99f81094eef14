// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "config/run_config.h"
#include "model/model.h"
#include "rewards/rewards.h"
#include "train/prompt_source.h"

namespace graft::train {

struct Evaluation {
  nlohmann::ordered_json summary;  // "samples" and summary_metrics(); null without a value
  std::vector<nlohmann::ordered_json>
      samples;  // one a sample: id, image, completion, solution, scores, reasons, sizes
};

// Names of what the summary gives: reward (weighted sum, mean over the samples with a score), each component by name,
// iou_accuracy, finished, completions/mean_length and completions/clipped_ratio.
[[nodiscard]] std::vector<std::string> summary_metrics(const rewards::RewardSet& rewards);

// How many samples of `prompts`, from the first on, an evaluation looks at: eval.samples, at most all.
[[nodiscard]] std::size_t evaluated_samples(const PromptSource& prompts, const config::EvalConfig& config);

// Answers the first eval.samples samples of `prompts` in file order, one completion each (greedy unless eval.temperature
// says otherwise), and scores them. The component "iou", if there, also gives the share at or above eval.iou_threshold. Bad
// samples are left out, see PromptSource::usable(); support::Interrupted on a signal.
[[nodiscard]] Evaluation evaluate(const model::Model& model, const rewards::RewardSet& rewards,
                                  const PromptSource& prompts, const config::RunConfig& config);

}  // namespace graft::train
