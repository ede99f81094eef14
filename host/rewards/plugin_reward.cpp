// SPDX-License-Identifier: Apache-2.0
// Rewards in this process, through the ABI.
#include <graft/reward.h>

#include <utility>

#include "plugin/host_services.h"
#include "rewards/scorer.h"
#include "support/error.h"
#include "support/strings.h"

namespace graft::rewards {

using support::cat;

namespace {

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

RewardDescription describe(const graft_reward_desc* desc, const std::string& who) {
  if (desc == nullptr || desc->n_scores == 0 || desc->score_names == nullptr) {
    throw support::PluginError(cat(who, " declares no scores; describe() has to name at least one"));
  }
  RewardDescription description;
  for (std::uint32_t k = 0; k < desc->n_scores; ++k) {
    description.score_names.emplace_back(plugin::view(desc->score_names[k]));
  }
  description.minimum = desc->minimum;
  description.maximum = desc->maximum;
  description.is_batch_dependent = (desc->properties & GRAFT_REWARD_BATCH_DEPENDENT) != 0;
  if (const graft_output_contract* from = desc->contract; from != nullptr) {
    description.contract = {std::string(plugin::view(from->format)), std::string(plugin::view(from->example)),
                            from->coordinate_space, from->parts, from->box_notations};
  }
  return description;
}

class PluginReward : public Scorer {
 public:
  PluginReward(plugin::Registry& registry, const RewardSpec& spec, const std::string& where)
      : who_(cat("reward \"", spec.name, "\"")),
        instance_(registry.create(registry.find(GRAFT_KIND_REWARD, spec.name), spec.params, where, &params_)),
        table_(&instance_->interface<graft_reward>(GRAFT_INTERFACE_REWARD)) {
    const graft_reward_desc* desc = nullptr;
    plugin::call(who_, [&](graft_error* error) { return table_->describe(instance_->raw(), &desc, error); });
    description_ = describe(desc, cat(who_, " of ", instance_->component().library));
  }

  [[nodiscard]] const RewardDescription& description() const override { return description_; }
  [[nodiscard]] const nlohmann::json& params() const override { return params_; }
  [[nodiscard]] RawScores score(std::span<const Item> items, std::uint64_t step, bool observe) override {
    const BatchView view = make_view(items, step);
    RawScores raw;
    raw.values.resize(items.size() * description_.score_names.size());
    raw.statuses.resize(items.size(), GRAFT_SCORE_OK);
    raw.reasons.resize(items.size());
    if (observe) raw.observations.resize(items.size());
    graft_reward_result result{};
    result.hdr = GRAFT_HDR(graft_reward_result);
    result.scores = raw.values.data();
    result.statuses = raw.statuses.data();
    result.context = &raw;
    result.set_reason = set_reason;
    result.observe = observe ? observe_item : nullptr;
    try {
      plugin::call(who_, [&](graft_error* error) {
        return table_->score(instance_->raw(), &view.batch, &result, error);
      });
    } catch (const support::PluginError& error) {
      raw.failure = error.what();
    }
    return raw;
  }

 private:
  std::string who_;
  nlohmann::json params_;
  std::shared_ptr<plugin::Instance> instance_;
  const graft_reward* table_;
  RewardDescription description_;
};

}  // namespace

std::unique_ptr<Scorer> open_plugin_reward(plugin::Registry& registry, const RewardSpec& spec,
                                           const std::string& where) {
  return std::make_unique<PluginReward>(registry, spec, where);
}

}  // namespace graft::rewards
