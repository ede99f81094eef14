// SPDX-License-Identifier: Apache-2.0
// Rules about the signal: what the completions are like, and whether the rewards tell them apart.
#include <algorithm>
#include <cmath>

#include "monitor/rules.h"
#include "support/strings.h"

namespace graft::monitor {

namespace {

using support::cat;
using support::fixed;

std::string percent(double share) {
  return cat(fixed(100.0 * share, 0), " %");
}

// A component that gives every completion the same score.
std::vector<Found> constant_reward(const Situation& s) {
  std::vector<Found> found;
  for (const std::string& name : s.history.between("rewards/", "/mean")) {
    const auto means = s.history.last(cat("rewards/", name, "/mean"), s.limits.constant_steps);
    const auto stds = s.history.last(cat("rewards/", name, "/std"), s.limits.constant_steps);
    if (means.empty() || stds.size() != means.size()) continue;
    const bool is_constant = std::all_of(stds.begin(), stds.end(), [](double std) { return std <= 1e-9; }) &&
                             std::all_of(means.begin(), means.end(),
                                         [&](double mean) { return std::abs(mean - means[0]) <= 1e-9; });
    if (!is_constant) continue;
    const std::string seen = cat("reward ", name, " was ", fixed(means[0], 4), " for every completion of ",
                                 s.limits.constant_steps, " steps");
    if (means[0] > 0.0) {
      found.push_back({cat(seen,
                           ": all completions earn it alike, so it teaches nothing any more; that is "
                           "fine for a format that is kept, but another reward has to tell good from bad"),
                       name, Severity::kNote});
    } else {
      found.push_back({cat(seen,
                           ": none earns it, so it teaches nothing. Compare what the model writes "
                           "(completions.jsonl) with what the reward reads (graft plugins show ",
                           name,
                           "): another answer format or coordinate space, a prompt template that asks "
                           "for the format, or a warm-up with graft sft"),
                       name});
    }
  }
  return found;
}

// Rewards NAME whose rewards/NAME/`kind` is at or above `limit` over the window; `say` takes the name and that share in percent.
template <typename Say>
std::vector<Found> rewards_above(const Situation& s, const std::string& kind, double limit, const Say& say) {
  std::vector<Found> found;
  for (const std::string& name : s.history.between("rewards/", "/" + kind)) {
    const auto shares = s.history.last(cat("rewards/", name, "/", kind), s.limits.window);
    if (shares.empty() || mean(shares) < limit) continue;
    found.push_back({say(name, percent(mean(shares))), name});
  }
  return found;
}

std::vector<Found> unparsable(const Situation& s) {
  return rewards_above(s, "unparsable", s.limits.unparsable_share, [&](const auto& name, const auto& share) {
    return cat(
        "reward ", name, " could not read ", share, " of the completions of ", s.limits.window,
        " steps; the reasons stand in completions.jsonl. The model writes another format than the reward "
        "expects: choose the reward's parameters or a prompt template accordingly, or teach the format with "
        "graft sft first");
  });
}

std::vector<Found> no_score(const Situation& s) {
  return rewards_above(s, "no_score", s.limits.no_score_share, [&](const auto& name, const auto& share) {
    return cat(
        "reward ", name, " gave no score to ", share, " of the completions of ", s.limits.window,
        " steps (no opinion, error or timeout); they do not count in their groups. The reasons stand in "
        "completions.jsonl");
  });
}

std::vector<Found> zero_variance(const Situation& s) {
  const auto shares = s.history.last("frac_reward_zero_std", s.limits.window);
  if (shares.empty() || mean(shares) < s.limits.zero_variance_share) return {};
  const std::string seen =
      cat("in ", percent(mean(shares)), " of the groups of ", s.limits.window,
          " steps all completions have the same reward, so that these groups teach nothing");
  const double low = mean(s.history.last("frac_reward_zero_std_low", s.limits.window));
  const double high = mean(s.history.last("frac_reward_zero_std_high", s.limits.window));
  if (high > 2.0 * low) {
    return {{cat(seen,
                 "; nearly all of them succeed: the data is too easy by now. Take harder samples, or end "
                 "the run")}};
  }
  if (low > 2.0 * high) {
    return {{cat(seen,
                 "; nearly all of them fail: the task is too hard as it is asked, or the reward does not "
                 "read what the model writes (see completions.jsonl). More completions a prompt "
                 "(rollout.num_generations), a higher rollout.temperature, easier samples, a softer "
                 "reward, or a warm-up with graft sft")}};
  }
  return {{cat(seen,
               "; some fail and some succeed as a whole: more completions a prompt "
               "(rollout.num_generations), a higher rollout.temperature, or a reward with finer steps")}};
}

// The mean reward of the newest steps is not above that of the first by more than chance.
std::vector<Found> flat_reward(const Situation& s) {
  const std::int64_t quarter = std::max<std::int64_t>(1, s.limits.flat_steps / 4);
  if (s.history.step() < s.limits.flat_steps) return {};
  const auto early = s.history.first("reward", quarter), late = s.history.last("reward", quarter);
  if (early.size() < 2 || late.size() < 2) return {};
  const auto variance = [](const std::vector<double>& values) {
    double squares = 0.0;
    for (double value : values) squares += (value - mean(values)) * (value - mean(values));
    const auto n = static_cast<double>(values.size());
    return squares / (n - 1.0) / n;
  };
  const double error = std::sqrt(variance(early) + variance(late));
  if (mean(late) > mean(early) + 2.0 * error) return {};
  const auto nearly_best = s.history.newest("frac_reward_zero_std_high");
  if (nearly_best && *nearly_best > 0.5) return {};  // nothing left to learn
  return {
      {cat("the reward has not risen: ", fixed(mean(early), 4), " in the first ", quarter, " steps, ",
           fixed(mean(late), 4), " in the last ", quarter, " (standard error ", fixed(error, 4),
           "). With LoRA the usual cause is a learning rate near full fine-tuning's, which wants to be about "
           "ten times higher; else look at frac_reward_zero_std, grad_norm and completions.jsonl")}};
}

std::vector<Found> length_explosion(const Situation& s) {
  const auto early = s.history.first("completions/mean_length", s.limits.window);
  const auto late = s.history.last("completions/mean_length", s.limits.window);
  if (early.empty() || late.empty() || mean(late) < s.limits.length_growth * mean(early)) return {};
  return {
      {cat("completions have grown from ", fixed(mean(early), 1), " to ", fixed(mean(late), 1),
           " tokens. If the answers did not improve with them, length pays by itself: objective.loss_type="
           "dr_grpo with scale_rewards=none has no bias by length, or add a reward on length")}};
}

std::vector<Found> truncation(const Situation& s) {
  const auto shares = s.history.last("completions/clipped_ratio", s.limits.window);
  if (shares.empty() || mean(shares) < s.limits.truncated_share) return {};
  const std::string limit =
      s.facts.max_completion_length ? cat(" (", *s.facts.max_completion_length, " tokens)") : std::string();
  return {
      {cat(percent(mean(shares)), " of the completions of ", s.limits.window,
           " steps were cut at rollout.max_completion_length", limit,
           " before they ended, so their rewards say little. Raise the limit, ask for shorter answers, or "
           "leave them out with objective.mask_truncated_completions")}};
}

std::vector<Found> reward_follows_length(const Situation& s) {
  const auto values = s.history.last("reward_length_correlation", s.limits.window);
  if (values.empty() || std::abs(mean(values)) < s.limits.reward_length_correlation) return {};
  const bool is_longer = mean(values) > 0;
  return {
      {cat("within a step, ", is_longer ? "longer" : "shorter",
           " completions have the higher reward: "
           "correlation ",
           fixed(mean(values), 2), " over ", s.limits.window,
           " steps. Look in completions.jsonl whether length itself is rewarded, for instance by truncated "
           "answers that cannot earn anything")}};
}

}  // namespace

std::vector<Rule> reward_rules() {
  return {
      {"constant_reward", "rewards/NAME/std is 0 for monitor.constant_steps",
       "graft's choice: frameworks log it and say nothing", constant_reward},
      {"unparsable", "rewards/NAME/unparsable at or above monitor.unparsable_share over monitor.window",
       "graft's choice, after VLM-R1 issue 26: the format never matched", unparsable},
      {"no_score", "rewards/NAME/no_score at or above monitor.no_score_share over monitor.window",
       "graft's choice; errors of rewards are silently 0 elsewhere", no_score},
      {"zero_variance", "frac_reward_zero_std at or above monitor.zero_variance_share over monitor.window",
       "TRL's metric; which side, as tinker-cookbook's by_group/frac_all_good and frac_all_bad",
       zero_variance},
      {"flat_reward",
       "reward of the last quarter of monitor.flat_steps within two standard errors of the first",
       "TRL issue 2872: LoRA with a learning rate for full fine-tuning", flat_reward},
      {"length_explosion",
       "completions/mean_length above monitor.length_growth times that of the first steps",
       "Liu et al. 2025, arXiv:2503.20783 (Dr. GRPO): the bias by length", length_explosion},
      {"truncation", "completions/clipped_ratio at or above monitor.truncated_share over monitor.window",
       "Yu et al. 2025, arXiv:2503.14476 (DAPO): overlong filtering", truncation},
      {"reward_follows_length",
       "reward_length_correlation at or beyond monitor.reward_length_correlation over monitor.window",
       "graft's choice", reward_follows_length},
  };
}

}  // namespace graft::monitor
