// SPDX-License-Identifier: Apache-2.0
// The schema of a run's configuration, made from the table in config/run_keys.h.
#pragma once

#include <string>
#include <vector>

#include "config/run_config.h"
#include "config/schema.h"

namespace graft::config {

struct KeyInfo {
  std::string path;     // "optimizer.learning_rate"
  std::string section;  // title for tables: "AdamW and its learning rate"
  std::string flag;     // "learning_rate" if `--learning_rate` sets it, else empty
  unsigned commands;    // Command bits
};

struct RunSchema {
  Schema root;
  std::vector<KeyInfo> keys;  // in the order of the documentation

  // Null for a path that is not a key. Paths below an open object ("peft.params.r") belong to that key.
  [[nodiscard]] const KeyInfo* find(const std::string& path) const;
  [[nodiscard]] const KeyInfo* find_flag(const std::string& flag) const;
  // Schema at a dotted path; null if there is none.
  [[nodiscard]] const Schema* schema_at(const std::string& path) const;
};

// Built once; immutable.
[[nodiscard]] const RunSchema& run_schema();

}  // namespace graft::config
