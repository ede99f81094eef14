// SPDX-License-Identifier: Apache-2.0
// The rewards in their default mode, and what they observe, through the ABI.
#include <graft/reward.h>
#include <gtest/gtest.h>

#include <cmath>

#include "support/error.h"
#include "tests/rewards/reward_fixture.h"

namespace graft::rewards {
namespace {

using nlohmann::json;

class DefaultRewards : public RewardFixture {
 protected:
  double anywhere(std::string_view completion, json params = json::object()) {
    params["where"] = "anywhere";
    params["space"] = "original_pixels";
    return value("iou", completion, "[0, 0, 10, 10]", params);
  }
  double detection(std::string_view boxes, const char* metric) {
    const json params = {{"metric", metric}, {"space", "original_pixels"}};
    return value(
        "detection", "<answer>" + std::string(boxes) + "</answer>",
        R"([{"bbox_2d": [0, 0, 100, 100], "label": "cat"}, {"bbox_2d": [200, 200, 300, 300], "label": "dog"}])",
        params);
  }
  Observation observed(std::string_view completion, std::string_view raw = {}) {
    Item item;
    item.completion = completion;
    item.completion_raw = raw;
    item.solution = "[0, 0, 1, 1]";
    const RewardSet set(registry(), {{"iou"}});
    return set.score({&item, 1}, 0, true).observations.at(0).at(0).value();
  }
};

TEST_F(DefaultRewards, IouReadsEveryNotation) {
  for (const char* box :
       {"[0, 0, 10, 10]", "{\"bbox_2d\": [0.0,0,1e1,10]}",
        "```json\n[{\"bbox\": [0, 0, 10, 10], \"label\": \"x\"}]\n```", "the man(0,0),(10,10)",
        "<|object_ref_start|>a<|object_ref_end|><|box_start|>(0,0),(10,10)<|box_end|>",
        "<ref>a</ref><box>[[0, 0, 10, 10]]</box>", "（0，0），（10，10）", "［0，0，10，10］",
        "【0、0、10、10】", "(0, 0) (10, 10)"}) {
    EXPECT_DOUBLE_EQ(anywhere(box), 1.0) << box;
  }
  for (const char* none :
       {"", "[0, 0, 10]", "[0, 0, 10, 10, 3]", "(0,0)", "(0,0),(10)", "[a, 0, 10, 10]", "[1e999, 0, 10, 10]"})
    EXPECT_DOUBLE_EQ(anywhere(none), 0.0) << none;
}

TEST_F(DefaultRewards, IouCanBeHeldToOneNotation) {
  EXPECT_DOUBLE_EQ(anywhere("(0,0),(10,10)", {{"notation", "list"}}), 0.0);
  EXPECT_DOUBLE_EQ(anywhere("[9, 9, 9, 9] (0,0),(10,10)", {{"notation", "corners"}}), 1.0);
  EXPECT_DOUBLE_EQ(anywhere("[9, 9, 9, 9] [0, 0, 10, 10]", {{"which", "last"}}), 1.0);
}

TEST_F(DefaultRewards, IouThresholdAndGiou) {
  EXPECT_DOUBLE_EQ(anywhere("[0, 0, 10, 6]", {{"threshold", 0.5}}), 1.0);
  EXPECT_DOUBLE_EQ(anywhere("[0, 0, 10, 4]", {{"threshold", 0.5}}), 0.0);
  // A gap of 10 between boxes of 10: hull 300, union 200.
  EXPECT_NEAR(anywhere("[20, 0, 30, 10]", {{"metric", "giou"}}), -1.0 / 3.0, 1e-12);
  EXPECT_DOUBLE_EQ(anywhere("no box", {{"metric", "giou"}}), -1.0);
}

TEST_F(DefaultRewards, FormatSearchesIfAsked) {
  const json search = {{"mode", "search"}};
  EXPECT_EQ(value("format", "so <think>a</think> <answer>b</answer> done", "", search), 1.0);
  EXPECT_EQ(value("format", "<think>a</think> so <answer>b</answer>", "", search), 0.0);
  EXPECT_EQ(value("format", "<think>a</think><answer>(1,2),(3,4)</answer>", "", {{"require_box", true}}),
            1.0);
}

TEST_F(DefaultRewards, DetectionIsFreeOfOrderAndCountsFalsePositives) {
  const std::string cat = R"({"bbox_2d": [0, 0, 100, 100], "label": "cat"})",
                    dog = R"({"bbox_2d": [200, 200, 300, 300], "label": "Dog"})",
                    wrong = R"({"bbox_2d": [500, 500, 600, 600], "label": "cat"})",
                    zebra = R"({"bbox_2d": [500, 500, 600, 600], "label": "zebra"})";
  for (const char* metric : {"ap", "ap50", "od_length", "weighted_sum", "f1"}) {
    EXPECT_DOUBLE_EQ(detection("```json\n[" + cat + "," + dog + "]\n```", metric), 1.0) << metric;
    EXPECT_DOUBLE_EQ(detection("[" + wrong + "," + cat + "," + dog + "]", metric),
                     detection("[" + cat + "," + dog + "," + wrong + "]", metric))
        << metric;
    EXPECT_LT(detection("[" + cat + "," + dog + "," + zebra + "]", metric), 1.0) << metric;
    EXPECT_LT(detection("[" + cat + "," + dog + ", {\"label\": \"cat\"}]", metric), 1.0) << metric;
    EXPECT_DOUBLE_EQ(detection("None", metric), 0.0) << metric;
  }
  EXPECT_DOUBLE_EQ(detection("[" + wrong + "," + cat + "," + dog + "]", "ap"),
                   0.75);  // cat: precision 1/2, recall 1
  EXPECT_DOUBLE_EQ(detection("[" + cat + "," + dog + "," + zebra + "]", "ap"), 2.0 / 3.0);
  EXPECT_DOUBLE_EQ(detection("[" + cat + "]", "f1"), 2.0 / 3.0);
  EXPECT_DOUBLE_EQ(detection("[" + cat + ", {\"bbox_2d\": [2", "f1"),
                   2.0 / 3.0);  // cut: what is whole counts
  EXPECT_DOUBLE_EQ(value("detection", "<answer>None</answer>", "None", {{"space", "original_pixels"}}), 1.0);
  EXPECT_DOUBLE_EQ(value("detection", "<answer>hello</answer>", "None", {{"space", "original_pixels"}}), 0.0);
}

TEST_F(DefaultRewards, MultipleChoice) {
  for (const char* right :
       {"B", "b", "(B)", "B) a cat", "**B**", "B. A cat is an animal", "The answer is B, not A because",
        "选B。", "<answer>B</answer>", "\\boxed{B}", "A? C? I choose option B"})
    EXPECT_EQ(value("multiple_choice", right, "B"), 1.0) << right;
  for (const char* wrong : {"A", "The answer is A, not B", "Because", "", "I think so", "Z"})
    EXPECT_EQ(value("multiple_choice", wrong, "B"), 0.0) << wrong;
  EXPECT_EQ(score({{"multiple_choice"}}, "Because", "B").statuses[0][0], Status::kUnparsable);
  EXPECT_EQ(score({{"multiple_choice"}}, "B", "none of them").statuses[0][0], Status::kNoOpinion);
  EXPECT_THROW(value("multiple_choice", "B", "B", {{"letters", "a-z"}}), support::UserError);
}

TEST_F(DefaultRewards, YesNo) {
  EXPECT_EQ(value("yes_no", "<answer>No, it is not.</answer>", "no"), 1.0);
  EXPECT_EQ(value("yes_no", "I know. Yes!", "Yes"), 1.0);
  EXPECT_EQ(value("yes_no", "nothing yesterday", "no"), 0.0);
  EXPECT_EQ(value("yes_no", "不是", "no"), 1.0);
  EXPECT_EQ(score({{"yes_no"}}, "I know", "no").statuses[0][0], Status::kUnparsable);
}

TEST_F(DefaultRewards, ExactMatchNumericRatio) {
  EXPECT_EQ(value("exact_match", "<answer> A  Red\ncar. </answer>", "a red car"), 1.0);
  EXPECT_EQ(value("exact_match", "Red", "red", {{"ignore_case", false}}), 0.0);
  EXPECT_EQ(value("numeric", "about 1,234 cats", "1234"), 1.0);
  EXPECT_EQ(value("numeric", "<answer>50%</answer>", "1/2"), 1.0);
  EXPECT_EQ(value("numeric", "−3", "-3.0"), 1.0);
  EXPECT_EQ(value("numeric", "3.1", "3", {{"relative", 0.05}}), 1.0);
  EXPECT_EQ(value("numeric", "3.2", "3", {{"relative", 0.05}}), 0.0);
  EXPECT_EQ(value("numeric", "none", "3"), 0.0);
  EXPECT_NEAR(value("ratio", "Red car", "red cat"), 12.0 / 14.0, 1e-12);
  EXPECT_EQ(value("ratio", std::string(5000, 'x'), "red cat"), 0.0);
}

TEST_F(DefaultRewards, Math) {
  const std::vector<std::pair<const char*, const char*>> equal = {
      {"\\boxed{\\frac{1}{2}}", "0.5"},
      {"\\boxed{\\dfrac12}", "1/2"},
      {"\\boxed{50\\%}", "0.5"},
      {"\\boxed{x=3}", "3"},
      {"\\boxed{1{,}234}", "1234"},
      {"\\boxed{-\\frac{4}{2}}", "-2"},
      {"\\boxed{(1, \\frac12)}", "(1, 0.5)"},
      {"\\boxed{\\sqrt3}", "\\sqrt{3}"},
      {"<answer>$7$</answer>", "7"},
      {"\\boxed{1} or rather \\boxed{90^\\circ}", "90"},
      {"\\boxed{0.1}", "\\boxed{1/10}"}};
  for (const auto& [answer, solution] : equal) EXPECT_EQ(value("math", answer, solution), 1.0) << answer;
  EXPECT_EQ(value("math", "\\boxed{0.3333}", "1/3"), 0.0);
  EXPECT_EQ(value("math", "\\boxed{(2, 1)}", "(1, 2)"), 0.0);
  EXPECT_EQ(score({{"math"}}, "it is 3", "3").statuses[0][0], Status::kUnparsable);
}

TEST_F(DefaultRewards, RepetitionAndLength) {
  EXPECT_NEAR(value("repetition", "a b c d e f A b c d e f", "", {{"ngram", 6}}), -1.0 / 7.0, 1e-12);
  EXPECT_NEAR(value("repetition", "猫在这里吗 猫在这里吗 ", "", {{"ngram", 5}}), -1.0 / 6.0, 1e-12);
  EXPECT_NEAR(value("repetition", R"([{"bbox_2d": [1, 2, 3, 4]}, {"bbox_2d": [1.0, 2, 3, 4]}])", ""), -0.5,
              1e-12);
  const std::vector<std::int64_t> ids(5000, 1);
  const auto length = [&](const char* answer, std::size_t tokens) {
    Item item;
    item.completion = answer;
    item.solution = "red";
    item.token_ids = {ids.data(), tokens + 1};
    return RewardSet(registry(), {{"length"}}).score({&item, 1}, 0).values[0][0];
  };
  EXPECT_DOUBLE_EQ(length("red", 0), 1.0);
  EXPECT_DOUBLE_EQ(length("red", 512), 0.75);
  EXPECT_DOUBLE_EQ(length("red", 4096), 0.5);
  EXPECT_DOUBLE_EQ(length("blue", 0), -0.5);
  EXPECT_DOUBLE_EQ(length("blue", 4096), 0.0);
}

TEST_F(DefaultRewards, RegexAndJsonSchema) {
  EXPECT_EQ(value("regex", "x = 42!", "42", {{"pattern", "= (\\d+)"}, {"group_is_solution", true}}), 1.0);
  EXPECT_EQ(value("regex", "x = 42!", "", {{"pattern", "\\d+"}, {"mode", "full"}}), 0.0);
  EXPECT_THROW(value("regex", "", "", {{"pattern", "(?=a)"}}), support::UserError);
  const json schema = {
      {"type", "array"},
      {"items", {{"required", {"label"}}, {"properties", {{"label", {{"enum", {"cat"}}}}}}}}};
  const json params = {{"schema", schema}};
  EXPECT_EQ(value("json_schema", "<answer>```json\n[{\"label\": \"cat\"}]\n```</answer>", "", params), 1.0);
  const Scores wrong =
      score({{"json_schema", 1.0, params}}, "<answer>[{\"label\": \"cat\"}, {\"label\": 3}]</answer>");
  EXPECT_EQ(wrong.values[0][0], 0.0);
  EXPECT_EQ(wrong.reasons[0][0], "answer[1].label: expected one of [\"cat\"]");
  EXPECT_THROW(value("json_schema", "", "", {{"schema", {{"$ref", "x"}}}}), support::UserError);
}

TEST_F(DefaultRewards, ObservationsSayWhatWasSeen) {
  // The output that started it all.
  const Observation bare =
      observed("the man with a yellow jacket and red visor of to the side(814,335),(977,996)");
  EXPECT_EQ(bare.box_notations, GRAFT_BOX_CORNERS);
  EXPECT_EQ(bare.parts, GRAFT_PART_BOX | GRAFT_PART_TEXT_OUTSIDE);
  ASSERT_EQ(bare.boxes.size(), 1u);
  EXPECT_EQ(bare.boxes[0], (std::array<double, 4>{814, 335, 977, 996}));
  const Observation tokens = observed("(1,2),(3,4)", "<|box_start|>(1,2),(3,4)<|box_end|>");
  EXPECT_EQ(tokens.box_notations, GRAFT_BOX_TOKENS);
  const Observation fenced =
      observed("<think>a</think>\n<answer>```json\n[{\"box\": [0.5, 2, 3, 1]}]\n```</answer>");
  EXPECT_EQ(fenced.parts, GRAFT_PART_THINK | GRAFT_PART_ANSWER | GRAFT_PART_BOX | GRAFT_PART_JSON |
                              GRAFT_PART_FENCE | GRAFT_PART_FRACTIONS | GRAFT_PART_INSIDE_OUT);
  EXPECT_EQ(fenced.key, "box");
  EXPECT_EQ(observed("<answer>（1，2），（3，4）</answer><answer>x</answer>").parts &
                (GRAFT_PART_FULL_WIDTH | GRAFT_PART_SEVERAL),
            GRAFT_PART_FULL_WIDTH | GRAFT_PART_SEVERAL);
  EXPECT_EQ(observed("<think>I look").parts,
            static_cast<std::uint32_t>(GRAFT_PART_UNCLOSED | GRAFT_PART_TEXT_OUTSIDE));
  EXPECT_EQ(observed("").parts, 0u);
  const Scores unasked = score({{"iou"}}, "x", "[0, 0, 1, 1]");
  EXPECT_TRUE(unasked.observations.empty());
}

}  // namespace
}  // namespace graft::rewards
