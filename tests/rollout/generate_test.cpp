// SPDX-License-Identifier: Apache-2.0
#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "objective/logprobs.h"
#include "rollout/rollout.h"
#include "support/error.h"
#include "tests/support/tiny_model.h"

namespace graft::rollout {
namespace {

using tests::TinyPrompt;

class Generate : public testing::Test {
 protected:
  explicit Generate(std::unique_ptr<model::Model> model = tests::open_tiny_model())
      : model_(std::move(model)) {
    prompts_.push_back(tests::tiny_prompt(*model_, "Where is the red square?", "image"));
    prompts_.push_back(tests::tiny_prompt(*model_, "Say something.", ""));
    prompts_.push_back(
        tests::tiny_prompt(*model_, "A longer question: which of the shapes is blue?", "image_resize"));
    options_.num_generations = 3;
    options_.max_completion_length = 10;
    options_.seed = 5;
    options_.step = 2;
  }

  // Rollouts of the prompts listed; each prompt's key is its index.
  Rollouts run(const std::vector<std::size_t>& which, const SamplingOptions& options) const {
    std::vector<const model::Prompt*> prompts;
    std::vector<at::Tensor> images;
    std::vector<std::uint64_t> keys;
    for (const std::size_t p : which) {
      prompts.push_back(&prompts_[p].prompt);
      images.push_back(prompts_[p].image_values);
      keys.push_back(p);
    }
    return generate(*model_, prompts, images, keys, options);
  }

  static std::vector<std::vector<std::int64_t>> ids(const Rollouts& rollouts) {
    std::vector<std::vector<std::int64_t>> all;
    for (const Completion& completion : rollouts.completions) all.push_back(completion.ids);
    return all;
  }

  // Between the log-probabilities that sampling records and those that scoring gives. Some rows end early.
  double largest_difference() {
    options_.temperature = 0.8;
    options_.top_k = 50;
    options_.stop_ids = {run({0, 1, 2}, options_).completions[4].ids[3]};
    const Rollouts rollouts = run({0, 1, 2}, options_);
    std::vector<objective::ScoredGroup> groups;
    for (const TinyPrompt& item : prompts_) groups.push_back({&item.prompt, item.image_values, {}});
    std::vector<float> recorded;
    std::set<std::size_t> lengths;
    for (const Completion& completion : rollouts.completions) {
      groups[completion.prompt].completions.emplace_back(completion.ids);
      recorded.insert(recorded.end(), completion.logprobs.begin(), completion.logprobs.end());
      lengths.insert(completion.ids.size());
    }
    EXPECT_GT(lengths.size(), 1U);
    objective::LogprobOptions scoring;
    scoring.temperature = options_.temperature;
    scoring.ban_image_tokens = true;
    const at::Tensor scored = objective::completion_logprobs(*model_, groups, scoring).logprobs;
    return (scored - at::tensor(recorded)).abs().max().item<double>();
  }

  std::unique_ptr<model::Model> model_;
  std::vector<TinyPrompt> prompts_;
  SamplingOptions options_;
};

// Sampling goes through the cache, scoring recomputes everything in one packed pass.
TEST_F(Generate, RecordedLogprobsEqualThoseOfAFullPass) {
  EXPECT_LT(largest_difference(), 1e-5);
}

// Under autocast the cache is in bfloat16, and both ways round at other places. Logits of bfloat16 between 4 and 8 are 1/32 apart.
class GenerateInMixedPrecision : public Generate {
 protected:
  GenerateInMixedPrecision() : Generate(tests::open_tiny_model("float32", "bfloat16")) {}
};

TEST_F(GenerateInMixedPrecision, RecordedLogprobsAreCloseToThoseOfAFullPass) {
  EXPECT_LT(largest_difference(), 0.1);
}

TEST_F(GenerateInMixedPrecision, GivesTheSameTwice) {
  EXPECT_EQ(ids(run({0, 1, 2}, options_)), ids(run({0, 1, 2}, options_)));
}

TEST_F(Generate, GivesTheSameTwice) {
  const Rollouts first = run({0, 1, 2}, options_), second = run({0, 1, 2}, options_);
  EXPECT_EQ(ids(first), ids(second));
  for (std::size_t i = 0; i < first.completions.size(); ++i) {
    EXPECT_EQ(first.completions[i].logprobs, second.completions[i].logprobs);
  }
}

TEST_F(Generate, DrawsOtherTokensInOtherStepsAndWithOtherSeeds) {
  const auto base = ids(run({1}, options_));
  EXPECT_NE(base[0], base[1]);
  SamplingOptions other = options_;
  other.step = 3;
  EXPECT_NE(ids(run({1}, other)), base);
  other = options_;
  other.seed = 6;
  EXPECT_NE(ids(run({1}, other)), base);
}

TEST_F(Generate, DoesNotDependOnTheOtherPrompts) {
  const auto together = ids(run({0, 1, 2}, options_)), turned = ids(run({2, 0}, options_));
  for (std::size_t sample = 0; sample < 3; ++sample) {
    EXPECT_EQ(ids(run({1}, options_))[sample], together[3 + sample]);
    EXPECT_EQ(turned[sample], together[6 + sample]);
    EXPECT_EQ(turned[3 + sample], together[sample]);
  }
}

TEST_F(Generate, DoesNotDependOnTheNumberOfGenerations) {
  SamplingOptions one = options_;
  one.num_generations = 1;
  EXPECT_EQ(ids(run({0}, one))[0], ids(run({0}, options_))[0]);
}

TEST_F(Generate, EndsRowsAtAnyStopToken) {
  const auto free = ids(run({0, 1, 2}, options_));
  options_.stop_ids = {free[0][0], free[4][5]};
  const Rollouts stopped = run({0, 1, 2}, options_);
  for (std::size_t i = 0; i < free.size(); ++i) {
    auto expected = free[i];
    const auto stop = std::find_first_of(expected.begin(), expected.end(), options_.stop_ids.begin(),
                                         options_.stop_ids.end());
    EXPECT_EQ(stopped.completions[i].is_finished, stop != expected.end());
    if (stop != expected.end()) expected.erase(stop + 1, expected.end());
    EXPECT_EQ(stopped.completions[i].ids, expected) << i;
    EXPECT_EQ(stopped.completions[i].logprobs.size(), expected.size());
  }
  EXPECT_EQ(stopped.completions[0].ids.size(), 1U);
}

TEST_F(Generate, TakesASingleToken) {
  options_.max_completion_length = 1;
  for (const auto& completion : ids(run({0, 1}, options_))) EXPECT_EQ(completion.size(), 1U);
}

TEST_F(Generate, NeverSamplesImageTokens) {
  options_.temperature = 100.0;  // nearly uniform
  options_.num_generations = 16;
  options_.max_completion_length = 40;
  const auto& banned = model_->image_token_ids();
  ASSERT_FALSE(banned.empty());
  const auto count = [&](const Rollouts& rollouts) {
    std::int64_t n = 0;
    for (const auto& completion : ids(rollouts)) {
      for (const std::int64_t id : completion) n += std::count(banned.begin(), banned.end(), id);
    }
    return n;
  };
  EXPECT_EQ(count(run({1}, options_)), 0);
  options_.ban_image_tokens = false;
  EXPECT_GT(count(run({0, 1, 2}, options_)), 0);
}

TEST_F(Generate, CountsTokensAndDecodesText) {
  const Rollouts rollouts = run({0, 1}, options_);
  std::int64_t completion_tokens = 0;
  for (const Completion& completion : rollouts.completions) {
    completion_tokens += static_cast<std::int64_t>(completion.ids.size());
    EXPECT_EQ(completion.raw_text, model_->tokenizer().decode(completion.ids, false));
    EXPECT_EQ(completion.text, model_->tokenizer().decode(completion.ids, true));
  }
  EXPECT_EQ(rollouts.completion_tokens, completion_tokens);
  EXPECT_EQ(rollouts.prompt_tokens,
            static_cast<std::int64_t>(prompts_[0].prompt.ids.size() + prompts_[1].prompt.ids.size()));
}

TEST_F(Generate, StopsWhenCancelled) {
  const std::vector<const model::Prompt*> prompts = {&prompts_[1].prompt};
  const std::vector<at::Tensor> images(1);
  const std::vector<std::uint64_t> keys = {0};
  int polls = 0;
  EXPECT_THROW((void)generate(*model_, prompts, images, keys, options_, [&] { return ++polls == 3; }),
               support::Interrupted);
  EXPECT_EQ(polls, 3);
}

TEST_F(Generate, RefusesOptionsOutOfRange) {
  const auto refuses = [&](auto change) {
    SamplingOptions options = options_;
    change(options);
    EXPECT_THROW((void)run({1}, options), support::UserError);
  };
  refuses([](SamplingOptions& o) { o.num_generations = 0; });
  refuses([](SamplingOptions& o) { o.max_completion_length = 0; });
  refuses([](SamplingOptions& o) { o.temperature = -1.0; });
  refuses([](SamplingOptions& o) { o.top_k = -1; });
  refuses([](SamplingOptions& o) { o.top_p = 0.0; });
}

TEST_F(Generate, RefusesImageFeaturesThatDoNotMatchThePrompt) {
  const std::vector<const model::Prompt*> prompts = {&prompts_[0].prompt};
  const std::vector<at::Tensor> images(1);
  const std::vector<std::uint64_t> keys = {0};
  EXPECT_THROW((void)generate(*model_, prompts, images, keys, options_), support::UserError);
}

}  // namespace
}  // namespace graft::rollout
