// SPDX-License-Identifier: Apache-2.0
#include "monitor/history.h"

#include <cmath>
#include <numeric>

namespace graft::monitor {

namespace {

template <typename Row>
void append(std::vector<double>& out, const Row& row, const std::string& metric) {
  const auto found = row.values.find(metric);
  if (found != row.values.end()) out.push_back(found->second);
}

}  // namespace

void History::add(const nlohmann::ordered_json& row) {
  if (!row.is_object() || !row.contains("step") || !row["step"].is_number()) return;
  Row kept;
  for (const auto& [name, value] : row.items()) {
    if (name.starts_with("eval_")) return;
    const bool is_finite = value.is_number() && std::isfinite(value.get<double>());
    if (is_finite) kept.values[name] = value.get<double>();
    if (value.is_null() || (value.is_number() && !is_finite)) kept.nulls.push_back(name);
  }
  kept.step = row["step"].get<std::int64_t>();
  if (kept.step <= kept_) first_.push_back(kept);
  last_.push_back(std::move(kept));
  while (last_.front().step <= last_.back().step - kept_) last_.pop_front();
}

std::vector<double> History::last(const std::string& metric, std::int64_t steps) const {
  std::vector<double> values;
  if (step() < steps) return values;
  for (const Row& row : last_) {
    if (row.step > step() - steps) append(values, row, metric);
  }
  return values;
}

std::vector<double> History::first(const std::string& metric, std::int64_t steps) const {
  std::vector<double> values;
  if (step() <= steps) return values;
  for (const Row& row : first_) {
    if (row.step <= steps) append(values, row, metric);
  }
  return values;
}

std::optional<double> History::newest(const std::string& metric) const {
  if (empty()) return std::nullopt;
  const auto found = last_.back().values.find(metric);
  return found == last_.back().values.end() ? std::nullopt : std::optional(found->second);
}

std::vector<std::string> History::between(const std::string& prefix, const std::string& suffix) const {
  std::vector<std::string> names;
  if (empty()) return names;
  for (const auto& [name, value] : last_.back().values) {
    if (name.size() > prefix.size() + suffix.size() && name.starts_with(prefix) && name.ends_with(suffix)) {
      names.push_back(name.substr(prefix.size(), name.size() - prefix.size() - suffix.size()));
    }
  }
  return names;
}

double mean(const std::vector<double>& values) {
  if (values.empty()) return 0.0;
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

}  // namespace graft::monitor
