// SPDX-License-Identifier: Apache-2.0
// The keys of a run's configuration for people, made from the table in config/run_keys.h.
#pragma once

#include <string>

#include "config/run_config.h"

namespace graft::config {

// configs/README.md: every key with what it accepts, its default, the commands it serves and its flag, as
// Markdown.
[[nodiscard]] std::string reference_markdown();

// The part of `graft <command> --help` about configuration: the keys that serve the command, in plain text.
[[nodiscard]] std::string help_text(Command command);

}  // namespace graft::config
