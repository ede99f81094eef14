// SPDX-License-Identifier: Apache-2.0
// Rules about learning: loss, gradient, how far the policy and the adapter have moved.
#include <algorithm>
#include <cmath>

#include "monitor/rules.h"
#include "support/strings.h"

namespace graft::monitor {

namespace {

using support::cat;
using support::fixed;

constexpr double kNoLoss = 1e-6;  // of rewards around 1; float32 sums of centred advantages stay below

std::string short_number(double value) {
  std::string text = cat(value);
  return text.size() > 9 ? fixed(value, 6) : text;
}

bool is_without_loss(const History& history) {
  const auto loss = history.newest("loss");
  return loss && std::abs(*loss) <= kNoLoss && history.newest("reward");
}

std::vector<Found> zero_loss(const Situation& s) {
  const auto norm = s.history.newest("grad_norm");
  if (s.history.step() > 2 || !is_without_loss(s.history) || !norm || *norm <= s.limits.zero_gradient)
    return {};
  return {{cat("the loss is about 0 and the gradient is not (grad_norm ", short_number(*norm),
               "), which is right: advantages are centred and the ratio is 1 on the first step of a rollout. "
               "Watch reward and grad_norm instead"),
           "", Severity::kNote}};
}

std::vector<Found> zero_gradient(const Situation& s) {
  const std::int64_t steps = std::min<std::int64_t>(3, s.limits.window);
  const auto norms = s.history.last("grad_norm", steps);
  const bool is_zero =
      std::all_of(norms.begin(), norms.end(), [&](double norm) { return norm <= s.limits.zero_gradient; });
  if (norms.empty() || !is_zero) return {};
  const double alike = mean(s.history.last("frac_reward_zero_std", steps));
  const std::string cause =
      alike > 0.99
          ? "the rewards of each group are all alike (frac_reward_zero_std is 1): see the reward, not "
            "the optimizer"
          : "although rewards differ: is everything that should learn frozen, or every completion masked "
            "(objective.mask_truncated_completions)?";
  return {{cat("loss and gradient are 0 (grad_norm ", short_number(norms.back()), ") for ", norms.size(),
               " logged steps: nothing is learned, ", cause)}};
}

std::vector<Found> not_a_number(const Situation& s) {
  std::vector<Found> found;
  for (const std::string& name : s.history.nulls()) {
    if (name != "loss" && name != "grad_norm" && name != "reward" && name != "kl" && name != "entropy")
      continue;
    found.push_back({cat(name,
                         " is not a number. For reward: no completion of the step got a score, see "
                         "rewards/NAME/no_score; for the others lower optimizer.learning_rate, keep "
                         "optimizer.max_grad_norm, or compute in float32"),
                     name});
  }
  return found;
}

std::vector<Found> kl_spike(const Situation& s) {
  const auto newest = s.history.newest("kl");
  auto before = s.history.last("kl", s.limits.window);
  if (!newest || before.size() < 3) return {};
  before.pop_back();
  std::nth_element(before.begin(), before.begin() + static_cast<std::ptrdiff_t>(before.size() / 2),
                   before.end());
  const double usual = before[before.size() / 2];
  if (*newest < s.limits.kl_floor || *newest < s.limits.kl_spike * usual) return {};
  return {{cat(
      "kl jumped to ", short_number(*newest), ", from ", short_number(usual), " (median of ", s.limits.window,
      " steps): an update went far from the reference. Lower optimizer.learning_rate or "
      "optimizer.max_grad_norm, or raise objective.beta, and look at the completions of this step")}};
}

std::vector<Found> entropy_collapse(const Situation& s) {
  const auto early = s.history.first("entropy", s.limits.window),
             late = s.history.last("entropy", s.limits.window);
  if (early.empty() || late.empty() || mean(late) > s.limits.entropy_collapse * mean(early)) return {};
  const double reward_std = mean(s.history.last("reward_std", s.limits.window));
  if (reward_std > 0 && mean(s.history.last("frac_reward_zero_std_high", s.limits.window)) > 0.5) return {};
  return {{cat(
      "entropy has fallen from ", short_number(mean(early)), " to ", short_number(mean(late)),
      ": the policy hardly explores any more, and what it has not found by now it will not find. Raise "
      "objective.epsilon_high (DAPO: 0.28) or rollout.temperature, lower the learning rate, or stop here "
      "if the reward is good")}};
}

std::vector<Found> clip_ratio(const Situation& s) {
  const auto shares = s.history.last("clip_ratio/region_mean", s.limits.window);
  if (shares.empty() || mean(shares) < s.limits.clipped_share) return {};
  return {{cat(fixed(100.0 * mean(shares), 0), " % of the tokens were clipped over ", s.limits.window,
               " steps: the policy moves too far from the one that sampled. Fewer optimizer steps a rollout "
               "(objective.num_iterations, train.num_mini_batches), or a lower learning rate")}};
}

std::vector<Found> low_learning_rate(const Situation& s) {
  if (!s.facts.learning_rate || !s.facts.strategy || !s.facts.is_adapter.value_or(false)) return {};
  if (*s.facts.learning_rate >= s.limits.adapter_learning_rate) return {};
  return {{cat("optimizer.learning_rate ", short_number(*s.facts.learning_rate),
               " is that of full fine-tuning; "
               "an adapter (",
               *s.facts.strategy,
               ") learns best at about ten times as much, 1e-5 and above. This is "
               "the most common reason for a reward that does not rise with LoRA")}};
}

std::vector<Found> still_adapter(const Situation& s) {
  const auto change = s.history.newest("adapter/relative_change_mean");
  if (!change) return {};
  if (*change < s.limits.adapter_change) {
    return {{cat(
        "after ", s.history.step(), " steps the adapter has changed the weights by ", short_number(*change),
        " of their norm (mean over the adapted layers; each stands in layer_changes.jsonl): it hardly "
        "moves. Raise optimizer.learning_rate")}};
  }
  const auto still = s.history.newest("adapter/still_layers");
  if (!still || *still < 1) return {};
  return {{cat(
      "after ", s.history.step(), " steps ", fixed(*still, 0),
      " adapted layers have not moved at all "
      "(0 in layer_changes.jsonl): they get no gradient. Leave them out of peft.target_modules, or find out "
      "what cuts them off")}};
}

}  // namespace

std::vector<Rule> update_rules() {
  return {
      {"not_a_number", "loss, grad_norm, reward, kl or entropy without a value", "self-evident",
       not_a_number},
      {"zero_gradient", "grad_norm at or below monitor.zero_gradient for three steps",
       "TRL issue 3857: reward_std 0 in every group", zero_gradient},
      {"zero_loss", "loss about 0 on the first steps while grad_norm is above monitor.zero_gradient",
       "open-r1 issue 239, TRL issue 2703: expected, and asked about most often", zero_loss},
      {"low_learning_rate", "an adapter with optimizer.learning_rate below monitor.adapter_learning_rate",
       "Schulman et al. 2025, LoRA Without Regret: ten times full fine-tuning's; TRL's guide: 1e-5 against "
       "1e-6",
       low_learning_rate},
      {"still_adapter",
       "adapter/relative_change_mean below monitor.adapter_change, or layers that did not move",
       "PEFT issue 2880, unsloth issue 5039: layers without a gradient; TRL issue 6700: byte-identical "
       "adapter",
       still_adapter},
      {"kl_spike", "kl above monitor.kl_floor and monitor.kl_spike times its median over monitor.window",
       "graft's choice", kl_spike},
      {"entropy_collapse",
       "entropy below monitor.entropy_collapse times that of the first monitor.window steps",
       "Cui et al. 2025, arXiv:2505.22617: reward is bought with entropy; DAPO: clip higher",
       entropy_collapse},
      {"clip_ratio", "clip_ratio/region_mean at or above monitor.clipped_share over monitor.window",
       "graft's choice", clip_ratio},
  };
}

std::span<const Rule> rules() {
  static const std::vector<Rule> all = [] {
    std::vector<Rule> list = reward_rules();
    for (const Rule& rule : update_rules()) list.push_back(rule);
    return list;
  }();
  return all;
}

}  // namespace graft::monitor
