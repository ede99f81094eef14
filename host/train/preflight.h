// SPDX-License-Identifier: Apache-2.0
// Before the first update: would these rewards teach this model anything?
#pragma once

#include <cstddef>

#include "config/run_config.h"
#include "rewards/report.h"
#include "train/prompt_source.h"
#include "train/session.h"

namespace graft::train {

// What rewards are examined against: the family's own way to write boxes, and the prompt as the configuration has it.
[[nodiscard]] rewards::ReportContext report_context(const model::Model& model,
                                                    const config::RunConfig& config);

// Samples rollout.num_generations completions of each of the first `prompts` prompts of the run's order and examines them. The
// draws are the run's own of step 0, and nothing of the run's state changes. support::Interrupted on a signal.
[[nodiscard]] rewards::Report sample_report(const Session& session, const PromptSource& prompts,
                                            const config::RunConfig& config, std::size_t n_prompts);

// Warns of contradictions and mismatches. PreflightError if no completion would get an advantage, so that training were
// pointless.
void run_preflight(const Session& session, const PromptSource& prompts, const config::RunConfig& config);

}  // namespace graft::train
