// SPDX-License-Identifier: Apache-2.0
// Would training with these rewards teach this model anything? From a sample of its completions: what they look like, how
// each reward takes them, why it does not, and what to do.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "rewards/box_reading.h"
#include "rewards/rewards.h"

namespace graft::rewards {

// What matters besides completions and rewards.
struct ReportContext {
  std::int32_t grounding_space = 0;  // GRAFT_SPACE_*: how the model family writes boxes by itself
  std::string grounding_format;      // in words; empty if it writes none
  std::string prompt;  // system prompt and question template, as far as the configuration has them
};

// A reason why completions earn less than they could.
struct Mismatch {
  std::string name;    // "missing_tags", "coordinate_space" …
  std::string reward;  // "" if it is about all
  double share = 0.0;  // of the completions
  std::string cause;   // in a few words
  std::string message;
  std::vector<std::string> remedies;  // particular to it, cheapest first
  bool is_teachable =
      false;            // the model could be brought to write what the reward expects, see Report::teaching
  std::string example;  // a completion that shows it
};

// How one reward takes the completions.
struct RewardRow {
  std::string name;
  double scored = 0.0, unparsable = 0.0, no_score = 0.0;  // shares
  double mean = 0.0, least = 0.0, largest = 0.0;          // of its first component; NaN without scores
  bool is_constant = false;
  std::string notations;  // of the boxes it saw
  CoordinateRange coordinates;
};

struct Report {
  std::size_t completions = 0, groups = 0;
  double mean_length = 0.0;              // tokens
  double truncated = 0.0;                // share of completions
  double zero_variance = 0.0;            // share of groups whose completions all have the same reward
  double all_low = 0.0, all_high = 0.0;  // of those, by the side of the middle of the rewards' range
  std::vector<RewardRow> rows;
  std::vector<Mismatch> mismatches;  // worst first
  std::vector<std::string>
      teaching;  // ways to another output of the model, cheapest first; if a mismatch is teachable
  // No group tells its completions apart: every advantage is 0, so nothing would be learned.
  [[nodiscard]] bool is_pointless() const { return groups > 0 && zero_variance >= 1.0; }
};

// Scores the completions and looks at them. Items come group by group.
[[nodiscard]] Report examine(const RewardSet& rewards, std::span<const Item> items,
                             const ReportContext& context);

// Contradictions that show before anything is sampled: between rewards and the model family, the prompt, each other.
[[nodiscard]] std::vector<Mismatch> check_contracts(const RewardSet& rewards, const ReportContext& context);

// All of it in one paragraph: what the model writes, what the rewards expect, the cheapest way out.
[[nodiscard]] std::string verdict(const Report& report);

// For people: the verdict, the table, then a paragraph for each mismatch.
[[nodiscard]] std::string report_text(const Report& report);
[[nodiscard]] std::string mismatch_text(const Mismatch& mismatch);
[[nodiscard]] nlohmann::ordered_json report_json(const Report& report);

}  // namespace graft::rewards
