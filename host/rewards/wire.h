// SPDX-License-Identifier: Apache-2.0
// What host and reward process write to each other: JSON, one object a line. The host sends {"items": […], "step", "observe"}; the
// process answers with a line for each item in order, {"scores": […], "status", "reason", "observation"}, so that the
// host knows which item it was at if it ends. Scores that are not finite are null.
#pragma once

#include <nlohmann/json.hpp>
#include <span>
#include <vector>

#include "rewards/scorer.h"

namespace graft::rewards {

[[nodiscard]] nlohmann::json request_json(std::span<const Item> items, std::uint64_t step, bool observe);

// Items with the memory behind their views.
class ReceivedItems {
 public:
  explicit ReceivedItems(const nlohmann::json& request);
  [[nodiscard]] std::span<const Item> items() const { return items_; }

 private:
  struct Text {
    std::string prompt, completion, completion_raw, solution, sample_json;
    std::vector<std::int64_t> token_ids;
  };
  std::vector<Text> texts_;
  std::vector<Item> items_;
};

// Item i of `raw`, which has `n_scores` scores an item; and back.
[[nodiscard]] nlohmann::json reply_json(const RawScores& raw, std::size_t i, std::size_t n_scores);
// UserError if it is not such a line.
void read_reply(const nlohmann::json& reply, std::size_t i, std::size_t n_scores, RawScores& raw);

[[nodiscard]] nlohmann::json description_json(const RewardDescription& description,
                                              const nlohmann::json& params);
[[nodiscard]] RewardDescription read_description(const nlohmann::json& json);

}  // namespace graft::rewards
