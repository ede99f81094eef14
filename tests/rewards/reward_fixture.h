// SPDX-License-Identifier: Apache-2.0
// Scores single completions with in-tree rewards, through the ABI.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "plugin/host_services.h"
#include "rewards/rewards.h"

namespace graft::rewards {

inline constexpr const char* kInTreeRewards[] = {
    "accuracy", "detection",       "exact_match", "format", "iou",   "json_schema", "length",     "llm_judge",
    "math",     "multiple_choice", "numeric",     "ratio",  "regex", "remote",      "repetition", "yes_no"};

class RewardFixture : public ::testing::Test {
 protected:
  RewardFixture() : registry_(plugin::host_table()) {
    for (const char* name : kInTreeRewards)
      registry_.load(std::filesystem::path(GRAFT_PLUGIN_DIR) / (std::string(name) + ".so"));
  }

  Scores score(const std::vector<RewardSpec>& specs, std::string_view completion,
               std::string_view solution = {}, std::vector<ImageSize> images = {}, bool observe = false) {
    const RewardSet rewards(registry_, specs);
    Item item;
    item.completion = completion;
    item.solution = solution;
    item.images = std::move(images);
    return rewards.score({&item, 1}, 0, observe);
  }
  double value(const std::string& reward, std::string_view completion, std::string_view solution,
               const nlohmann::json& params = nlohmann::json::object()) {
    return score({{reward, 1.0, params}}, completion, solution).values[0][0];
  }

  plugin::Registry& registry() { return registry_; }

  plugin::Registry registry_;
};

}  // namespace graft::rewards
