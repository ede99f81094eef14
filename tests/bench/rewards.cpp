// SPDX-License-Identifier: Apache-2.0
// Rewards through the ABI, one thread.
//   rewards rate FILE      FILE: JSONL of {"completion", "solution", "sizes": [W, H, w, h]}; format + iou in batches of 16. Prints
//                          parity=N and default=N, completions a CPU second, and the sums of the scores
//   rewards hostile        the longest call for one completion of 1 MB, over all rewards, modes and kinds of text
#include <graft/reward.h>

#include <algorithm>
#include <ctime>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "plugin/host_services.h"
#include "plugin/registry.h"
#include "tests/support/reward_scorer.h"

namespace graft {
namespace {

using nlohmann::json;

using testing::RewardData;
using testing::RewardScorer;

double cpu_seconds() {
  timespec now{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

void rate(plugin::Registry& registry, const std::string& path) {
  RewardData data;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    const json item = json::parse(line);
    data.completions.push_back(item.at("completion"));
    data.solutions.push_back(item.at("solution"));
    const json& size = item.at("sizes");
    data.sizes.push_back({size.at(0), size.at(1), size.at(2), size.at(3)});
  }
  const std::vector<graft_reward_item> items = data.items();
  std::vector<const graft_reward_item*> pointers;
  for (const graft_reward_item& item : items) pointers.push_back(&item);
  for (const bool parity : {true, false}) {
    const json format_params =
        parity ? json{{"parity", "vlm_r1"}, {"module", "qwen"}} : json{{"require_box", true}};
    RewardScorer format(registry, "format", format_params);
    RewardScorer iou(registry, "iou", parity ? json{{"parity", "vlm_r1"}} : json::object());
    double best = 0, format_sum = 0, iou_sum = 0;
    for (int round = 0; round < 5; ++round) {
      format_sum = iou_sum = 0;
      const double begin = cpu_seconds();
      for (std::size_t at = 0; at < items.size(); at += 16) {
        const std::size_t n = std::min<std::size_t>(16, items.size() - at);
        for (const double score : iou.score(pointers.data() + at, n)) iou_sum += score;
        for (const double score : format.score(pointers.data() + at, n)) format_sum += score;
      }
      best = std::max(best, static_cast<double>(items.size()) / (cpu_seconds() - begin));
    }
    const char* mode = parity ? "parity" : "default";
    std::cout << mode << "=" << static_cast<std::int64_t>(best) << "\n";
    std::cout << mode << "_sums=" << json(format_sum).dump() << "," << json(iou_sum).dump() << "\n";
  }
}

std::string repeated(std::string_view piece, std::string_view before = "", std::string_view after = "") {
  constexpr std::size_t kBytes = 1'000'000;
  std::string text(before);
  while (text.size() + piece.size() + after.size() <= kBytes) text += piece;
  return text.append(after);
}

void hostile(plugin::Registry& registry) {
  const std::string start = "<think></think><answer>";
  std::vector<std::string> texts = {
      repeated("{[1,2,3,4]}", start),
      repeated("{", start),
      repeated("<answer>{[1,2,3,4]", "<think></think>"),
      repeated("<think>"),
      repeated("</think> ", "<think>"),
      repeated("<think></think>"),
      repeated("<answer>"),
      repeated("<answer></answer>"),
      repeated("<answer>\n</answer>"),
      repeated(" ", "<think></think>", "x"),
      repeated(" ", "[1,", "2,3,4]"),
      repeated("[1, "),
      repeated("1", "[", ",2,3,4]"),
      repeated("9", start + "[1,2,3,", "]</answer>"),
      repeated("["),
      repeated("[[1,2],", start),
      repeated("{\"a\":", start),
      repeated("```json"),
      repeated("```json\n[]\n```"),
      repeated("{\"bbox_2d\": [0, 0, 9, 9], \"label\": \"cat\"},", start + "```json\n[",
               "{\"bbox_2d\": [0, 0, 9, 9], \"label\": \"cat\"}]\n```</answer>"),
      repeated("{\"bbox_2d\": [0, 0, 9, 9], \"label\": \"cat\"},", "[", "]"),
      repeated("[{\"bbox_2d\" "),
      repeated("{\"bbox_2d\"\"label\"}", "[", "x"),
      repeated("\"", start),
      repeated("\\boxed{"),
      repeated("\\frac", "\\boxed{", "}"),
      repeated("\\sqrt", start + "\\boxed{", "}</answer>"),
      repeated("1/"),
      repeated("1,"),
      repeated("A. "),
      repeated("a"),
      repeated("yesno"),
      repeated("the cat "),
      repeated("Σ'"),
      repeated("é中🐈"),
      repeated("(1,2),"),
      repeated("（1，2），"),
      repeated("<|box_start|>(1,2),(3,4)"),
      repeated("<box>[["),
      repeated("\n\r"),
      repeated("0,", start + "[", "0]</answer>")};
  texts.push_back(start + std::string(999'000, '\0') + "</answer>");
  const std::vector<std::string> solutions = {
      "[0, 0, 9, 9]", "a red car", "B", "3.5",
      "```json\n[{\"bbox_2d\": [0, 0, 9, 9], \"label\": \"cat\"}]\n```"};
  double longest = 0;
  for (const auto& [name, params] : testing::reward_modes()) {
    RewardScorer scorer(registry, name, params);
    double longest_here = 0;
    std::string where;
    for (const std::string& solution : solutions) {
      const RewardData data{texts, std::vector<std::string>(texts.size(), solution),
                            std::vector<graft_image_size>(texts.size(), {640, 480, 644, 476})};
      const std::vector<graft_reward_item> items = data.items();
      for (std::size_t i = 0; i < items.size(); ++i) {
        const graft_reward_item* item = &items[i];
        double best = 1e9;  // of two: the first call also pays for fresh memory and for other processes
        for (int round = 0; round < 2; ++round) {
          const double begin = cpu_seconds();
          scorer.score(&item, 1);
          best = std::min(best, cpu_seconds() - begin);
          if (best < 0.02) break;
        }
        if (best <= longest_here) continue;
        longest_here = best;
        where = texts[i].substr(0, 50) + "… for the solution " + solution.substr(0, 20);
      }
    }
    std::cerr << name << " " << params.dump() << ": " << longest_here * 1e3 << " ms, " << json(where).dump()
              << "\n";
    longest = std::max(longest, longest_here);
  }
  std::cout << "hostile_ms=" << longest * 1e3 << "\n";
}

}  // namespace
}  // namespace graft

int main(int argc, char** argv) {
  try {
    graft::plugin::Registry registry(graft::plugin::host_table());
    graft::testing::load_rewards(registry, GRAFT_PLUGIN_DIR);
    const std::string mode = argc > 1 ? argv[1] : "";
    if (mode == "rate" && argc == 3) {
      graft::rate(registry, argv[2]);
    } else if (mode == "hostile" && argc == 2) {
      graft::hostile(registry);
    } else {
      std::cerr << "usage: rewards rate FILE | rewards hostile\n";
      return 2;
    }
    return 0;
  } catch (const std::exception& error) {
    std::cerr << error.what() << "\n";
    return 1;
  }
}
