// SPDX-License-Identifier: Apache-2.0
#include "train/best_model.h"

#include <algorithm>
#include <cmath>

#include "support/error.h"
#include "support/strings.h"

namespace graft::train {

using support::cat;

BestModelRule::BestModelRule(const config::TrainConfig& config)
    : metric_(config.metric_for_best_model.value_or("")),
      patience_(config.early_stopping_patience),
      threshold_(config.early_stopping_threshold) {
  if (!metric_.empty() && !metric_.starts_with("eval_")) metric_ = "eval_" + metric_;
  greater_is_better_ = config.greater_is_better.value_or(!metric_.ends_with("loss"));
}

void BestModelRule::require_known(const std::vector<std::string>& names) const {
  if (metric_.empty() || std::find(names.begin(), names.end(), metric_) != names.end()) return;
  throw support::UserError(cat("train.metric_for_best_model is \"", metric_,
                               "\", which the evaluation does not give; it gives ",
                               support::join(names, ", "), support::did_you_mean(metric_, names)));
}

bool BestModelRule::update(BestModel& best, std::int64_t step, const nlohmann::ordered_json& row) const {
  if (metric_.empty()) return false;
  if (best.metric != metric_) best = {metric_, std::nullopt, 0, 0};
  const auto found = row.find(metric_);
  const double value = found != row.end() && found->is_number() ? found->get<double>() : std::nan("");
  const bool is_better =
      !std::isnan(value) && (!best.value || (greater_is_better_ ? value > *best.value : value < *best.value));
  // An improvement of the threshold or less is kept as the best, but does not count for the patience.
  const bool is_progress = is_better && (!best.value || std::abs(value - *best.value) > threshold_);
  best.evaluations_without_improvement = is_progress ? 0 : best.evaluations_without_improvement + 1;
  if (is_better) {
    best.value = value;
    best.step = step;
  }
  return is_better;
}

bool BestModelRule::is_exhausted(const BestModel& best) const {
  return patience_ && best.metric == metric_ && best.evaluations_without_improvement >= *patience_;
}

}  // namespace graft::train
