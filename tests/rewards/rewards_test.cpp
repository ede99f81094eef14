// SPDX-License-Identifier: Apache-2.0
// RewardSet over the plugins iou and format, through the ABI.
#include "rewards/rewards.h"

#include <graft/reward.h>
#include <gtest/gtest.h>

#include <cmath>

#include "support/error.h"
#include "tests/rewards/reward_fixture.h"

namespace graft::rewards {
namespace {

class RewardSetTest : public RewardFixture {
 protected:
  double iou(std::string_view completion, const nlohmann::json& params = nlohmann::json::object()) {
    return score({{"iou", 1.0, params}}, completion, "[0, 0, 100, 100]", {{200, 100, 400, 200}}).values[0][0];
  }

  double format(std::string_view completion, const nlohmann::json& params = nlohmann::json::object()) {
    return score({{"format", 1.0, params}}, completion).values[0][0];
  }
};

TEST_F(RewardSetTest, IouConvertsTheAnswersCoordinatesToPixelsOfTheFile) {
  EXPECT_DOUBLE_EQ(iou("<answer>[0, 0, 200, 200]</answer>"), 1.0);
  EXPECT_DOUBLE_EQ(iou("<answer>[0, 0, 100, 100]</answer>", {{"space", "original_pixels"}}), 1.0);
  EXPECT_DOUBLE_EQ(iou("<answer>[0, 0, 500, 1000]</answer>", {{"space", "per_mille"}}), 1.0);
  EXPECT_DOUBLE_EQ(iou("<answer>[0, 0, 0.5, 1.0]</answer>", {{"space", "unit"}}), 1.0);
  EXPECT_DOUBLE_EQ(iou("<answer>[0, 0, 100, 200]</answer>"), 0.5);
  EXPECT_DOUBLE_EQ(iou("<answer>[100, 100, 300, 300]</answer>"), 1.0 / 7.0);
}

TEST_F(RewardSetTest, IouReadsTheFirstBoxOfTheLastAnswerInAnyNotation) {
  EXPECT_DOUBLE_EQ(iou("<answer>[9, 9, 9, 9]</answer> no: <answer>{\"bbox_2d\": [0,0,200,200]}</answer>"),
                   1.0);
  EXPECT_DOUBLE_EQ(iou("<answer>```json\n[{\"bbox\": [0.0, 0.0, 200.0, 200.0]}]\n```</answer>"), 1.0);
  EXPECT_DOUBLE_EQ(iou("<answer>[200, 200, 0, 0]</answer>"), 0.0);
}

TEST_F(RewardSetTest, IouSaysWhatItMissed) {
  const Scores no_answer =
      score({{"iou"}}, "the man (814,335),(977,996)", "[0, 0, 1, 1]", {{10, 10, 10, 10}});
  EXPECT_EQ(no_answer.statuses[0][0], Status::kUnparsable);
  EXPECT_EQ(no_answer.reasons[0][0], "no <answer>…</answer>");
  EXPECT_EQ(no_answer.values[0][0], 0.0);
  const Scores no_box = score({{"iou"}}, "<answer>here</answer>", "[0, 0, 1, 1]", {{10, 10, 10, 10}});
  EXPECT_EQ(no_box.statuses[0][0], Status::kUnparsable);
  const Scores no_solution = score({{"iou"}}, "<answer>[0, 0, 1, 1]</answer>", "yes", {{10, 10, 10, 10}});
  EXPECT_EQ(no_solution.statuses[0][0], Status::kNoOpinion);
  EXPECT_TRUE(std::isnan(no_solution.values[0][0]));
  const Scores no_size = score({{"iou"}}, "<answer>[0, 0, 1, 1]</answer>", "[0, 0, 1, 1]");
  EXPECT_EQ(no_size.statuses[0][0], Status::kError);
  EXPECT_TRUE(std::isnan(no_size.values[0][0]));
}

TEST_F(RewardSetTest, FormatWantsEachTagOnceAndNothingAround) {
  EXPECT_EQ(format("<think>a</think><answer>b</answer>"), 1.0);
  EXPECT_EQ(format("\n<think>a\nb</think>\n <answer>c</answer>\n"), 1.0);
  EXPECT_EQ(format("<think></think><answer></answer>"), 1.0);
  for (const char* wrong :
       {"", "answer", "<think>a<answer>b</answer>", "<think>a</think>b",
        "<think>a</think> b <answer>c</answer>", "<think>a</think><answer>b",
        "<think>a</think><answer>b</answer>c", "x<think>a</think><answer>b</answer>",
        "<think><think>a</think><answer>b</answer>", "<think>a</think><answer><answer>b</answer>"}) {
    EXPECT_EQ(format(wrong), 0.0) << wrong;
  }
}

TEST_F(RewardSetTest, FormatCanAskForABoxOrJson) {
  const nlohmann::json box = {{"require_box", true}}, json = {{"require_json", true}};
  EXPECT_EQ(format("<think>a</think><answer>[1, 2, 3, 4]</answer>", box), 1.0);
  EXPECT_EQ(format("<think>a</think><answer>left</answer>", box), 0.0);
  EXPECT_EQ(format("<think>a</think><answer>{\"bbox\": [1, 2, 3, 4]}</answer>", json), 1.0);
  EXPECT_EQ(format("<think>a</think><answer>```json\n[1]\n```</answer>", json), 1.0);
  EXPECT_EQ(format("<think>a</think><answer>{bbox}</answer>", json), 0.0);
}

TEST_F(RewardSetTest, TheSameRewardTwiceGetsNamesOfItsOwn) {
  const RewardSet rewards(registry_, {{"iou", 0.5}, {"iou", 2.0, {{"space", "unit"}}}, {"format"}});
  EXPECT_EQ(rewards.components(), (std::vector<std::string>{"iou", "iou_2", "format"}));
  EXPECT_EQ(rewards.weights(), (std::vector<double>{0.5, 2.0, 1.0}));
}

TEST_F(RewardSetTest, ContractsTellTheCoordinateSpace) {
  const RewardSet rewards(registry_, {{"iou", 1.0, {{"space", "per_mille"}}}});
  ASSERT_EQ(rewards.infos().size(), 1u);
  EXPECT_EQ(rewards.infos()[0].contract.coordinate_space, GRAFT_SPACE_PER_MILLE);
  EXPECT_NE(rewards.infos()[0].contract.format.find("[x1, y1, x2, y2]"), std::string::npos);
  EXPECT_EQ(rewards.infos()[0].contract.parts, GRAFT_PART_ANSWER | GRAFT_PART_BOX);
  EXPECT_EQ(rewards.infos()[0].contract.box_notations,
            GRAFT_BOX_LIST | GRAFT_BOX_CORNERS | GRAFT_BOX_TOKENS | GRAFT_BOX_TAG);
}

TEST_F(RewardSetTest, BadParametersNameTheKey) {
  try {
    RewardSet rewards(registry_, {{"iou", 1.0, {{"spce", "unit"}}}});
    FAIL() << "accepted an unknown parameter";
  } catch (const support::UserError& error) {
    EXPECT_NE(std::string(error.what()).find("spce"), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find("rewards.0.params"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace graft::rewards
