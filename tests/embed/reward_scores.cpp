// SPDX-License-Identifier: Apache-2.0
// Scores JSONL through reward plugins: stdin has a line {"reward": NAME, "params": {…}, "items": [{"completion": …, "solution": …,
// "sizes": [W, H, w, h], "tokens": N}, …]}, stdout a line [[score or null, status], …] for each. Numbers round-trip.
#include <algorithm>
#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "plugin/host_services.h"
#include "rewards/rewards.h"

namespace graft {
namespace {

using nlohmann::json;

json score_line(plugin::Registry& registry, const json& line) {
  const rewards::RewardSet set(registry, {{line.at("reward"), 1.0, line.at("params")}});
  const json& given = line.at("items");
  const std::vector<std::int64_t> token_ids(8192, 1);
  std::vector<rewards::Item> items;
  for (const json& from : given) {
    rewards::Item item;
    item.completion = from.at("completion").get_ref<const std::string&>();
    item.solution = from.at("solution").get_ref<const std::string&>();
    if (from.contains("sizes")) {
      const json& size = from["sizes"];
      item.images = {{size.at(0), size.at(1), size.at(2), size.at(3)}};
    }
    // The stop token is not counted.
    item.token_ids = {token_ids.data(), from.value("tokens", std::size_t{0}) + 1};
    items.push_back(std::move(item));
  }
  const rewards::Scores scores = set.score(items, 0);
  json out = json::array();
  for (std::size_t i = 0; i < items.size(); ++i) {
    out.push_back({rewards::score_json(scores.values[i][0]), static_cast<int>(scores.statuses[i][0])});
  }
  return out;
}

void run(const std::string& plugins) {
  plugin::Registry registry(plugin::host_table());
  std::vector<std::string> loaded;
  for (std::string text; std::getline(std::cin, text);) {
    const json line = json::parse(text);
    const std::string name = line.at("reward");
    if (std::find(loaded.begin(), loaded.end(), name) == loaded.end()) {
      registry.load(std::filesystem::path(plugins) / (name + ".so"));
      loaded.push_back(name);
    }
    std::cout << score_line(registry, line).dump() << "\n" << std::flush;
  }
}

}  // namespace
}  // namespace graft

int main() {
  std::ios::sync_with_stdio(false);
  try {
    graft::run(GRAFT_PLUGIN_DIR);
    return 0;
  } catch (const std::exception& error) {
    std::cerr << error.what() << "\n";
    return 1;
  }
}
