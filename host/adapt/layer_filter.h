// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "adapt/module_pattern.h"

namespace graft::adapt {

// PEFT's layers_to_transform and layers_pattern (peft/tuners/tuners_utils.py, check_target_module_exists): of the modules in
// numbered blocks only some. Immutable; thread-safe.
class LayerFilter {
 public:
  // `layers`: numbers of blocks; empty: every module passes. `patterns`: expressions for the name before the number; the
  // first that fits counts, none stands for any. UserError for a malformed expression.
  LayerFilter(std::vector<std::int64_t> layers, const std::vector<std::string>& patterns);

  [[nodiscard]] bool empty() const { return layers_.empty(); }
  // Number of the module's block. Without patterns the first part that is a number, behind two parts at least and before
  // another one, so that experts within a layer do not count; none if there is none.
  [[nodiscard]] std::optional<std::int64_t> block(std::string_view module) const;
  [[nodiscard]] bool passes(std::string_view module) const;

 private:
  std::vector<std::int64_t> layers_;
  std::vector<ModulePattern> patterns_;
};

// Name of the list of blocks that block() counts without patterns, such as "layers"; empty if there is none.
[[nodiscard]] std::string block_list(std::string_view module);

}  // namespace graft::adapt
