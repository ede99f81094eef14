// SPDX-License-Identifier: Apache-2.0
// Rewards that throw, crash, hang, leak …: within this process as far as that can be survived, and in one of their own.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>

#include "plugin/host_services.h"
#include "rewards/rewards.h"
#include "support/error.h"
#include "tests/support/errors.h"
#include "tests/support/temporary_directory.h"

namespace graft::rewards {
namespace {

class ProcessRewardTest : public testing::Test {
 protected:
  ProcessRewardTest() : registry_(plugin::host_table()) {
    registry_.load(std::filesystem::path(GRAFT_BINARY_DIR) / "tests/plugins/faulty_reward.so");
    registry_.load(std::filesystem::path(GRAFT_PLUGIN_DIR) / "iou.so");
  }

  // Views of the completions, which must outlive the items.
  static std::vector<Item> items_of(const std::vector<std::string>& completions) {
    std::vector<Item> items;
    for (const std::string& completion : completions) {
      Item item;
      item.completion = completion;
      items.push_back(item);
    }
    return items;
  }

  Scores score(const RewardSpec& spec, const std::vector<std::string>& completions) {
    const RewardSet rewards(registry_, {spec});
    return rewards.score(items_of(completions), 0);
  }

  static RewardSpec isolated(const char* name) {
    RewardSpec spec;
    spec.name = name;
    spec.isolate = true;
    spec.timeout = 1.0;
    spec.max_memory = 0.5;
    return spec;
  }

  // "python:FILE:score" with this text.
  RewardSpec python(const std::string& text) {
    const auto file = directory_.path() / "reward.py";
    std::ofstream(file) << text;
    RewardSpec spec;
    spec.name = "python:" + file.string() + ":score";
    spec.timeout = 20.0;
    return spec;
  }

  plugin::Registry registry_;
  const test::TemporaryDirectory directory_;
};

void expect_lost(const Scores& scores, std::size_t item, Status status, const std::string& reason) {
  EXPECT_EQ(scores.statuses[item][0], status) << item;
  EXPECT_TRUE(std::isnan(scores.values[item][0])) << item;
  EXPECT_TRUE(test::contains(scores.reasons[item][0], reason)) << item;
}

void expect_scored(const Scores& scores, std::size_t item) {
  EXPECT_EQ(scores.statuses[item][0], Status::kOk) << item << ": " << scores.reasons[item][0];
  EXPECT_EQ(scores.values[item][0], 0.5) << item;
}

TEST_F(ProcessRewardTest, WithinThisProcessBadValuesAndExceptionsCostTheirItemsAndAWrongCountTheBatch) {
  const Scores values = score({"faulty"}, {"a", "nan", "large", "b"});
  expect_scored(values, 0);
  expect_lost(values, 1, Status::kError, "nan");
  expect_lost(values, 2, Status::kError, "outside of its declared range");
  expect_scored(values, 3);
  expect_lost(score({"faulty"}, {"a", "throw"}), 1, Status::kError, "as told");
  expect_lost(score({"faulty_batch"}, {"a", "b"}), 0, Status::kError, "returned 1");
}

TEST_F(ProcessRewardTest, InAProcessOfItsOwnOnlyTheCompletionAtHandIsLost) {
  const Scores scores = score(isolated("faulty"), {"a", "throw", "nan", "crash", "b", "exit", "c"});
  expect_scored(scores, 0);
  expect_lost(scores, 1, Status::kError, "as told");
  expect_lost(scores, 2, Status::kError, "");
  expect_lost(scores, 3, Status::kError, "was ended by signal 6");
  expect_scored(scores, 4);
  expect_lost(scores, 5, Status::kError, "exited with code 9");
  expect_scored(scores, 6);
}

TEST_F(ProcessRewardTest, AHangEndsAtTheTimeoutAndTheRestIsScored) {
  const Scores scores = score(isolated("faulty"), {"a", "hang", "b"});
  expect_scored(scores, 0);
  expect_lost(scores, 1, Status::kTimeout, "no score within 1 seconds");
  expect_scored(scores, 2);
}

TEST_F(ProcessRewardTest, AMemoryBlowUpMeetsTheLimit) {
  RewardSpec spec = isolated("faulty");
  spec.timeout = 60.0;  // pages take their time on a busy machine
  const Scores scores = score(spec, {"leak", "b"});
  expect_lost(scores, 0, Status::kError, "");
  EXPECT_EQ(scores.statuses[1][0], Status::kOk) << scores.reasons[1][0];
}

TEST_F(ProcessRewardTest, AfterSeveralFailuresTheRestOfTheBatchGoesWithoutScores) {
  const Scores scores = score(isolated("faulty"), {"crash", "crash", "crash", "b"});
  for (std::size_t i = 0; i < 4; ++i) expect_lost(scores, i, Status::kError, "signal 6");
}

TEST_F(ProcessRewardTest, AnIsolatedRewardScoresAndDescribesItselfAsWithin) {
  RewardSpec spec = isolated("iou");
  spec.params = {{"space", "unit"}};
  const RewardSet inside(registry_, {{"iou", 1.0, {{"space", "unit"}}}}), apart(registry_, {spec});
  const std::vector<std::string> completions = {"<answer>[0, 0, 0.5, 0.5]</answer>", "no box",
                                                "<answer>[0.1, 0, 0.5, 0.5]</answer> é \xff"};
  std::vector<Item> items = items_of(completions);
  for (Item& item : items) {
    item.solution = "[0, 0, 50, 50]";
    item.images = {{100, 100, 28, 28}};
  }
  const Scores a = inside.score(items, 3, true), b = apart.score(items, 3, true);
  EXPECT_EQ(a.values, b.values);
  EXPECT_EQ(a.statuses, b.statuses);
  EXPECT_EQ(a.reasons, b.reasons);
  ASSERT_TRUE(a.observations[0][0] && b.observations[0][0]);
  EXPECT_EQ(a.observations[0][0]->boxes, b.observations[0][0]->boxes);
  const RewardInfo x = inside.infos()[0], y = apart.infos()[0];
  EXPECT_EQ(x.contract.format, y.contract.format);
  EXPECT_EQ(x.params, y.params);
  EXPECT_EQ(x.maximum, y.maximum);
}

TEST_F(ProcessRewardTest, WrongParametersOfAnIsolatedRewardAreTheUsersError) {
  RewardSpec spec = isolated("iou");
  spec.params = {{"spice", "unit"}};
  EXPECT_TRUE(test::contains(test::message_of<support::UserError>([&] { score(spec, {"a"}); }), "spice"));
}

TEST_F(ProcessRewardTest, APythonFunctionIsCalledAsTrlCallsIt) {
  RewardSpec spec = python(R"(
def score(prompts, completions, completion_ids, solution, level, **kwargs):
    print("noise on stdout")
    assert prompts[0] == [{"role": "user", "content": "q"}]
    return [None if completion[0]["content"] == "skip" else len(completion[0]["content"]) + len(ids) + number
            for completion, ids, number in zip(completions, completion_ids, level)]
)");
  const std::vector<std::int64_t> ids = {1, 2, 3};
  const std::vector<std::string> completions = {"abc", "skip"};
  std::vector<Item> items = items_of(completions);
  for (Item& item : items) {
    item.prompt = "q";
    item.token_ids = ids;
    item.sample_json = "{\"level\": 10, \"solution\": \"s\"}";
  }
  const RewardSet rewards(registry_, {spec});
  const Scores scores = rewards.score(items, 0);
  EXPECT_EQ(scores.values[0][0], 16.0);
  EXPECT_EQ(scores.statuses[1][0], Status::kNoOpinion);
  EXPECT_EQ(rewards.components(), (std::vector<std::string>{"score"}));
}

TEST_F(ProcessRewardTest, APythonFunctionMayBeAsyncAndTakeTexts) {
  RewardSpec spec =
      python("async def score(completions, **kwargs):\n    return [float(len(c)) for c in completions]\n");
  spec.params = {{"completions", "text"}};
  EXPECT_EQ(score(spec, {"abcd"}).values[0][0], 4.0);
}

TEST_F(ProcessRewardTest, WhatAPythonFunctionDoesWrongIsSaid) {
  expect_lost(score(python("def score(completions, **kwargs):\n    return [1.0]\n"), {"a", "b"}), 0,
              Status::kError, "returned 1 scores for 2 completions");
  expect_lost(score(python("def score(completions, **kwargs):\n    raise KeyError('bbox')\n"), {"a"}), 0,
              Status::kError, "KeyError: 'bbox' (reward.py:2)");
  expect_lost(score(python("def score(completions, **kwargs):\n    return [float('nan')]\n"), {"a"}), 0,
              Status::kError, "nan");
  expect_lost(score(python("import os\ndef score(completions, **kwargs):\n    os._exit(4)\n"), {"a"}), 0,
              Status::kError, "exited with code 4");
  const auto error_of = [&](const RewardSpec& spec) {
    return test::message_of<support::UserError>([&] { score(spec, {"a"}); });
  };
  EXPECT_TRUE(
      test::contains(error_of(python("import no_such_module\n")), "No module named 'no_such_module'"));
  EXPECT_TRUE(test::contains(error_of(python("def other(): pass\n")), "has no function score"));
  RewardSpec absent;
  absent.name = "python:nowhere.py:score";
  EXPECT_TRUE(test::contains(error_of(absent), "there is no file"));
  absent.name = "python:nowhere.py";
  EXPECT_TRUE(test::contains(error_of(absent), "expected python:FILE.py:FUNCTION"));
  RewardSpec spec = python("def score(completions, **kwargs):\n    return [0.0]\n");
  spec.params = {{"completion", "text"}};
  EXPECT_TRUE(test::contains(error_of(spec), "did you mean \"completions\""));
  spec.params = {{"interpreter", "no-such-python"}};
  EXPECT_TRUE(test::contains(error_of(spec), "could not be started"));
}

}  // namespace
}  // namespace graft::rewards
