// SPDX-License-Identifier: Apache-2.0
// parity=vlm_r1 through the ABI: values that VLM-R1's functions gave when they were run.
#include <gtest/gtest.h>

#include <array>
#include <initializer_list>

#include "support/error.h"
#include "tests/rewards/reward_fixture.h"

namespace graft::rewards {
namespace {

class VlmR1Test : public RewardFixture {
 protected:
  double parity(const std::string& reward, std::string_view completion, std::string_view solution,
                nlohmann::json params = nlohmann::json::object(), std::vector<ImageSize> images = {}) {
    params["parity"] = "vlm_r1";
    return score({{reward, 1.0, params}}, completion, solution, std::move(images)).values[0][0];
  }
  double iou(std::string_view box, std::string_view truth) {
    return parity("iou", "<answer>" + std::string(box) + "</answer>", truth, {{"module", "internvl"}});
  }
  double format(std::string_view completion, const char* module) {
    return parity("format", completion, "", {{"module", module}});
  }
};

TEST_F(VlmR1Test, IouIsZeroForAnOverlapOfOnePixel) {
  EXPECT_EQ(iou("[0, 0, 1, 1]", "[0, 0, 1, 1]"), 0.0);
  EXPECT_EQ(iou("[0, 0, 2, 2]", "[1, 1, 3, 3]"), 0.0);
  EXPECT_DOUBLE_EQ(iou("[0,0,10,10]", "[5,5,15,15]"), 1.0 / 7.0);
  EXPECT_EQ(iou("[5, 5, 5, 5]", "[7, 7, 7, 7]"), 0.0);  // divides by zero
}

TEST_F(VlmR1Test, IouReadsTheFirstWholeBoxOfTheFirstAnswer) {
  EXPECT_EQ(iou("[0.5, 0, 10, 10]", "[0, 0, 10, 10]"), 0.0);
  EXPECT_EQ(iou("[-1, 0, 10, 10] [0, 0, 10, 10]", "[0, 0, 10, 10]"), 1.0);
  EXPECT_EQ(iou("none</answer><answer>[0, 0, 10, 10]", "[0, 0, 10, 10]"), 0.0);
  EXPECT_EQ(iou("[٠, 0, 10,\xe3\x80\x80１0]", "[0, 0, 10, 10]"), 1.0);  // any Unicode digit and space
}

TEST_F(VlmR1Test, QwensIouScalesFromTheProcessedImage) {
  EXPECT_DOUBLE_EQ(
      parity("iou", "<answer>[0, 0, 28, 28]</answer>", "[0, 0, 50, 25]", {}, {{100, 50, 56, 56}}), 1.0);
}

TEST_F(VlmR1Test, IouRaisesForASolutionThatIsNoJson) {
  const Scores scores =
      score({{"iou", 1.0, {{"parity", "vlm_r1"}}}}, "<answer>[0, 0, 1, 1]</answer>", "left");
  EXPECT_EQ(scores.statuses[0][0], Status::kError);
}

TEST_F(VlmR1Test, FormatOfTheModules) {
  EXPECT_EQ(format("<think>a</think><answer>{\"b\": [1, 2, 3, 4]}</answer>", "qwen"), 1.0);
  EXPECT_EQ(format("x<think>a</think> <answer>```json\n[{\"b\": [1,2,3,4]}]\n```</answer>y", "qwen"), 1.0);
  EXPECT_EQ(format("<think>a</think><answer>[1,2,3,4]</answer>", "qwen"), 0.0);
  EXPECT_EQ(format("<think>a</think><answer>{[1.0, 2, 3, 4]}</answer>", "qwen"), 0.0);
  EXPECT_EQ(format("<think>a</think><answer>[1,2,3,4]</answer>", "internvl"), 1.0);
  EXPECT_EQ(format("<think>a<answer>b</answer>", "glm"), 1.0);
  EXPECT_EQ(format("<think>a</think>\n<answer>b</answer>", "registry"), 1.0);
  EXPECT_EQ(format("<think>a</think><answer>b</answer>\n", "registry"), 0.0);
  EXPECT_EQ(format("<think>a</think> and <answer>b</answer>", "registry"), 0.0);
  EXPECT_EQ(format("<think>a<think></think><answer>b</answer></answer>", "registry"), 1.0);
}

TEST_F(VlmR1Test, Accuracy) {
  EXPECT_EQ(score({{"accuracy"}}, "<answer>3 cats</answer>", "3").values[0][0], 1.0);
  EXPECT_NEAR(score({{"accuracy"}}, "red car", "red cat").values[0][0], 0.857143, 5e-7);
  EXPECT_NEAR(parity("ratio", "red car", "red cat"), 0.857143, 5e-7);
  EXPECT_EQ(parity("exact_match", "<answer> Foo\nBar. </answer>", "foo bar"), 1.0);
  EXPECT_EQ(parity("multiple_choice", "(B)", "B"), 0.0);
  EXPECT_EQ(parity("multiple_choice", "B)", "B"), 0.0);
  EXPECT_EQ(parity("multiple_choice", "I think a or C.", "C"), 1.0);
  EXPECT_EQ(parity("yes_no", "I know", "no"), 1.0);
  EXPECT_EQ(parity("yes_no", "left", "right"), 1.0);
  EXPECT_EQ(parity("numeric", "<answer>3.0</answer>", "3"), 1.0);
  EXPECT_EQ(parity("math", "so \\boxed{\\frac12}", "\\frac{1}{2}"), 1.0);
}

TEST_F(VlmR1Test, AccuracyTakesTheSamplesMethod) {
  Item item;
  item.completion = "<answer>I know</answer>";
  item.solution = "no";
  item.sample_json = R"({"id": 1, "accu_reward_method": "yes_no"})";
  const RewardSet set(registry(), {{"accuracy"}});
  EXPECT_EQ(set.score({&item, 1}, 0).values[0][0], 1.0);
  item.sample_json = R"({"id": 1, "accu_reward_method": "all_match"})";
  EXPECT_EQ(set.score({&item, 1}, 0).values[0][0], 0.0);
}

TEST_F(VlmR1Test, Detection) {
  const std::string cat = R"({"bbox_2d": [0, 0, 100, 100], "label": "cat"})";
  const std::string dog = R"({"bbox_2d": [200, 200, 300, 300], "label": "dog"})";
  const std::string low_cat = R"({"bbox_2d": [0, 0, 100, 80], "label": "cat"})";
  const std::string wrong_cat = R"({"bbox_2d": [500, 500, 600, 600], "label": "cat"})";
  const std::string zebra = R"({"bbox_2d": [500, 500, 600, 600], "label": "zebra"})";
  const std::string as_dog = R"({"bbox_2d": [0, 0, 100, 100], "label": "dog"})";
  const auto list = [](std::initializer_list<std::string> items) {
    std::string text;
    for (const std::string& item : items) text += (text.empty() ? "" : ", ") + item;
    return "```json\n[" + text + "]\n```";
  };
  const std::vector<std::pair<std::string, std::array<double, 4>>> table = {
      {list({cat, dog}), {1, 1, 1, 1}},
      {list({cat}), {0.5, 0.5, 0.5, 0.575}},
      {list({low_cat, dog}), {0.85, 1, 0.85, 0.93}},
      {list({wrong_cat, cat, dog}), {0.75, 0.75, 0.5, 0.95}},
      {list({cat, wrong_cat, dog}), {1, 1, 2.0 / 3, 0.95}},
      {list({cat, dog, zebra}), {1, 1, 2.0 / 3, 0.95}},
      {list({cat, cat, dog}), {1, 1, 2.0 / 3, 0.95}},
      {list({as_dog, dog}), {0.25, 0.25, 0.25, 0.65}},
      {list({}), {0, 0, 0, 0}},
  };
  const char* const metrics[] = {"ap", "ap50", "od_length", "weighted_sum"};
  for (const auto& [boxes, expected] : table) {
    for (std::size_t k = 0; k < 4; ++k) {
      EXPECT_NEAR(
          parity("detection", "<answer>" + boxes + "</answer>", list({cat, dog}), {{"metric", metrics[k]}}),
          expected[k], 5e-7)
          << metrics[k] << " " << boxes;
    }
  }
  EXPECT_EQ(parity("detection", "<answer>hello</answer>", "None"), 1.0);  // any text without JSON
}

TEST_F(VlmR1Test, LengthIgnoresWhetherTheAnswerIsRight) {
  const std::vector<std::pair<std::size_t, double>> table = {{0, 1.0},    {256, 0.926777}, {512, 0.75},
                                                             {1024, 0.5}, {1536, 0.75},    {2048, 1.0}};
  const std::vector<std::int64_t> ids(4096, 1);
  for (const auto& [tokens, expected] : table) {
    Item item;
    item.completion = "wrong";
    item.solution = "right";
    item.token_ids = {ids.data(), tokens + 1};  // and the stop token
    const RewardSet set(registry(), {{"length", 1.0, {{"parity", "vlm_r1"}}}});
    EXPECT_NEAR(set.score({&item, 1}, 0).values[0][0], expected, 5e-7) << tokens;
  }
}

TEST_F(VlmR1Test, Repetition) {
  EXPECT_NEAR(parity("repetition", "a b c d e f a b c d e f a b c d e f", ""), -0.538462, 5e-7);
  const std::string box = R"({"bbox_2d": [1, 2, 3, 4], "label": "cat"})";
  EXPECT_NEAR(
      parity("repetition", "[" + box + ", " + box + R"(, {"bbox_2d": [1, 2, 3, 4], "label": "dog"}])", ""),
      -0.333333, 5e-7);
  EXPECT_EQ(parity("repetition", "", ""), 0.0);
}

TEST_F(VlmR1Test, ParametersThatVlmR1LacksAreRefused) {
  EXPECT_THROW(parity("iou", "", "", {{"threshold", 0.5}}), support::UserError);
  EXPECT_THROW(parity("format", "", "", {{"require_box", true}}), support::UserError);
  EXPECT_THROW(score({{"iou", 1.0, {{"module", "glm"}}}}, "", ""), support::UserError);
}

}  // namespace
}  // namespace graft::rewards
