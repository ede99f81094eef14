// SPDX-License-Identifier: Apache-2.0
// Rules between keys, checked before anything is loaded.
#pragma once

#include "config/run_config.h"
#include "config/schema.h"

namespace graft::config {

// Throws UserError that names the keys, what was found and what to do. `where` tells where a key was set.
void check_run_config(const RunConfig& config, Command command, const Where& where);

// The form of peft.rank_pattern and peft.alpha_pattern in a configuration that is resolved but not yet read: an object
// {expression: number} or a list of pairs.
void check_pattern_values(const nlohmann::json& resolved, const Where& where);

// The part about what is trained. What only the strategy or the model can tell is checked when it is attached.
void check_peft(const RunConfig& config, Command command, const Where& where);

// The part about the objective of graft train: parameters that the chosen loss does not use, ratios without old
// log-probabilities, a penalty without a reference.
void check_objective(const RunConfig& config, const Where& where);

// The part about the length of graft train and graft sft, their warm-up, evaluations, best model and early stopping.
void check_schedule(const RunConfig& config, Command command, const Where& where);

}  // namespace graft::config
