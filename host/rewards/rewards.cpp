// SPDX-License-Identifier: Apache-2.0
#include "rewards/rewards.h"

#include <graft/reward.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "rewards/scorer.h"
#include "support/error.h"
#include "support/log.h"
#include "support/strings.h"

namespace graft::rewards {

using support::cat;

namespace {

struct Reward {
  [[nodiscard]] const RewardDescription& described() const { return scorer->description(); }

  std::unique_ptr<Scorer> scorer;
  std::string name;
  std::size_t first_component = 0;  // of this reward's scores among all
};

bool counts(Status status) {
  return status == Status::kOk || status == Status::kUnparsable;
}

// Moves checked scores into `scores`; what the plugin got wrong becomes an error status.
void store(const Reward& reward, RawScores raw, Scores& scores, std::size_t reward_index) {
  const std::size_t n_scores = reward.described().score_names.size();
  for (std::size_t i = 0; i < scores.values.size(); ++i) {
    Status status = Status::kError;
    std::string reason = raw.reasons[i];
    if (!raw.failure.empty()) {
      reason = raw.failure;
    } else if (raw.statuses[i] < GRAFT_SCORE_OK || raw.statuses[i] > GRAFT_SCORE_TIMEOUT) {
      reason = cat("the reward returned the unknown status ", raw.statuses[i]);
    } else {
      status = static_cast<Status>(raw.statuses[i]);
    }
    for (std::size_t k = 0; k < n_scores && counts(status); ++k) {
      const double value = raw.values[i * n_scores + k];
      if (std::isfinite(value) && value >= reward.described().minimum && value <= reward.described().maximum)
        continue;
      status = Status::kError;
      reason = cat("the reward returned ", value, ", outside of its declared range [",
                   reward.described().minimum, ", ", reward.described().maximum, "]");
    }
    for (std::size_t k = 0; k < n_scores; ++k) {
      scores.values[i][reward.first_component + k] =
          counts(status) ? raw.values[i * n_scores + k] : std::numeric_limits<double>::quiet_NaN();
    }
    if (status == Status::kError) {
      support::log_once(support::LogLevel::kWarn, cat("reward-error/", reward.name),
                        cat("reward \"", reward.name, "\" could not score a completion: ", reason,
                            "; such completions are left out of their group and counted in rewards/",
                            reward.name, "/no_score (said once)"));
    }
    scores.statuses[i][reward_index] = status;
    scores.reasons[i][reward_index] = std::move(reason);
  }
}

}  // namespace

struct RewardSet::State {
  std::vector<Reward> rewards;
  std::vector<std::string> components, names;
  std::vector<double> weights;
};

RewardSet::RewardSet(plugin::Registry& registry, const std::vector<RewardSpec>& specs)
    : state_(std::make_unique<State>()) {
  std::set<std::string> taken;
  for (std::size_t r = 0; r < specs.size(); ++r) {
    const RewardSpec& spec = specs[r];
    Reward reward;
    reward.name = spec.name;
    const std::string where = cat("rewards.", r, ".params");
    const bool has_process = spec.isolate || is_python_reward(spec.name);
    reward.scorer =
        has_process ? open_process_reward(registry, spec, where) : open_plugin_reward(registry, spec, where);
    reward.first_component = state_->components.size();
    for (const std::string& score_name : reward.described().score_names) {
      std::string name = score_name;
      // The same reward twice, with other parameters: "iou", "iou_2".
      for (int copy = 2; !taken.insert(name).second; ++copy) name = cat(score_name, "_", copy);
      state_->components.push_back(name);
      state_->weights.push_back(spec.weight);
    }
    state_->names.push_back(reward.described().score_names.size() == 1 ? state_->components.back()
                                                                       : cat(spec.name, "_", r + 1));
    state_->rewards.push_back(std::move(reward));
  }
}

RewardSet::~RewardSet() = default;

const std::vector<std::string>& RewardSet::components() const {
  return state_->components;
}
const std::vector<double>& RewardSet::weights() const {
  return state_->weights;
}
const std::vector<std::string>& RewardSet::names() const {
  return state_->names;
}

std::pair<double, double> RewardSet::range() const {
  double low = 0.0, high = 0.0;
  for (const Reward& reward : state_->rewards) {
    for (std::size_t k = 0; k < reward.described().score_names.size(); ++k) {
      const double weight = state_->weights[reward.first_component + k];
      if (weight == 0.0) continue;  // 0 · ∞ is no number
      const double a = weight * reward.described().minimum, b = weight * reward.described().maximum;
      low += std::min(a, b);
      high += std::max(a, b);
    }
  }
  return {low, high};
}

std::vector<RewardInfo> RewardSet::infos() const {
  std::vector<RewardInfo> infos;
  for (std::size_t r = 0; r < state_->rewards.size(); ++r) {
    const Reward& reward = state_->rewards[r];
    const RewardDescription& described = reward.described();
    infos.push_back({state_->names[r], described.contract, reward.scorer->params(), reward.first_component,
                     described.minimum, described.maximum});
  }
  return infos;
}

Scores RewardSet::score(std::span<const Item> items, std::uint64_t step, bool observe) const {
  Scores scores;
  scores.values.assign(items.size(), std::vector<double>(state_->components.size()));
  scores.statuses.assign(items.size(), std::vector<Status>(state_->rewards.size(), Status::kOk));
  scores.reasons.assign(items.size(), std::vector<std::string>(state_->rewards.size()));
  if (observe) {
    scores.observations.assign(items.size(), std::vector<std::optional<Observation>>(state_->rewards.size()));
  }
  if (items.empty()) return scores;
  for (std::size_t r = 0; r < state_->rewards.size(); ++r) {
    RawScores raw = state_->rewards[r].scorer->score(items, step, observe);
    for (std::size_t i = 0; i < raw.observations.size(); ++i)
      scores.observations[i][r] = std::move(raw.observations[i]);
    store(state_->rewards[r], std::move(raw), scores, r);
  }
  return scores;
}

nlohmann::ordered_json score_json(double value) {
  if (std::isnan(value)) return nullptr;
  return value;
}

}  // namespace graft::rewards
