// SPDX-License-Identifier: Apache-2.0
#include "objective/logprobs.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include "tests/support/tiny_model.h"

namespace graft::objective {
namespace {

using tests::TinyPrompt;
using Ids = std::vector<std::int64_t>;

class CompletionLogprobs : public testing::Test {
 protected:
  CompletionLogprobs() : model_(tests::open_tiny_model()) {
    prompts_.push_back(tests::tiny_prompt(*model_, "Where is the red square?", "image"));
    prompts_.push_back(tests::tiny_prompt(*model_, "Say something.", ""));
    for (const Ids& completion : completions_[0]) first_.completions.emplace_back(completion);
    for (const Ids& completion : completions_[1]) second_.completions.emplace_back(completion);
    first_.prompt = &prompts_[0].prompt;
    first_.image_values = prompts_[0].image_values;
    second_.prompt = &prompts_[1].prompt;
  }

  [[nodiscard]] TokenLogprobs score(const std::vector<ScoredGroup>& groups,
                                    const LogprobOptions& options = {}) const {
    return completion_logprobs(*model_, groups, options);
  }

  std::unique_ptr<model::Model> model_;
  std::vector<TinyPrompt> prompts_;
  const std::vector<std::vector<Ids>> completions_ = {{{10, 20, 30, 40}, {11}, {}},
                                                      {{7, 8, 9}, {12, 13, 14}}};
  ScoredGroup first_, second_;
};

double max_difference(const at::Tensor& a, const at::Tensor& b) {
  return (a - b).abs().max().item<double>();
}

TEST_F(CompletionLogprobs, OfGroupsTogetherEqualThoseOfEachCompletionAlone) {
  const at::NoGradGuard no_grad;
  const TokenLogprobs together = score({first_, second_});
  EXPECT_EQ(together.lengths, (Ids{4, 1, 0, 3, 3}));
  std::vector<at::Tensor> alone;
  for (const ScoredGroup* group : {&first_, &second_}) {
    for (const auto& completion : group->completions) {
      ScoredGroup single = *group;
      single.completions = {completion};
      alone.push_back(score({single}).logprobs);
    }
  }
  EXPECT_LT(max_difference(together.logprobs, at::cat(alone)), 1e-5);
}

TEST_F(CompletionLogprobs, DoNotDependOnTheChunks) {
  const at::NoGradGuard no_grad;
  LogprobOptions options;
  options.with_entropy = true;
  options.temperature = 0.7;
  const TokenLogprobs whole = score({first_, second_}, options);
  options.chunk_rows = 2;
  const TokenLogprobs chunked = score({first_, second_}, options);
  EXPECT_LT(max_difference(whole.logprobs, chunked.logprobs), 1e-5);
  EXPECT_LT(max_difference(whole.entropy, chunked.entropy), 1e-5);
  EXPECT_TRUE((whole.entropy > 0).all().item<bool>());
}

// The prompt's forward and backward are shared; its gradient is the sum of those of its completions.
TEST_F(CompletionLogprobs, GiveTheGradientsOfEachCompletionAlone) {
  std::vector<at::Tensor> trained;
  for (model::Param& param : model_->params()) {
    if (param.tied_to >= 0 || trained.size() >= 40 || param.name.find("visual") != std::string::npos)
      continue;
    param.tensor.requires_grad_(true);
    trained.push_back(param.tensor);
  }
  ASSERT_FALSE(trained.empty());
  const auto gradients = [&](const std::vector<ScoredGroup>& groups) {
    return torch::autograd::grad({score(groups).logprobs.sum()}, trained, {}, std::nullopt, false, true);
  };
  const auto together = gradients({first_, second_});
  std::vector<at::Tensor> sums(trained.size());
  for (const ScoredGroup* group : {&first_, &second_}) {
    for (const auto& completion : group->completions) {
      if (completion.empty()) continue;
      ScoredGroup single = *group;
      single.completions = {completion};
      const auto parts = gradients({single});
      for (std::size_t i = 0; i < parts.size(); ++i) {
        if (parts[i].defined()) sums[i] = sums[i].defined() ? sums[i] + parts[i] : parts[i];
      }
    }
  }
  for (std::size_t i = 0; i < trained.size(); ++i) {
    ASSERT_TRUE(together[i].defined() && sums[i].defined()) << i;
    const double scale = sums[i].abs().max().item<double>();
    EXPECT_LT(max_difference(together[i], sums[i]), 1e-4 * scale + 1e-6) << i;
  }
}

TEST_F(CompletionLogprobs, TakeGroupsWithoutAnyToken) {
  first_.completions = {std::span<const std::int64_t>()};
  const TokenLogprobs none = score({first_});
  EXPECT_EQ(none.logprobs.size(0), 0);
  EXPECT_EQ(none.lengths, (Ids{0}));
}

}  // namespace
}  // namespace graft::objective
