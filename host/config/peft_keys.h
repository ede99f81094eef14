// SPDX-License-Identifier: Apache-2.0
// The section "peft" of the table in config/run_keys.h.
#pragma once

#include "config/key_spec.h"
#include "config/run_config.h"

namespace graft::config {

template <typename Visitor>
void describe_peft_keys(PeftConfig& c, Visitor& v) {
  v.section("peft", "What is trained", kTrain | kSft);
  v.key(
      "strategy", c.strategy,
      {.description =
           "PEFT strategy plugin: \"lora\", \"full\" (full fine-tuning), \"layers\" (named base layers), …"});
  v.key("params", c.params,
        {.description = "Parameters of the strategy; `graft plugins show NAME` lists them."});
  v.key(
      "target_modules", c.target_modules,
      {.description =
           "Linear layers it applies to: \"all-linear\", a regular expression that matches whole names, or a "
           "list of names and name endings."});
  v.key("exclude_modules", c.exclude_modules,
        {.description = "Layers left out: a regular expression or a list. Wins over target_modules."});
  v.key("components", c.components,
        {.description = "Parts of the model that are trained; layers elsewhere stay frozen.",
         .words = {"language", "vision", "projector", "head"}});
  v.key("layers_to_transform", c.layers_to_transform,
        {.description =
             "Of target_modules, only those in blocks with these numbers. A layer's block is the first "
             "number in its name that other parts follow. Empty: all.",
         .flag = "layers_to_transform",
         .minimum = 0});
  v.key("layers_pattern", c.layers_pattern,
        {.description =
             "Names of the lists of blocks that layers_to_transform counts, such as \"layers\": what "
             "stands before the number. Empty: any.",
         .flag = "layers_pattern"});
  v.key("rank_pattern", c.rank_pattern,
        {.description =
             "Ranks of their own for some layers: {\"expression\": rank}, each for names that end "
             "with it after a dot, or with ^ for whole names. A list [[\"expression\", rank], …] says "
             "which counts where several fit: the first.",
         .flag = "rank_pattern"});
  v.key("alpha_pattern", c.alpha_pattern,
        {.description = "The same for alpha, the strategy's scale.", .flag = "alpha_pattern"});
  v.key("modules_to_save", c.modules_to_save,
        {.description =
             "Modules, by names and name endings, of which the adapter trains and holds whole copies "
             "beside its own parameters.",
         .flag = "modules_to_save"});
  v.key("adapter", c.adapter,
        {.description =
             "Adapter directory in PEFT's format to start from (train, sft) or to use (eval, generate).",
         .flag = "adapter",
         .commands = kAllCommands});
  v.key(
      "base_adapters", c.base_adapters,
      {.description = "Adapter directories that stay frozen beneath the trained one, first to last: the base "
                      "model with the update of each.",
       .commands = kAllCommands});
  v.key("calibration_samples", c.calibration_samples,
        {.description = "Training samples that a strategy looks at before it starts, as lora with init=eva "
                        "does; null: 64.",
         .unit = "samples",
         .minimum = 1});
  v.key("calibration_batch_size", c.calibration_batch_size,
        {.description = "Of them, samples in one pass; null: 8.", .unit = "samples", .minimum = 1});
  v.key("calibration_passes", c.calibration_passes,
        {.description = "Passes at most, over these samples again and again, until the strategy has seen "
                        "enough; null: 100.",
         .minimum = 1});
}

}  // namespace graft::config
