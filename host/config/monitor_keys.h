// SPDX-License-Identifier: Apache-2.0
// The keys of the sections "preflight" and "monitor"; part of describe_keys().
#pragma once

#include "config/key_spec.h"
#include "config/run_config.h"

namespace graft::config {

template <typename Visitor>
void describe_preflight_keys(PreflightConfig& c, Visitor& v) {
  v.section("preflight", "The look at a few completions before training, also by graft doctor rewards",
            kTrain);
  v.key("enabled", c.enabled,
        {.description =
             "Sample and score before the first step, say what stands against training, and end with exit "
             "code 4 if no group of completions would teach anything.",
         .flag = "preflight"});
  v.key("prompts", c.prompts,
        {.description = "Prompts, with rollout.num_generations completions each.", .minimum = 1});
}

template <typename Visitor>
void describe_monitor_keys(MonitorConfig& c, Visitor& v) {
  v.section("monitor", "What is watched during training, and by graft doctor run", kTrain | kSft);
  v.key("enabled", c.enabled,
        {.description = "Warn of what is known to waste a run, with its cause and the way out."});
  v.key("ignore", c.ignore,
        {.description =
             "Rules that stay silent, by name; `graft doctor rules` lists them with their sources."});
  v.key("window", c.window,
        {.description = "Steps over which a share or a mean is taken.", .unit = "steps", .minimum = 1});
  v.key("constant_steps", c.constant_steps,
        {.description = "constant_reward: a reward that gave every completion the same score for so long.",
         .unit = "steps",
         .minimum = 1,
         .commands = kTrain});
  v.key("flat_steps", c.flat_steps,
        {.description = "flat_reward: a reward that has not risen in so many steps.",
         .unit = "steps",
         .minimum = 8,
         .commands = kTrain});
  v.key("unparsable_share", c.unparsable_share,
        {.description = "unparsable: share of completions that a reward could not read.",
         .maximum = 1,
         .above = 0,
         .commands = kTrain});
  v.key("no_score_share", c.no_score_share,
        {.description = "no_score: share of completions to which a reward gave no score.",
         .maximum = 1,
         .above = 0,
         .commands = kTrain});
  v.key("zero_variance_share", c.zero_variance_share,
        {.description = "zero_variance: share of groups whose rewards are all alike.",
         .maximum = 1,
         .above = 0,
         .commands = kTrain});
  v.key("length_growth", c.length_growth,
        {.description = "length_explosion: growth of the mean length of completions since the first steps.",
         .above = 1,
         .commands = kTrain});
  v.key("truncated_share", c.truncated_share,
        {.description = "truncation: share of completions cut at rollout.max_completion_length.",
         .maximum = 1,
         .above = 0,
         .commands = kTrain});
  v.key("reward_length_correlation", c.reward_length_correlation,
        {.description = "reward_follows_length: correlation of reward and length, either way.",
         .maximum = 1,
         .above = 0,
         .commands = kTrain});
  v.key("zero_gradient", c.zero_gradient,
        {.description = "zero_gradient, zero_loss: a grad_norm that counts as 0.", .minimum = 0});
  v.key("adapter_learning_rate", c.adapter_learning_rate,
        {.description = "low_learning_rate: an adapter wants at least this.", .minimum = 0});
  v.key("adapter_change", c.adapter_change,
        {.description = "still_adapter: change of the weights by the adapter, as a share of their norm.",
         .minimum = 0});
  v.key("adapter_steps", c.adapter_steps,
        {.description = "Measure the change of each adapted layer every so many steps, into "
                        "layer_changes.jsonl and adapter/relative_change_*; 0: never.",
         .unit = "steps",
         .minimum = 0});
  v.key("kl_spike", c.kl_spike,
        {.description = "kl_spike: a kl so many times its median.", .above = 1, .commands = kTrain});
  v.key("kl_floor", c.kl_floor,
        {.description = "kl_spike: below this kl nothing counts.", .minimum = 0, .commands = kTrain});
  v.key("entropy_collapse", c.entropy_collapse,
        {.description = "entropy_collapse: entropy as a share of that of the first steps.",
         .maximum = 1,
         .above = 0,
         .commands = kTrain});
  v.key(
      "clipped_share", c.clipped_share,
      {.description = "clip_ratio: share of clipped tokens.", .maximum = 1, .above = 0, .commands = kTrain});
}

}  // namespace graft::config
