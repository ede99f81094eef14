// SPDX-License-Identifier: Apache-2.0
#include "adapt/site_patterns.h"

#include <algorithm>

#include "support/error.h"
#include "support/strings.h"

namespace graft::adapt {

using support::cat;

SitePatterns::SitePatterns(const Entries& entries, const std::string& where) {
  for (const auto& [text, value] : entries) {
    if (!(value > 0.0)) {
      throw support::UserError(cat(where, ": \"", text, "\" is ", value, ", expected a number above 0"));
    }
    rules_.push_back({text, ModulePattern(cat(R"((?:.*\.)?(?:)", text, ')'), where), value});
  }
}

SitePatterns SitePatterns::from_object(const nlohmann::ordered_json& object, const std::string& where) {
  if (object.is_null()) return {};
  if (!object.is_object()) {
    throw support::UserError(
        cat(where, " is ", object.dump(), ", expected an object of expressions and numbers"));
  }
  Entries entries;
  for (const auto& [text, value] : object.items()) {
    if (!value.is_number()) {
      throw support::UserError(cat(where, ": \"", text, "\" is ", value.dump(), ", expected a number"));
    }
    entries.emplace_back(text, value.get<double>());
  }
  return {entries, where};
}

double SitePatterns::value(const std::vector<std::string>& names) const {
  for (const Rule& rule : rules_) {
    const auto fits = [&](const std::string& name) { return rule.pattern.matches(name); };
    if (std::any_of(names.begin(), names.end(), fits)) return rule.value;
  }
  return 0.0;
}

std::vector<std::string> SitePatterns::unused(const std::vector<std::vector<std::string>>& sites) const {
  std::vector<std::string> texts;
  for (const Rule& rule : rules_) {
    const bool is_used = std::any_of(sites.begin(), sites.end(), [&](const auto& names) {
      return std::any_of(names.begin(), names.end(),
                         [&](const std::string& name) { return rule.pattern.matches(name); });
    });
    if (!is_used) texts.push_back(rule.text);
  }
  return texts;
}

}  // namespace graft::adapt
