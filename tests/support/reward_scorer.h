// SPDX-License-Identifier: Apache-2.0
// Calls reward plugins over the bare ABI, without libgraft: for benchmarks and for the sanitizers' build.
#pragma once

#include <graft/reward.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "plugin/host_services.h"
#include "plugin/registry.h"

namespace graft::testing {

// Every in-tree reward that needs no network, in each of its modes.
inline std::vector<std::pair<std::string, nlohmann::json>> reward_modes() {
  using nlohmann::json;
  std::vector<std::pair<std::string, json>> modes;
  for (const char* name : {"accuracy", "detection", "exact_match", "format", "iou", "json_schema", "length",
                           "math", "multiple_choice", "numeric", "ratio", "regex", "repetition", "yes_no"})
    modes.emplace_back(name, json::object());
  for (const char* name : {"exact_match", "length", "math", "multiple_choice", "numeric", "ratio",
                           "repetition", "yes_no", "format"})
    modes.emplace_back(name, json{{"parity", "vlm_r1"}});
  for (const char* module : {"qwen", "internvl", "glm"}) {
    modes.emplace_back("iou", json{{"parity", "vlm_r1"}, {"module", module}});
    modes.emplace_back("format", json{{"parity", "vlm_r1"}, {"module", module}});
  }
  modes.emplace_back("format", json{{"mode", "search"}, {"require_box", true}, {"require_json", true}});
  for (const char* where : {"answer", "anywhere"}) {
    for (const char* metric : {"ap", "ap50", "od_length", "weighted_sum", "f1"})
      modes.emplace_back("detection", json{{"metric", metric}, {"where", where}});
    modes.emplace_back("iou", json{{"where", where}, {"which", "last"}, {"metric", "giou"}});
    modes.emplace_back("json_schema",
                       json{{"where", where}, {"schema", {{"items", {{"required", {"label"}}}}}}});
  }
  for (const char* metric : {"ap", "ap50", "od_length", "weighted_sum"})
    modes.emplace_back("detection", json{{"parity", "vlm_r1"}, {"metric", metric}});
  for (const char* method : {"mcq", "yes_no", "math", "all_match", "weighted_sum", "od_ap"})
    modes.emplace_back("accuracy", json{{"method", method}});
  return modes;
}

// Completions and what belongs to them. Address-stable once filled.
struct RewardData {
  std::vector<std::string> completions, solutions;
  std::vector<graft_image_size> sizes;
  std::vector<std::int64_t> token_ids = std::vector<std::int64_t>(4);

  [[nodiscard]] std::vector<graft_reward_item> items() const {
    std::vector<graft_reward_item> items(completions.size());
    for (std::size_t i = 0; i < items.size(); ++i) {
      items[i].hdr = GRAFT_HDR(graft_reward_item);
      items[i].completion = plugin::view(completions[i]);
      items[i].solution = plugin::view(solutions[i]);
      items[i].images = &sizes[i];
      items[i].n_images = 1;
      items[i].token_ids = token_ids.data();
      items[i].n_token_ids = token_ids.size();
    }
    return items;
  }
};

// One instance of a reward with a single score.
class RewardScorer {
 public:
  RewardScorer(plugin::Registry& registry, const std::string& name, const nlohmann::json& params)
      : instance_(registry.create(registry.find(GRAFT_KIND_REWARD, name), params, "params")),
        table_(instance_->interface<graft_reward>(GRAFT_INTERFACE_REWARD)) {
    plugin::call("describe",
                 [&](graft_error* error) { return table_.describe(instance_->raw(), &desc_, error); });
  }

  [[nodiscard]] const graft_reward_desc& desc() const { return *desc_; }

  // Scores of a batch; valid until the next call. `seen` counts observations, where they are wanted.
  const std::vector<double>& score(const graft_reward_item* const* items, std::size_t n,
                                   std::size_t* seen = nullptr) {
    scores_.assign(n, 0.0);
    statuses_.assign(n, GRAFT_SCORE_OK);
    const graft_reward_batch batch{GRAFT_HDR(graft_reward_batch), items, n, 0};
    graft_reward_result result{GRAFT_HDR(graft_reward_result),         scores_.data(), statuses_.data(), seen,
                               [](void*, std::uint64_t, graft_str) {}, nullptr};
    if (seen != nullptr) {
      result.observe = [](void* context, std::uint64_t, const graft_observation*) {
        ++*static_cast<std::size_t*>(context);
      };
    }
    plugin::call("score",
                 [&](graft_error* error) { return table_.score(instance_->raw(), &batch, &result, error); });
    return scores_;
  }
  [[nodiscard]] const std::vector<std::int32_t>& statuses() const { return statuses_; }

 private:
  std::shared_ptr<plugin::Instance> instance_;
  const graft_reward& table_;
  const graft_reward_desc* desc_ = nullptr;
  std::vector<double> scores_;
  std::vector<std::int32_t> statuses_;
};

// Loads each reward of reward_modes().
inline void load_rewards(plugin::Registry& registry, const std::filesystem::path& folder) {
  std::string last;
  for (const auto& [name, params] : reward_modes()) {
    static_cast<void>(params);
    if (name <= last) break;  // the names come first, in order, then further modes
    registry.load(folder / (name + ".so"));
    last = name;
  }
}

}  // namespace graft::testing
