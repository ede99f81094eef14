// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "config/run_config.h"

namespace graft::train {

// Where the search for the best model stands; part of a run's state.
struct BestModel {
  std::string metric;           // that the rest is about; empty: none is searched
  std::optional<double> value;  // null: no evaluation gave one yet
  std::int64_t step = 0;        // of that value, and of the checkpoint that holds the model
  std::int64_t evaluations_without_improvement = 0;
};

// Judges evaluations by train.metric_for_best_model, as transformers' Trainer and its EarlyStoppingCallback do.
class BestModelRule {
 public:
  explicit BestModelRule(const config::TrainConfig& config);

  // "eval_iou", also where the configuration says "iou"; empty: no best model is kept.
  [[nodiscard]] const std::string& metric() const { return metric_; }

  // UserError with the list of names unless the metric is among `names` ("eval_reward", …).
  void require_known(const std::vector<std::string>& names) const;

  // Takes in an evaluation's row at `step`; true if it is the best so far. A metric without a value (null, NaN) is no
  // improvement. What other metric `best` was about is forgotten.
  bool update(BestModel& best, std::int64_t step, const nlohmann::ordered_json& row) const;

  // True once early_stopping_patience evaluations in a row have not improved.
  [[nodiscard]] bool is_exhausted(const BestModel& best) const;

 private:
  std::string metric_;
  bool greater_is_better_;
  std::optional<std::int64_t> patience_;
  double threshold_;
};

}  // namespace graft::train
