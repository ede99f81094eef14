// SPDX-License-Identifier: Apache-2.0
// Logits in bfloat16 are as good as transformers'. The error of a prompt is the difference of its logits from transformers' in
// float32, over the rows that the fixture keeps: the largest magnitude, and the root of the mean square over rows and
// vocabulary. Each may be at most twice that of transformers' own model in bfloat16, which the fixture's notes record
// (tests/oracle/bf16_error.py) for its two kinds of attention: the smaller one counts.
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <cmath>

#include "tests/parity/golden.h"

namespace graft::parity {
namespace {

constexpr double kFactor = 2.0;

struct Error {
  double max = 0.0, rms = 0.0;
};

class Bf16Parity : public Parity {
 protected:
  static Error error_of(const at::Tensor& ours, const at::Tensor& exact) {
    const at::Tensor difference = ours.to(at::kDouble).sub(exact.to(at::kDouble));
    return {difference.abs().max().item<double>(), std::sqrt(difference.square().mean().item<double>())};
  }

  void expect_within_bar(const std::string& name, const at::Tensor& ours, const at::Tensor& exact) const {
    ASSERT_EQ(ours.sizes(), exact.sizes());
    const Error error = error_of(ours, exact);
    const nlohmann::json& theirs = notes().at("bf16_error").at(name);
    const auto smaller = [&](const char* measure) {
      return std::min(theirs.at("eager").at(measure).get<double>(),
                      theirs.at("sdpa").at(measure).get<double>());
    };
    RecordProperty(name + ".rms_ratio", std::to_string(error.rms / smaller("rms")));
    RecordProperty(name + ".max_ratio", std::to_string(error.max / smaller("max")));
    EXPECT_LE(error.rms, kFactor * smaller("rms")) << name;
    EXPECT_LE(error.max, kFactor * smaller("max")) << name;
  }

  void expect_all_within_bar(const model::Model& model) const {
    ASSERT_TRUE(notes().contains("bf16_error"))
        << "run python tests/oracle/bf16_error.py " << directory().string();
    const at::NoGradGuard no_grad;
    const model::Prompt prompt = prepare_question(model, question(), "image");
    const at::Tensor logits = logits_of(model, prompt, ids_of(golden("completion_ids")));
    const at::Tensor exact = golden("logits")[0];
    expect_within_bar("logits", logits.slice(0, logits.size(0) - exact.size(0)), exact);
    if (!has_images()) return;
    const std::vector<model::Message> messages = messages_of(notes().at("two_images").at("messages"));
    const std::vector<image::Image> images = {load("image"), load("image_resize")};
    const std::vector<std::string> names = {"image.png", "image_resize.png"};
    const model::Prompt two = model.prepare(messages, images, names);
    expect_within_bar("two_images.last_logits", logits_of(model, two, {})[-1],
                      golden("two_images.last_logits"));
  }
};

TEST_P(Bf16Parity, LogitsOfBfloat16WeightsAreWithinTwiceTransformersOwnError) {
  expect_all_within_bar(*open("bfloat16"));
}

// Mixed precision rounds the weights in every product instead of once.
TEST_P(Bf16Parity, LogitsInMixedPrecisionAreWithinTwiceTransformersOwnError) {
  expect_all_within_bar(*open("float32", "bfloat16"));
}

INSTANTIATE_TEST_SUITE_P(Families, Bf16Parity, testing::ValuesIn(all_families()), family_name);

}  // namespace
}  // namespace graft::parity
