// SPDX-License-Identifier: Apache-2.0
// The rewards' parsers on generated completions, through the ABI: scores stay finite and in their range, equal input scores equally,
// and every completion can be observed.
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <string>

#include "support/random.h"
#include "tests/support/reward_scorer.h"

namespace graft {
namespace {

using support::KeyedRandom;

constexpr std::array kPieces = {"<think>",
                                "</think>",
                                "<answer>",
                                "</answer>",
                                "```json",
                                "```",
                                "[",
                                "]",
                                "{",
                                "}",
                                "(",
                                ")",
                                "（",
                                "）",
                                "，",
                                "［",
                                "］",
                                ",",
                                ":",
                                "\"",
                                "\\",
                                "\\u0041",
                                "\\ud800",
                                "\\boxed{",
                                "\\frac",
                                "\\sqrt",
                                "\\text{ ",
                                "<box>",
                                "</box>",
                                "<|box_start|>",
                                "<|box_end|>",
                                "\"bbox_2d\": ",
                                "\"label\": ",
                                "\"cat\"",
                                "[1, 2, 3, 4]",
                                "(1,2),(3,4)",
                                "1e999",
                                "-",
                                "−",
                                "٣",
                                "12",
                                "0.5",
                                "/",
                                "%",
                                ".",
                                "$",
                                "=",
                                " ",
                                "\n",
                                "\r",
                                "\xe3\x80\x80",
                                "\xc2",
                                "\xff",
                                "\xed\xa0\x80",
                                "Σ",
                                "İ",
                                "ß",
                                "yes",
                                "no",
                                "A",
                                "B.",
                                "答案",
                                "None",
                                "{\"bbox_2d\": [0, 0, 9, 9], \"label\": \"cat\"}",
                                "NaN",
                                "-Infinity",
                                "9223372036854775808",
                                "-9223372036854775808"};

std::string generated(KeyedRandom& random) {
  std::string text;
  for (std::int64_t n = random.between(0, 30); n > 0; --n) {
    const char* piece = kPieces[static_cast<std::size_t>(random.below(kPieces.size()))];
    for (std::int64_t k = random.below(12) == 0 ? random.between(2, 40) : 1; k > 0; --k) text += piece;
  }
  if (!text.empty() && random.below(3) == 0) text.resize(static_cast<std::size_t>(random.below(text.size())));
  return text;
}

TEST(FuzzRewards, ScoresStayInTheirRangeAndAreRepeatable) {
  plugin::Registry registry(plugin::host_table());
  testing::load_rewards(registry, GRAFT_PLUGIN_DIR);
  KeyedRandom random(7, {1});
  testing::RewardData data;
  for (int i = 0; i < 600; ++i) {
    std::string answer = generated(random);
    data.completions.push_back(random.below(2) == 0 ? "<think></think><answer>" + answer + "</answer>"
                                                    : std::move(answer));
    constexpr std::array kSolutions = {
        "[0, 0, 9, 9]", "```json\n[{\"bbox_2d\": [0, 0, 9, 9], \"label\": \"cat\"}]\n```", "B", "yes", "3.5"};
    const auto kind = static_cast<std::size_t>(random.below(kSolutions.size() + 1));
    data.solutions.push_back(kind < kSolutions.size() ? kSolutions[kind] : generated(random));
    data.sizes.push_back({640, 480, 644, 476});
  }
  const std::vector<graft_reward_item> items = data.items();
  for (const auto& [name, params] : testing::reward_modes()) {
    testing::RewardScorer scorer(registry, name, params);
    std::size_t n_counted = 0;
    for (const graft_reward_item& item : items) {
      const graft_reward_item* pointer = &item;
      std::size_t seen = 0;
      const double first = scorer.score(&pointer, 1, &seen)[0];
      const std::int32_t status = scorer.statuses()[0];
      const double second = scorer.score(&pointer, 1)[0];
      ASSERT_TRUE(std::isfinite(first) && first == second)
          << name << params << std::string(plugin::view(item.completion));
      ASSERT_LE(seen, 1u);
      if (status != GRAFT_SCORE_OK && status != GRAFT_SCORE_UNPARSABLE) continue;
      ++n_counted;
      ASSERT_GE(first, scorer.desc().minimum) << name << params << std::string(plugin::view(item.completion));
      ASSERT_LE(first, scorer.desc().maximum) << name << params << std::string(plugin::view(item.completion));
    }
    EXPECT_GT(n_counted, items.size() / 10) << name << params;
  }
}

}  // namespace
}  // namespace graft
