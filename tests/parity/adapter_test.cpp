// SPDX-License-Identifier: Apache-2.0
// A LoRA adapter written by PEFT: logits, every gradient, and the GRPO objective equal those of PEFT and
// transformers.
#include <gtest/gtest.h>

#include <cmath>

#include "adapt/adapter.h"
#include "objective/logprobs.h"
#include "objective/loss.h"
#include "tests/parity/golden.h"

namespace graft::parity {
namespace {

class AdapterParity : public Parity {};

struct Adapted {
  std::unique_ptr<model::Model> model;
  std::unique_ptr<adapt::Adapter> adapter;
};

Adapted open_adapted(const Fixture& fixture) {
  Adapted out;
  out.model = fixture.open();
  out.adapter = adapt::Adapter::load(*out.model, tiny_registry(), fixture.directory() / "golden/adapter");
  return out;
}

TEST_P(AdapterParity, LogitsEqual) {
  const Adapted adapted = open_adapted(*this);
  const model::Prompt prompt = prepare_question(*adapted.model, question(), "image");
  const at::Tensor logits = logits_of(*adapted.model, prompt, ids_of(golden("completion_ids")));
  EXPECT_TRUE(are_logits_close(logits, golden("lora.logits")[0], 2e-4));
}

TEST_P(AdapterParity, LogprobsAndEveryGradientEqual) {
  const Adapted adapted = open_adapted(*this);
  const Single single(*this, *adapted.model);
  const objective::TokenLogprobs scored = objective::completion_logprobs(*adapted.model, single.groups, {});
  EXPECT_TRUE(is_close(scored.logprobs, golden("lora.logprobs"), 2e-4));

  scored.logprobs.sum().backward();
  std::size_t n = 0;
  for (const adapt::AdapterTensor& tensor : adapted.adapter->tensors()) {
    ASSERT_TRUE(tensor.tensor.grad().defined()) << tensor.name;
    EXPECT_TRUE(
        is_close_relative(tensor.tensor.grad(), golden("lora.grad.base_model.model." + tensor.name), 1e-4))
        << tensor.name;
    ++n;
  }
  EXPECT_EQ(n, 2 * notes().at("lora").at("modules").get<std::size_t>());
  EXPECT_EQ(adapted.adapter->trained_parameters(),
            notes().at("lora").at("trainable_parameters").get<std::int64_t>());
}

// The policy is the adapter, the reference the base model, old log-probabilities are the policy's own.
TEST_P(AdapterParity, LossKlAndGradientsOfGrpoEqual) {
  const Adapted adapted = open_adapted(*this);
  const Batch batch(*this, *adapted.model);
  const nlohmann::json& note = notes().at("grpo");
  objective::LogprobOptions base;
  base.pass.adapters_enabled = false;
  objective::LossInput input;
  input.ref_logprobs = objective::completion_logprobs(*adapted.model, batch.groups, base).logprobs.detach();
  const objective::TokenLogprobs policy = objective::completion_logprobs(*adapted.model, batch.groups, {});
  const at::Tensor mask = golden("batch.completion_mask").to(at::kBool);
  EXPECT_TRUE(is_close(policy.logprobs, golden("grpo.logprobs").masked_select(mask), 2e-4));
  EXPECT_TRUE(is_close(input.ref_logprobs, golden("batch.logprobs").masked_select(mask), 2e-4));

  const at::Tensor advantages = golden("batch.advantages");
  input.logprobs = policy.logprobs;
  input.lengths = policy.lengths;
  for (std::int64_t i = 0; i < advantages.numel(); ++i)
    input.advantages.push_back(advantages[i].item<double>());
  input.step_completions = advantages.numel();
  for (const std::int64_t length : policy.lengths) input.step_tokens += length;
  objective::LossOptions options;
  options.beta = note.at("beta");
  options.use_bias_correction_kl = false;  // the plain k3 term of the golden values
  options.epsilon = options.epsilon_high = note.at("epsilon");

  options.loss_type = "dapo";
  EXPECT_NEAR(objective::policy_loss(input, options).loss.item<double>(), note.at("dapo").get<double>(),
              1e-5);
  options.loss_type = "grpo";
  const objective::LossParts parts = objective::policy_loss(input, options);
  EXPECT_NEAR(parts.loss.item<double>(), note.at("grpo").get<double>(), 1e-5);
  EXPECT_NEAR(parts.kl_sum / static_cast<double>(parts.tokens), note.at("kl_token_mean").get<double>(), 1e-5);

  parts.loss.backward();
  double squares = 0.0;
  std::size_t compared = 0;
  for (const adapt::AdapterTensor& tensor : adapted.adapter->tensors()) {
    const at::Tensor grad = tensor.tensor.grad();
    ASSERT_TRUE(grad.defined()) << tensor.name;
    squares += grad.square().sum().item<double>();
    if (tensor.name.find("layers.0.") == std::string::npos) continue;
    ++compared;
    EXPECT_TRUE(is_close_relative(grad, golden("grpo.grad.base_model.model." + tensor.name), 1e-4))
        << tensor.name;
  }
  // A and B of a layer's projections.
  EXPECT_EQ(compared * adapted.model->attention_layers(),
            2 * notes().at("lora").at("modules").get<std::size_t>());
  EXPECT_NEAR(std::sqrt(squares), note.at("gradient_norm").get<double>(),
              1e-4 * note.at("gradient_norm").get<double>());
}

INSTANTIATE_TEST_SUITE_P(Families, AdapterParity, testing::ValuesIn(all_families()), family_name);

}  // namespace
}  // namespace graft::parity
