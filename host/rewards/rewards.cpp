// SPDX-License-Identifier: Apache-2.0
#include "rewards/rewards.h"

#include <graft/reward.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "plugin/host_services.h"
#include "support/error.h"
#include "support/log.h"
#include "support/strings.h"

namespace graft::rewards {

using support::cat;

namespace {

struct Reward {
  std::shared_ptr<plugin::Instance> instance;
  const graft_reward* table = nullptr;
  const graft_reward_desc* desc = nullptr;
  std::string name;
  std::size_t first_component = 0;  // of this reward's scores among all
};

// The ABI's view of a batch; points into `items`.
struct BatchView {
  std::vector<graft_reward_item> items;
  std::vector<std::vector<graft_image_size>> images;
  std::vector<const graft_reward_item*> pointers;
  graft_reward_batch batch{};
};

BatchView make_view(std::span<const Item> items, std::uint64_t step) {
  BatchView view;
  view.items.resize(items.size());
  view.images.resize(items.size());
  for (std::size_t i = 0; i < items.size(); ++i) {
    const Item& from = items[i];
    for (const ImageSize& size : from.images) {
      view.images[i].push_back(
          {size.original_width, size.original_height, size.processed_width, size.processed_height});
    }
    graft_reward_item& to = view.items[i];
    to.hdr = GRAFT_HDR(graft_reward_item);
    to.prompt = plugin::view(from.prompt);
    to.completion = plugin::view(from.completion);
    to.completion_raw = plugin::view(from.completion_raw);
    to.solution = plugin::view(from.solution);
    to.sample_json = plugin::view(from.sample_json);
    to.token_ids = from.token_ids.data();
    to.n_token_ids = from.token_ids.size();
    to.images = view.images[i].data();
    to.n_images = static_cast<std::uint32_t>(view.images[i].size());
    to.finish_reason = from.is_finished ? GRAFT_FINISH_STOP : GRAFT_FINISH_LENGTH;
    to.group = from.group;
    view.pointers.push_back(&to);
  }
  view.batch.hdr = GRAFT_HDR(graft_reward_batch);
  view.batch.items = view.pointers.data();
  view.batch.n_items = items.size();
  view.batch.step = step;
  return view;
}

// What one reward says of a batch, before it is checked.
struct RawScores {
  std::vector<double> values;  // [item, score]
  std::vector<std::int32_t> statuses;
  std::vector<std::string> reasons;
  std::vector<std::optional<Observation>> observations;
  std::string failure;  // of the whole call; empty if it succeeded
};

void set_reason(void* context, std::uint64_t item, graft_str reason) {
  auto& reasons = static_cast<RawScores*>(context)->reasons;
  if (item < reasons.size()) reasons[item] = plugin::view(reason);
}

void observe_item(void* context, std::uint64_t item, const graft_observation* observation) {
  auto& observations = static_cast<RawScores*>(context)->observations;
  if (item >= observations.size() || observation == nullptr) return;
  Observation seen;
  seen.answer = plugin::view(observation->answer);
  seen.key = plugin::view(observation->key);
  for (std::uint64_t i = 0; observation->boxes != nullptr && i < observation->n_boxes; ++i) {
    const double* box = observation->boxes + 4 * i;
    seen.boxes.push_back({box[0], box[1], box[2], box[3]});
  }
  seen.parts = observation->parts;
  seen.box_notations = observation->box_notations;
  observations[item] = std::move(seen);
}

RawScores call_reward(const Reward& reward, const BatchView& view, bool observe) {
  const std::size_t n = view.items.size();
  RawScores raw{std::vector<double>(n * reward.desc->n_scores, 0.0),
                std::vector<std::int32_t>(n, GRAFT_SCORE_OK),
                std::vector<std::string>(n),
                std::vector<std::optional<Observation>>(observe ? n : 0),
                {}};
  graft_reward_result result{};
  result.hdr = GRAFT_HDR(graft_reward_result);
  result.scores = raw.values.data();
  result.statuses = raw.statuses.data();
  result.context = &raw;
  result.set_reason = set_reason;
  result.observe = observe ? observe_item : nullptr;
  try {
    plugin::call(cat("reward \"", reward.name, "\""), [&](graft_error* error) {
      return reward.table->score(reward.instance->raw(), &view.batch, &result, error);
    });
  } catch (const support::PluginError& error) {
    raw.failure = error.what();
  }
  return raw;
}

bool counts(Status status) {
  return status == Status::kOk || status == Status::kUnparsable;
}

// Moves checked scores into `scores`; what the plugin got wrong becomes an error status.
void store(const Reward& reward, RawScores raw, Scores& scores, std::size_t reward_index) {
  const std::size_t n_scores = reward.desc->n_scores;
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
      if (std::isfinite(value) && value >= reward.desc->minimum && value <= reward.desc->maximum) continue;
      status = Status::kError;
      reason = cat("the reward returned ", value, ", outside of its declared range [", reward.desc->minimum,
                   ", ", reward.desc->maximum, "]");
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
    reward.instance = registry.create(registry.find(GRAFT_KIND_REWARD, spec.name), spec.params,
                                      cat("rewards.", r, ".params"));
    reward.table = &reward.instance->interface<graft_reward>(GRAFT_INTERFACE_REWARD);
    plugin::call(cat("reward \"", spec.name, "\""), [&](graft_error* error) {
      return reward.table->describe(reward.instance->raw(), &reward.desc, error);
    });
    if (reward.desc == nullptr || reward.desc->n_scores == 0 || reward.desc->score_names == nullptr) {
      throw support::PluginError(cat("reward \"", spec.name, "\" of ", reward.instance->component().library,
                                     " declares no scores; describe() has to name at least one"));
    }
    reward.first_component = state_->components.size();
    for (std::uint32_t k = 0; k < reward.desc->n_scores; ++k) {
      std::string name(plugin::view(reward.desc->score_names[k]));
      // The same reward twice, with other parameters: "iou", "iou_2".
      for (int copy = 2; !taken.insert(name).second; ++copy) {
        name = cat(plugin::view(reward.desc->score_names[k]), "_", copy);
      }
      state_->components.push_back(name);
      state_->weights.push_back(spec.weight);
    }
    state_->names.push_back(reward.desc->n_scores == 1 ? state_->components.back()
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
    for (std::uint32_t k = 0; k < reward.desc->n_scores; ++k) {
      const double weight = state_->weights[reward.first_component + k];
      if (weight == 0.0) continue;  // 0 · ∞ is no number
      const double a = weight * reward.desc->minimum, b = weight * reward.desc->maximum;
      low += std::min(a, b);
      high += std::max(a, b);
    }
  }
  return {low, high};
}

std::vector<Contract> RewardSet::contracts() const {
  std::vector<Contract> contracts;
  for (const Reward& reward : state_->rewards) {
    Contract contract;
    if (const graft_output_contract* from = reward.desc->contract; from != nullptr) {
      contract = {std::string(plugin::view(from->format)), std::string(plugin::view(from->example)),
                  from->coordinate_space, from->parts, from->box_notations};
    }
    contracts.push_back(std::move(contract));
  }
  return contracts;
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
  const BatchView view = make_view(items, step);
  for (std::size_t r = 0; r < state_->rewards.size(); ++r) {
    RawScores raw = call_reward(state_->rewards[r], view, observe);
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
