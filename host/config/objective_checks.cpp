// SPDX-License-Identifier: Apache-2.0
#include <string>

#include "config/checks.h"
#include "support/error.h"
#include "support/strings.h"

namespace graft::config {

namespace {

using support::cat;
using support::UserError;

class ObjectiveChecker {
 public:
  ObjectiveChecker(const RunConfig& config, const Where& where)
      : config_(config), c_(config.objective), where_(where) {}

  void run() const {
    check_ratio();
    check_clipping();
    check_reference();
    check_advantages();
    if (c_.parity == "vlm_r1") check_vlm_r1();
  }

 private:
  [[noreturn]] void fail(const char* key, const std::string& text) const {
    throw UserError(cat(where_(key), ": ", key, ' ', text));
  }

  void check_ratio() const {
    if (c_.loss_type == "gspo" && !c_.sequence_ratio()) {
      fail("objective.importance_sampling_level",
           "is \"token\" with loss_type \"gspo\", which has one ratio a completion; use loss_type=grpo for "
           "ratios by token");
    }
    if (c_.old_logprobs != "none") return;
    const bool is_reused = c_.num_iterations > 1 || config_.train.num_mini_batches > 1;
    if (is_reused) {
      const bool by_iterations = c_.num_iterations > 1;
      fail("objective.old_logprobs",
           cat("is \"none\" with ", by_iterations ? "objective.num_iterations " : "train.num_mini_batches ",
               by_iterations ? c_.num_iterations : config_.train.num_mini_batches,
               "; after the first optimizer step the rollout is off-policy, and without old "
               "log-probabilities its ratio "
               "would be wrong; use old_logprobs=auto"));
    }
    for (const auto& [key, is_set] : {std::pair{"objective.epsilon", c_.epsilon.has_value()},
                                      std::pair{"objective.epsilon_high", c_.epsilon_high.has_value()},
                                      std::pair{"objective.delta", c_.delta.has_value()}}) {
      if (is_set) fail(key, "has no effect with old_logprobs \"none\", where every ratio is 1; leave it out");
    }
  }

  void check_clipping() const {
    if (c_.loss_type != "cispo") return;
    if (c_.epsilon) {
      fail("objective.epsilon", cat("is ", *c_.epsilon,
                                    ", but cispo has no lower clip; leave it out (its only bound is "
                                    "epsilon_high, the cap of the ratio itself)"));
    }
    if (c_.delta) fail("objective.delta", "has no effect on cispo; leave it out, its cap is epsilon_high");
  }

  void check_reference() const {
    if (c_.beta == 0) {
      if (c_.use_bias_correction_kl) {
        fail("objective.use_bias_correction_kl",
             "has no effect, because objective.beta is 0; set beta or leave it out");
      }
      if (c_.reference) {
        fail("objective.reference",
             cat("is \"", *c_.reference,
                 "\", but objective.beta is 0, so no reference is used; set beta or leave it out"));
      }
      return;
    }
    if (config_.model.init == "random") {
      fail("objective.beta",
           cat("is ", c_.beta,
               ", but model.init is \"random\": there is no reference policy worth staying close to; set "
               "beta=0 or start from pretrained weights"));
    }
    if (c_.reference == "base" && config_.peft.is_known_to_train_base()) {
      fail("objective.reference",
           cat("is \"base\" with peft.strategy \"", config_.peft.strategy,
               "\", which trains the base weights themselves, so no policy without an adapter is left; use "
               "reference=initial (a copy of the initial weights) or an adapter strategy"));
    }
  }

  void check_advantages() const {
    if (c_.multi_objective_aggregation != "normalize_then_sum") return;
    if (c_.scale_rewards != "group") {
      fail("objective.scale_rewards", cat("is \"", c_.scale_rewards,
                                          "\", which has no effect with multi_objective_aggregation "
                                          "\"normalize_then_sum\"; leave it out"));
    }
  }

  // VLM-R1 knows one objective; everything else would not be its loss.
  void check_vlm_r1() const {
    const auto require = [&](bool holds, const char* key, const char* what) {
      if (!holds) fail(key, cat("does not go with objective.parity=vlm_r1: VLM-R1 has ", what));
    };
    require(c_.loss_type == "grpo", "objective.loss_type", "grpo alone");
    require(!c_.sequence_ratio(), "objective.importance_sampling_level", "ratios by token");
    require(!c_.delta, "objective.delta", "no two-sided clipping");
    require(!c_.corrects_kl(), "objective.use_bias_correction_kl", "the plain k3 term");
    require(c_.old_logprobs == "auto", "objective.old_logprobs",
            "its own way to old log-probabilities; leave it at auto");
    require(c_.scale_rewards == "group", "objective.scale_rewards", "the group's standard deviation");
    require(c_.multi_objective_aggregation == "sum_then_normalize", "objective.multi_objective_aggregation",
            "the sum of rewards");
    require(c_.top_entropy_quantile == 1.0, "objective.top_entropy_quantile", "no entropy mask");
    require(!c_.mask_truncated_completions, "objective.mask_truncated_completions",
            "no mask of truncated completions");
    require(config_.train.num_mini_batches == 1, "train.num_mini_batches",
            "one optimizer step a pass over a rollout");
    require(config_.rollout.temperature == 1.0, "rollout.temperature", "temperature 1");
    for (const RewardConfig& reward : config_.rewards) {
      require(reward.weight == 1.0, "rewards", "no reward weights (all are 1)");
    }
  }

  const RunConfig& config_;
  const ObjectiveConfig& c_;
  const Where& where_;
};

}  // namespace

void check_objective(const RunConfig& config, const Where& where) {
  ObjectiveChecker(config, where).run();
}

}  // namespace graft::config
