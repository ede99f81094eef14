// SPDX-License-Identifier: Apache-2.0
#include "adapt/site_patterns.h"

#include <algorithm>
#include <utility>

#include "support/error.h"
#include "support/strings.h"

namespace graft::adapt {

using support::cat;

SitePatterns::SitePatterns(const Entries& entries, std::string where, bool is_ordered)
    : where_(std::move(where)), is_ordered_(is_ordered) {
  for (const auto& [text, value] : entries) {
    if (!(value > 0.0)) {
      throw support::UserError(cat(where_, ": \"", text, "\" is ", value, ", expected a number above 0"));
    }
    rules_.push_back({text, ModulePattern(cat(R"((?:.*\.)?(?:)", text, ')'), where_), value});
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
  const Rule* chosen = nullptr;
  for (const Rule& rule : rules_) {
    const auto fits = [&](const std::string& name) { return rule.pattern.matches(name); };
    if (std::none_of(names.begin(), names.end(), fits)) continue;
    if (is_ordered_) return rule.value;
    if (chosen != nullptr && chosen->value != rule.value) {
      throw support::UserError(
          cat(where_, ": \"", chosen->text, "\" (", chosen->value, ") and \"", rule.text, "\" (", rule.value,
              ") both fit ", names.front(),
              ", and an object has no order; write a list whose first fit counts, such as "
              "[[\"",
              rule.text, "\", ", rule.value, "], [\"", chosen->text, "\", ", chosen->value, "]]"));
    }
    chosen = &rule;
  }
  return chosen == nullptr ? 0.0 : chosen->value;
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
