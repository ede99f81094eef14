// SPDX-License-Identifier: Apache-2.0
#include "train/preflight.h"

#include <ATen/core/grad_mode.h>

#include <algorithm>

#include "rollout/rollout.h"
#include "support/error.h"
#include "support/interrupt.h"
#include "support/log.h"
#include "support/strings.h"
#include "train/grpo_metrics.h"
#include "train/update.h"

namespace graft::train {

using support::cat;

rewards::ReportContext report_context(const model::Model& model, const config::RunConfig& config) {
  rewards::ReportContext context;
  context.grounding_space = model.grounding_space();
  context.grounding_format = model.grounding_format();
  context.prompt = cat(config.data.system_prompt.value_or(""), "\n", config.data.question_template);
  return context;
}

rewards::Report sample_report(const Session& session, const PromptSource& prompts,
                              const config::RunConfig& config, std::size_t n_prompts) {
  const at::NoGradGuard no_grad;
  std::int64_t position = 0, skipped = 0;
  const std::vector<PromptItem> drawn =
      prompts.draw(std::min(n_prompts, prompts.size()), &position, &skipped);
  std::vector<const model::Prompt*> sampled;
  std::vector<std::uint64_t> keys;
  for (const PromptItem& item : drawn) {
    sampled.push_back(&item.prompt);
    keys.push_back(item.index);
  }
  const auto features = encode_prompt_images(*session.model, sampled, {});
  const rollout::Rollouts rollouts =
      rollout::generate(*session.model, sampled, features, keys, sampling_options(*session.model, config),
                        [] { return support::interrupt_requested(); });
  std::vector<rewards::Item> items;
  for (const rollout::Completion& completion : rollouts.completions) {
    items.push_back(reward_item(drawn[completion.prompt], completion, completion.prompt));
  }
  return rewards::examine(*session.rewards, items, report_context(*session.model, config));
}

void run_preflight(const Session& session, const PromptSource& prompts, const config::RunConfig& config) {
  if (!config.preflight.enabled) return;
  for (const rewards::Mismatch& m :
       rewards::check_contracts(*session.rewards, report_context(*session.model, config))) {
    support::log_warn(cat("preflight, ", rewards::mismatch_text(m)));
  }
  const rewards::Report report =
      sample_report(session, prompts, config, static_cast<std::size_t>(config.preflight.prompts));
  if (report.is_pointless()) {
    throw support::PreflightError(cat(
        "training would be pointless: ", rewards::report_text(report),
        "\ngraft doctor rewards shows this with more prompts; preflight.enabled=false trains all the same"));
  }
  if (!report.mismatches.empty()) {
    support::log_warn(cat("preflight: ", rewards::verdict(report), " (graft doctor rewards tells more)"));
  }
  support::log_info(cat("preflight: ", report.completions, " completions of ", report.groups, " prompts, ",
                        support::fixed(100.0 * (1.0 - report.zero_variance), 0),
                        " % of the groups tell good completions from bad"));
}

}  // namespace graft::train
