// SPDX-License-Identifier: Apache-2.0
// What must hold of every objective, whatever its numbers: with the tiny checkpoint and completions drawn by the test.
#include "train/grpo.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "support/error.h"
#include "tests/support/errors.h"
#include "tests/support/tiny_trainer.h"

namespace graft::train {
namespace {

using tests::TinyQuestion;
using tests::TinyTrainer;

const std::vector<TinyQuestion>& questions() {
  static const std::vector<TinyQuestion> all = {{"Where is the red box?", "image"},
                                                {"How many boxes?", "image_resize"},
                                                {"Say a colour.", ""},
                                                {"Left or right?", "image"},
                                                {"Up or down?", ""},
                                                {"Name a shape.", "image_resize"},
                                                {"Is it blue?", ""},
                                                {"Count to three.", ""}};
  return all;
}

// Completions of 1 to 9 tokens that depend on the prompt's text and the sample alone.
std::vector<std::vector<std::int64_t>> completions_of(std::span<const PromptItem> prompts, std::int64_t group,
                                                      std::int64_t step, std::int64_t stop_id) {
  std::vector<std::vector<std::int64_t>> all;
  for (const PromptItem& item : prompts) {
    for (std::int64_t g = 0; g < group; ++g) {
      support::KeyedRandom random(7, {support::hash_string(item.sample->question),
                                      static_cast<std::uint64_t>(g), static_cast<std::uint64_t>(step)});
      std::vector<std::int64_t> ids(random.next() % 9);
      for (std::int64_t& id : ids) id = static_cast<std::int64_t>(random.next() % 1000);
      ids.push_back(stop_id);
      all.push_back(std::move(ids));
    }
  }
  return all;
}

config::RunConfig base_config() {
  config::RunConfig config;
  config.data.shuffle = false;
  config.rollout.num_generations = 2;
  config.rollout.max_completion_length = 10;
  config.train.prompts_per_step = 8;
  config.train.steps = 100;
  config.optimizer.learning_rate = 1e-2;
  config.optimizer.schedule = "constant";
  return config;
}

struct Update {
  UpdateResult result;
  double old_difference = 0.0;                  // largest |logprob - old logprob|
  std::map<std::string, at::Tensor> gradients;  // before clipping
};

struct Outcome {
  std::vector<Update> updates;
  std::vector<StepReport> reports;
};

// Steps of a trainer with the test's completions; identical: every completion of a group is the same.
Outcome run(const config::RunConfig& config, std::vector<TinyQuestion> order, int steps,
            bool identical = false) {
  Outcome outcome;
  TinyTrainer* made = nullptr;
  GrpoHooks hooks;
  hooks.sample = [&](std::span<const PromptItem> prompts, std::int64_t step) {
    const std::int64_t group = config.rollout.num_generations;
    auto completions = completions_of(prompts, group, step, made->model->stop_ids().front());
    for (std::size_t i = 0; identical && i < completions.size(); ++i) {
      completions[i] = completions[i - i % static_cast<std::size_t>(group)];
    }
    return tests::scripted_rollouts(prompts, completions, made->model->stop_ids());
  };
  hooks.before_optimizer_step = [&](const Experience&, const MiniBatch& mini, const UpdateResult& result) {
    Update update;
    update.result = result;
    for (std::size_t m = 0; m < mini.micro_batches.size(); ++m) {
      const at::Tensor& old = mini.micro_batches[m].old_logprobs;
      if (!old.defined()) continue;
      update.old_difference =
          std::max(update.old_difference, (result.logprobs[m] - old).abs().max().item<double>());
    }
    for (const adapt::AdapterTensor& tensor : made->adapter->tensors()) {
      update.gradients[tensor.name] = tensor.tensor.grad().clone();
    }
    outcome.updates.push_back(std::move(update));
  };
  TinyTrainer trainer(config, order, hooks);
  made = &trainer;
  for (int i = 0; i < steps; ++i) outcome.reports.push_back(trainer.trainer.step());
  return outcome;
}

void expect_same_gradients(const Update& a, const Update& b, double tolerance, const std::string& what) {
  ASSERT_EQ(a.gradients.size(), b.gradients.size());
  for (const auto& [name, gradient] : a.gradients) {
    const double scale = std::max(1e-12, gradient.abs().max().item<double>());
    EXPECT_LE((gradient - b.gradients.at(name)).abs().max().item<double>() / scale, tolerance)
        << what << ' ' << name;
  }
}

struct Objective {
  const char* loss_type;
  double beta;
  double top_entropy_quantile;
  std::int64_t num_iterations;
};

std::vector<Objective> objectives() {
  std::vector<Objective> all;
  for (const char* type : {"grpo", "bnpo", "dr_grpo", "dapo", "cispo", "gspo"}) {
    all.push_back({type, 0.04, 1.0, 2});
  }
  all.push_back({"dapo", 0.0, 0.4, 1});
  return all;
}

config::RunConfig config_of(const Objective& objective) {
  config::RunConfig config = base_config();
  config.objective.loss_type = objective.loss_type;
  config.objective.beta = objective.beta;
  config.objective.top_entropy_quantile = objective.top_entropy_quantile;
  config.objective.num_iterations = objective.num_iterations;
  return config;
}

// Measured: losses agree to 2e-8, gradients to 1e-6 of a tensor's largest entry (float32 sums in another order).
TEST(GrpoTrainer, MicroBatchesDoNotChangeAStep) {
  for (const Objective& objective : objectives()) {
    config::RunConfig config = config_of(objective);
    config.train.micro_prompts = 8;
    const Outcome whole = run(config, questions(), 1);
    config.train.micro_prompts = 1;
    const Outcome split = run(config, questions(), 1);
    ASSERT_EQ(whole.updates.size(), static_cast<std::size_t>(objective.num_iterations));
    ASSERT_EQ(split.updates.size(), whole.updates.size());
    EXPECT_NEAR(whole.updates[0].result.loss, split.updates[0].result.loss, 1e-6) << objective.loss_type;
    expect_same_gradients(whole.updates[0], split.updates[0], 1e-6, objective.loss_type);
    for (const char* metric : {"entropy", "grad_norm", "reward"}) {
      EXPECT_NEAR(whole.reports[0].rows[0][metric].get<double>(),
                  split.reports[0].rows[0][metric].get<double>(), 1e-5)
          << objective.loss_type << ' ' << metric;
    }
  }
}

TEST(GrpoTrainer, ATokenBudgetSplitsAStepWithoutChangingIt) {
  config::RunConfig config = base_config();
  const Outcome whole = run(config, questions(), 1);
  config.train.micro_batch_tokens = 120;
  const Outcome split = run(config, questions(), 1);
  EXPECT_EQ(whole.updates[0].result.logprobs.size(), 1U);
  EXPECT_GT(split.updates[0].result.logprobs.size(), 1U);
  EXPECT_LT(split.updates[0].result.logprobs.size(), 8U);
  EXPECT_NEAR(whole.updates[0].result.loss, split.updates[0].result.loss, 1e-6);
  expect_same_gradients(whole.updates[0], split.updates[0], 1e-6, "budget");
}

// Measured: 1.5e-6 of a tensor's largest entry, since float32 matrix products sum the tokens in another order.
TEST(GrpoTrainer, TheOrderOfPromptsDoesNotChangeAStep) {
  std::vector<TinyQuestion> reversed(questions().rbegin(), questions().rend());
  for (const Objective& objective : objectives()) {
    const Outcome one = run(config_of(objective), questions(), 1);
    const Outcome other = run(config_of(objective), reversed, 1);
    EXPECT_NEAR(one.updates[0].result.loss, other.updates[0].result.loss, 1e-6) << objective.loss_type;
    expect_same_gradients(one.updates[0], other.updates[0], 3e-6, objective.loss_type);
  }
}

TEST(GrpoTrainer, EqualRewardsGiveExactlyNoGradient) {
  for (Objective objective : objectives()) {
    objective.beta = 0.0;
    objective.num_iterations = 1;
    const Outcome made = run(config_of(objective), questions(), 1, /*identical=*/true);
    EXPECT_EQ(made.updates[0].result.loss, 0.0);
    for (const auto& [name, gradient] : made.updates[0].gradients) {
      EXPECT_EQ(gradient.abs().max().item<double>(), 0.0) << objective.loss_type << ' ' << name;
    }
    // One group has no score at all, so no spread to speak of either.
    const nlohmann::ordered_json& row = made.reports[0].rows[0];
    EXPECT_EQ(row["frac_reward_zero_std"], 7.0 / 8.0);
    EXPECT_NEAR(
        row["frac_reward_zero_std_low"].get<double>() + row["frac_reward_zero_std_high"].get<double>(),
        7.0 / 8.0, 1e-12);
  }
}

TEST(GrpoTrainer, TheRatioIsExactlyOneOnTheFirstInnerStep) {
  for (const char* source : {"auto", "recompute"}) {
    for (Objective objective : objectives()) {
      config::RunConfig config = config_of(objective);
      config.objective.num_iterations = 2;
      config.objective.old_logprobs = source;
      const Outcome made = run(config, questions(), 1);
      EXPECT_EQ(made.updates[0].old_difference, 0.0) << objective.loss_type << ' ' << source;
      EXPECT_EQ(made.updates[0].result.clipped.low + made.updates[0].result.clipped.high, 0.0);
      EXPECT_GT(made.updates[1].old_difference, 1e-3) << "the policy has moved";
    }
  }
}

TEST(GrpoTrainer, MiniBatchesKeepTheRatioToThePolicyThatSampled) {
  config::RunConfig config = base_config();
  config.train.prompts_per_step = 2;
  config.train.num_mini_batches = 4;
  const Outcome made = run(config, questions(), 1);
  ASSERT_EQ(made.updates.size(), 4U);
  EXPECT_EQ(made.updates[0].old_difference, 0.0);
  for (std::size_t i = 1; i < 4; ++i) EXPECT_GT(made.updates[i].old_difference, 1e-4);
  ASSERT_EQ(made.reports[0].rows.size(), 4U);
  EXPECT_TRUE(made.reports[0].rows[0].contains("reward"));
  EXPECT_FALSE(made.reports[0].rows[1].contains("reward"));
  EXPECT_EQ(made.reports[0].rows[3]["step"], 4);
}

TEST(GrpoTrainer, StopsWithinARolloutAtTheLastStep) {
  config::RunConfig config = base_config();
  config.objective.num_iterations = 3;
  config.train.steps = 2;
  const Outcome made = run(config, questions(), 1);
  EXPECT_EQ(made.reports[0].rows.size(), 2U);
}

// VLM-R1 ends its mask at the tokenizer's eos alone: a completion that stopped with the other stop token is scored with the
// padding behind it.
TEST(GrpoTrainer, VlmR1ParityScoresThePaddingOfOtherStopTokens) {
  config::RunConfig config = base_config();
  config.objective.parity = "vlm_r1";
  Experience experience;
  experience.items.resize(1);
  config.train.prompts_per_step = 1;
  config.rollout.num_generations = 3;
  for (const std::vector<std::int64_t>& ids :
       {std::vector<std::int64_t>{5, 1002}, std::vector<std::int64_t>{5, 1000},
        std::vector<std::int64_t>{5, 6, 7, 8}}) {
    rollout::Completion completion;
    completion.ids = ids;
    experience.rollouts.completions.push_back(completion);
  }
  split_experience(experience, config, /*eos_id=*/1002, /*pad_id=*/1000);
  EXPECT_EQ(experience.scored_ids[0], (std::vector<std::int64_t>{5, 1002}));
  EXPECT_EQ(experience.scored_ids[1], (std::vector<std::int64_t>{5, 1000, 1000, 1000}));
  EXPECT_EQ(experience.scored_ids[2], (std::vector<std::int64_t>{5, 6, 7, 8}));
}

TEST(GrpoTrainer, APromptThatComesTwiceIsSampledAnew) {
  config::RunConfig config = base_config();
  config.train.prompts_per_step = 2;
  TinyTrainer trainer(config, {{"Say a colour.", ""}}, {});
  const StepReport report = trainer.trainer.step();
  ASSERT_EQ(report.completions.size(), 4U);
  EXPECT_NE(report.completions[0]["completion"], report.completions[2]["completion"]);
}

// Real rollouts, sampled and learned from.
std::vector<double> sampled_losses(int steps, int threads) {
  const int before = at::get_num_threads();
  at::set_num_threads(threads);
  config::RunConfig config = base_config();
  config.train.prompts_per_step = 2;
  config.objective.beta = 0.04;
  config.optimizer.learning_rate = 1e-3;
  TinyTrainer trainer(config, questions(), {});
  std::vector<double> losses;
  for (int i = 0; i < steps; ++i) losses.push_back(trainer.trainer.step().rows[0]["loss"].get<double>());
  at::set_num_threads(before);
  return losses;
}

TEST(GrpoTrainer, SeededRunsAgreeToTheLastBitAndThreadsBarelyMatter) {
  const std::vector<double> one = sampled_losses(20, 1), again = sampled_losses(20, 1),
                            two = sampled_losses(20, 2);
  EXPECT_EQ(one, again);
  double largest = 0.0;
  for (std::size_t i = 0; i < one.size(); ++i) largest = std::max(largest, std::abs(one[i] - two[i]));
  EXPECT_LE(largest, 1e-5);
  EXPECT_NE(one.front(), one.back());
}

}  // namespace
}  // namespace graft::train
