// SPDX-License-Identifier: Apache-2.0
#include "adapt/layer_filter.h"

#include <algorithm>
#include <utility>

#include "support/strings.h"

namespace graft::adapt {
namespace {

constexpr const char* kNumber = "block";  // group of the expressions

bool is_number(const std::string& part) {
  return !part.empty() && part.find_first_not_of("0123456789") == std::string::npos;
}

// Which part of the name is the block's number; 0 if none.
std::size_t number_part(const std::vector<std::string>& parts) {
  for (std::size_t i = 2; i + 1 < parts.size(); ++i) {
    if (is_number(parts[i])) return i;
  }
  return 0;
}

std::optional<std::int64_t> parse(const std::string& digits) {
  std::int64_t number = 0;
  return support::parse_number(digits, number) ? std::optional(number) : std::nullopt;
}

}  // namespace

LayerFilter::LayerFilter(std::vector<std::int64_t> layers, const std::vector<std::string>& patterns)
    : layers_(std::move(layers)) {
  for (const std::string& pattern : patterns) {
    patterns_.emplace_back(support::cat("(?:|.*?\\.)(?:", pattern, ")\\.(?<", kNumber, ">\\d+)\\..*"),
                           "peft.layers_pattern");
  }
}

std::optional<std::int64_t> LayerFilter::block(std::string_view module) const {
  if (patterns_.empty()) {
    const std::vector<std::string> parts = support::split(module, '.');
    const std::size_t part = number_part(parts);
    return part == 0 ? std::nullopt : parse(parts[part]);
  }
  for (const ModulePattern& pattern : patterns_) {
    const std::string digits = pattern.group(module, kNumber);
    if (!digits.empty()) return parse(digits);
  }
  return std::nullopt;
}

bool LayerFilter::passes(std::string_view module) const {
  if (layers_.empty()) return true;
  const auto number = block(module);
  return number && std::find(layers_.begin(), layers_.end(), *number) != layers_.end();
}

std::string block_list(std::string_view module) {
  const std::vector<std::string> parts = support::split(module, '.');
  const std::size_t part = number_part(parts);
  return part == 0 ? std::string() : parts[part - 1];
}

}  // namespace graft::adapt
