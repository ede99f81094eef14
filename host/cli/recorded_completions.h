// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <deque>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "rewards/rewards.h"

namespace graft::cli {

// Completions from JSON lines, as rewards see them: "completion", and as far as they are there "completion_raw", "prompt",
// "solution", "image_size" and "processed_size" ([w, h] or a list of such pairs), "token_ids", "finished" and "group" (rows
// without one are grouped by "id", else by "prompt"). The lines of a run's completions.jsonl are such.
class RecordedCompletions {
 public:
  // UserError if a member has another type.
  void add(const nlohmann::json& row);
  // Group by group, in the order of their first rows. Views into this object, valid until the next add().
  [[nodiscard]] std::vector<rewards::Item> items() const;

 private:
  struct Row {
    std::string prompt, completion, raw, solution, record;
    std::vector<std::int64_t> token_ids;
    std::vector<rewards::ImageSize> images;
    bool is_finished = true;
    std::uint64_t group = 0;
  };
  std::deque<Row> rows_;
  std::map<std::string, std::uint64_t> groups_;
};

}  // namespace graft::cli
