// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

namespace graft::monitor {

// The rows of metrics.jsonl that rules look at: those of the first and of the last `kept` steps. Steps count from 1.
class History {
 public:
  explicit History(std::int64_t kept) : kept_(kept) {}

  // A row without "step" and rows of evaluations ("eval_…") are left out. A number that is null, as JSON writes NaN, counts as
  // missing, but its name is remembered, see nulls().
  void add(const nlohmann::ordered_json& row);

  [[nodiscard]] bool empty() const { return last_.empty(); }
  [[nodiscard]] std::int64_t step() const { return empty() ? 0 : last_.back().step; }
  // Values within the last `steps` steps (at most `kept`), oldest first; none while the run is younger than that.
  [[nodiscard]] std::vector<double> last(const std::string& metric, std::int64_t steps) const;
  // Values within the first `steps` steps (at most `kept`), once the run is older than that.
  [[nodiscard]] std::vector<double> first(const std::string& metric, std::int64_t steps) const;
  // Of the newest row.
  [[nodiscard]] std::optional<double> newest(const std::string& metric) const;
  // X of each metric prefix + X + suffix of the newest row.
  [[nodiscard]] std::vector<std::string> between(const std::string& prefix, const std::string& suffix) const;
  // Metrics of the newest row that are null.
  [[nodiscard]] const std::vector<std::string>& nulls() const { return last_.back().nulls; }

 private:
  struct Row {
    std::int64_t step = 0;
    std::map<std::string, double> values;
    std::vector<std::string> nulls;
  };
  std::int64_t kept_;
  std::vector<Row> first_;
  std::deque<Row> last_;
};

// Zero for none.
[[nodiscard]] double mean(const std::vector<double>& values);

}  // namespace graft::monitor
