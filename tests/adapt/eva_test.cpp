// SPDX-License-Identifier: Apache-2.0
// Calibration on training data, and EVA, which starts LoRA from it; equality with PEFT: tests/embed/peft_eva.py.
#include <ATen/TensorOperators.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/linalg_svd.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <set>

#include "adapt/calibration.h"
#include "support/error.h"
#include "tests/adapt/peft_counterparts.h"
#include "tests/support/errors.h"

namespace graft::adapt {
namespace {

using namespace counterparts;  // NOLINT(google-build-using-namespace): of this folder's tests

const std::vector<std::string> kQuestions = {
    "Where is the red square, and what lies beneath it on the other side?",
    "How many circles are there in this picture of a quiet winter day?",
    "Name every colour that you see from the left to the right border."};

class EvaTest : public PeftCounterparts {
 protected:
  // Passes of two questions each, over all pairs.
  CalibrationData data(std::int64_t most_passes = 100) {
    return {[this](std::int64_t pass) {
              ++passes_;
              return CalibrationPass{[this, pass](bool with_head) { run(pass, with_head); }, answer_rows_};
            },
            most_passes};
  }

  std::unique_ptr<Adapter> attach_eva(json params, const SitePatterns& ranks = {},
                                      std::int64_t most_passes = 100) {
    const CalibrationData passes = data(most_passes);
    auto options = lora(std::move(params), {"q_proj", "k_proj", "o_proj", "down_proj"});
    options.params["init"] = "eva";
    options.rank_pattern = ranks;
    options.calibration = &passes;
    return attach(options);
  }

  void run(std::int64_t pass, bool with_head) {
    std::vector<tests::TinyPrompt> prompts;
    for (std::int64_t i = pass; i < pass + 2; ++i)
      prompts.push_back(
          tests::tiny_prompt(*model_, kQuestions[static_cast<std::size_t>(i) % kQuestions.size()], ""));
    std::vector<model::PackedSequences> groups(prompts.size());
    for (std::size_t i = 0; i < prompts.size(); ++i) groups[i].prompt = &prompts[i].prompt;
    const auto hidden = model_->decode(model::pack_input(groups, model_->position_rank()),
                                       model::packed_attention(model::packed_groups(groups)), {});
    if (with_head) static_cast<void>(model_->head(hidden, {}));
    with_head_ = with_head;
  }

  at::Tensor answer_rows_;
  std::int64_t passes_ = 0;
  bool with_head_ = false;
};

TEST_F(EvaTest, StartsAAsPrincipalDirectionsAndSharesTheRanksOut) {
  const at::Tensor base = logits();
  const auto adapter = attach_eva({{"r", 4}, {"alpha", 8}});
  EXPECT_TRUE(adapter->is_calibrated());
  EXPECT_GE(passes_, 2);
  EXPECT_FALSE(with_head_);
  EXPECT_TRUE(at::equal(logits(), base));  // B = 0
  std::int64_t sum = 0;
  std::set<std::int64_t> ranks;
  for (const auto& item : adapter->tensors()) {
    if (!item.name.ends_with("lora_A.weight")) continue;
    const at::Tensor a = item.tensor.detach();
    sum += a.size(0);
    ranks.insert(a.size(0));
    EXPECT_LE(a.size(0), 8) << item.name;  // rho = 2
    EXPECT_TRUE(at::allclose(at::matmul(a, a.t()), at::eye(a.size(0)), 1e-4, 1e-4)) << item.name;
  }
  const auto sites = static_cast<std::int64_t>(4 * 4);  // four layers of the fixture
  EXPECT_EQ(sum, 4 * sites);
  EXPECT_GT(ranks.size(), 1u);
}

TEST_F(EvaTest, ARankOfItsOwnAndAScaleThatFollowsIt) {
  const auto adapter = attach_eva({{"r", 4}, {"alpha", 8}, {"eva_rho", 1}, {"eva_tau", 0}},
                                  SitePatterns({{"down_proj", 6}}, "ranks"));
  EXPECT_GE(passes_, 2);
  for (const auto& item : adapter->tensors()) {
    if (item.name.ends_with("lora_A.weight")) {
      EXPECT_EQ(item.tensor.size(0), item.name.find("down_proj") == std::string::npos ? 4 : 6) << item.name;
    }
  }
  adapter->save(scratch_ / "adapter");
  const json config = config_in(scratch_ / "adapter");
  EXPECT_EQ(config.at("r"), 4);
  EXPECT_TRUE(config.at("alpha_pattern").empty());
}

TEST_F(EvaTest, SavedRanksAndScalesAreLoadedAgain) {
  auto adapter = attach_eva({{"r", 4}, {"alpha", 8}});
  move(*adapter);
  const at::Tensor expected = logits();
  adapter->save(scratch_ / "adapter");
  const json config = config_in(scratch_ / "adapter");
  for (const auto& [pattern, rank] : config.at("rank_pattern").items())
    EXPECT_DOUBLE_EQ(config.at("alpha_pattern").at(pattern).get<double>(), 2.0 * rank.get<double>())
        << pattern;
  adapter.reset();
  adapter = load(scratch_ / "adapter");
  EXPECT_TRUE(is_close(logits(), expected));
  // A run that continues has the same layers and ranks without another look at the data.
  std::vector<std::pair<std::string, std::vector<std::int64_t>>> shapes;
  for (const auto& item : adapter->tensors()) shapes.emplace_back(item.name, item.tensor.sizes().vec());
  auto options = lora({{"r", 4}, {"alpha", 8}, {"init", "eva"}}, {"q_proj", "k_proj", "o_proj", "down_proj"});
  options.calibrated = scratch_ / "adapter";
  passes_ = 0;
  adapter.reset();
  adapter = attach(options);
  EXPECT_EQ(passes_, 0);
  EXPECT_TRUE(adapter->is_calibrated());
  ASSERT_EQ(adapter->tensors().size(), shapes.size());
  for (std::size_t i = 0; i < shapes.size(); ++i) {
    EXPECT_EQ(adapter->tensors()[i].name, shapes[i].first);
    EXPECT_EQ(adapter->tensors()[i].tensor.sizes().vec(), shapes[i].second) << shapes[i].first;
  }
}

TEST_F(EvaTest, TwoRunsAgreeToTheLastBit) {
  std::vector<at::Tensor> first;
  const auto keep = [&](const Adapter& adapter) {
    std::vector<at::Tensor> list;
    for (const auto& item : adapter.tensors()) list.push_back(item.tensor.detach().clone());
    return list;
  };
  first = keep(*attach_eva({{"r", 2}}));
  const auto again = keep(*attach_eva({{"r", 2}}));
  ASSERT_EQ(first.size(), again.size());
  for (std::size_t i = 0; i < first.size(); ++i) EXPECT_TRUE(at::equal(first[i], again[i]));
}

TEST_F(EvaTest, LooksAtAnswersOnlyWhereThereAreSome) {
  const auto of = [&](bool uses_label_mask) {
    const auto adapter =
        attach_eva({{"r", 2}, {"eva_rho", 1}, {"eva_tau", 0}, {"eva_use_label_mask", uses_label_mask}});
    return adapter->tensors().front().tensor.detach().clone();
  };
  const at::Tensor all = of(true);
  answer_rows_ = at::tensor(std::vector<std::int64_t>{3, 4, 5, 6, 7});
  EXPECT_FALSE(at::allclose(of(true).abs(), all.abs(), 1e-2, 1e-2));
  EXPECT_TRUE(at::equal(of(false), all));
}

TEST_F(EvaTest, WhatCannotWorkIsSaid) {
  const auto error_of = [](const auto& body) { return test::message_of<support::UserError>(body); };
  auto options = lora({{"r", 4}, {"init", "eva"}});
  EXPECT_TRUE(test::contains(error_of([&] { static_cast<void>(attach(options)); }),
                             "training data, of which there is none"));
  answer_rows_ = at::tensor(std::vector<std::int64_t>{3, 4});
  const auto message = error_of([&] { static_cast<void>(attach_eva({{"r", 4}}, {}, 3)); });
  EXPECT_TRUE(test::contains(message, "no pass with at least 8 tokens")) << message;
  EXPECT_EQ(passes_, 3);
  const auto unused = error_of([&] { static_cast<void>(attach(lora({{"r", 4}, {"eva_rho", 3}}))); });
  EXPECT_TRUE(test::contains(unused, "no effect without init=eva")) << unused;
}

// PEFT: test_eva_config_rho, test_eva_config_tau.
TEST_F(EvaTest, test_eva_config_rho_and_tau) {
  for (const auto& [key, value] :
       {std::pair{"eva_rho", 0.5}, std::pair{"eva_tau", 1.5}, std::pair{"eva_tau", -0.1}}) {
    const auto message = test::message_of<support::UserError>([&, k = key, v = value] {
      static_cast<void>(attach_eva({{"r", 4}, {k, v}}));
    });
    EXPECT_TRUE(test::contains(message, key)) << message;
  }
}

}  // namespace
}  // namespace graft::adapt
