// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "config/run_config.h"

namespace graft::train {

// The whole of `graft train`: GRPO from configuration to the saved adapter. Writes into output_dir: config.json (resolved),
// metrics.jsonl, completions.jsonl, checkpoint-N/, and at the end adapter/ (or model/ for `full`). On SIGINT or SIGTERM saves a
// checkpoint and throws support::Interrupted.
void run_grpo(const config::LoadedConfig& loaded);

// The whole of `graft sft`, with the same files.
void run_sft(const config::LoadedConfig& loaded);

}  // namespace graft::train
