// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "adapt/module_pattern.h"

namespace graft::adapt {

// A value per site by regular expressions over module names: PEFT's rank_pattern or alpha_pattern. An expression fits a
// module if it matches the whole name or what follows a dot; the first that fits in written order counts
// (peft/utils/other.py, get_pattern_key). Where the order got lost, expressions that contradict each other at a site are an
// error. Immutable; thread-safe.
class SitePatterns {
 public:
  using Entries = std::vector<std::pair<std::string, double>>;

  SitePatterns() = default;
  // `where` begins the messages, such as "peft.rank_pattern". UserError for a malformed expression or a value that is not
  // positive.
  SitePatterns(const Entries& entries, std::string where, bool is_ordered = true);
  // Of a JSON object {expression: value} in written order. UserError if it is none.
  static SitePatterns from_object(const nlohmann::ordered_json& object, const std::string& where);

  [[nodiscard]] bool empty() const { return rules_.empty(); }
  // Value of the site known under any of `names`; 0 if no expression fits. UserError that asks for the list form if the
  // expressions have no order and two that fit have different values.
  [[nodiscard]] double value(const std::vector<std::string>& names) const;
  // Expressions that fit none of these sites.
  [[nodiscard]] std::vector<std::string> unused(const std::vector<std::vector<std::string>>& sites) const;

 private:
  struct Rule {
    std::string text;
    ModulePattern pattern;
    double value;
  };
  std::vector<Rule> rules_;
  std::string where_;
  bool is_ordered_ = true;
};

// What a user's patterns say of a site; 0 where they say nothing.
struct SiteOverrides {
  std::int64_t rank = 0;
  double alpha = 0.0;
};

}  // namespace graft::adapt
