// SPDX-License-Identifier: Apache-2.0
// The rule against what was measured: Qwen2.5-VL with four vision and four language layers, transformers 4.49.0 with peft 0.14.0, and
// 5.23.0 with 0.21.2. Numbers of trained tensors are those of the measured models.
#include "doctor/history.h"

#include <gtest/gtest.h>

namespace graft::doctor {
namespace {

constexpr Reentrant kReentrant{true, true}, kNonReentrant{false, false};

TrainedParts lora_language() {
  TrainedParts parts;
  parts.language_layers = 56;
  return parts;
}

TrainedParts lora_both() {
  TrainedParts parts = lora_language();
  parts.vision_layers = 40;
  return parts;
}

// 105 tensors: 49 of the decoder with its norm, embedding and head, and the vision tower.
TrainedParts full() {
  TrainedParts parts;
  parts.patch_embedding = 1;
  parts.vision_layers = 48;
  parts.projector = 5;
  parts.token_embedding = 1;
  parts.language_layers = 48;
  parts.behind = 2;
  return parts;
}

TrainedParts without_vision(TrainedParts parts) {
  parts.patch_embedding = parts.vision_layers = parts.projector = 0;
  return parts;
}

TrainedParts without_embeddings(TrainedParts parts) {
  parts.token_embedding = 0;
  parts.behind = 1;
  return parts;
}

TEST(History, ReentrantLoraRaisesWithoutAHook) {
  EXPECT_EQ(outcome_of(lora_language(), kReentrant, InputHook::kNone), (Outcome{true, 0, false}));
  EXPECT_EQ(outcome_of(lora_both(), kReentrant, InputHook::kNone), (Outcome{true, 0, false}));
}

TEST(History, AHookOnTheTokensHelpsLanguageAlone) {
  EXPECT_EQ(outcome_of(lora_language(), kReentrant, InputHook::kTokens), (Outcome{false, 0, false}));
  EXPECT_EQ(outcome_of(lora_both(), kReentrant, InputHook::kTokens), (Outcome{false, 40, false}));
}

TEST(History, AHookOnBothRunsBackwardThroughTheFrozenTower) {
  EXPECT_EQ(outcome_of(lora_language(), kReentrant, InputHook::kTokensAndVision), (Outcome{false, 0, true}));
  EXPECT_EQ(outcome_of(lora_both(), kReentrant, InputHook::kTokensAndVision), (Outcome{false, 0, true}));
  EXPECT_EQ(outcome_of(lora_language(), kNonReentrant, InputHook::kTokensAndVision),
            (Outcome{false, 0, true}));
}

TEST(History, NonReentrantLosesNothing) {
  for (const TrainedParts& parts : {lora_language(), lora_both(), full(), without_vision(full()),
                                    without_vision(without_embeddings(full()))}) {
    EXPECT_EQ(outcome_of(parts, kNonReentrant, InputHook::kNone).lost, 0U);
    EXPECT_FALSE(outcome_of(parts, kNonReentrant, InputHook::kNone).raises);
  }
  EXPECT_FALSE(outcome_of(lora_language(), kNonReentrant, InputHook::kNone).vision_backward);
}

TEST(History, FullFineTuningIsSafeAsLongAsSomethingBeforeTheLayersIsTrained) {
  EXPECT_EQ(outcome_of(full(), kReentrant, InputHook::kNone), (Outcome{false, 0, true}));
  EXPECT_EQ(outcome_of(without_embeddings(full()), kReentrant, InputHook::kNone), (Outcome{false, 0, true}));
  EXPECT_EQ(outcome_of(without_vision(full()), kReentrant, InputHook::kNone), (Outcome{false, 0, false}));
  const TrainedParts frozen_before = without_vision(without_embeddings(full()));
  EXPECT_EQ(frozen_before.total(), 49U);
  EXPECT_EQ(outcome_of(frozen_before, kReentrant, InputHook::kNone), (Outcome{false, 48, false}));
  EXPECT_EQ(outcome_of(frozen_before, kReentrant, InputHook::kTokens), (Outcome{false, 0, false}));
}

TEST(History, TheCasesSayWhatWouldHaveHappened) {
  const auto cases = historical_cases(lora_both());
  ASSERT_EQ(cases.size(), 7U);
  EXPECT_NE(cases[0].text.find("element 0 of tensors does not require grad"), std::string::npos);
  EXPECT_EQ(cases[1].text,
            "silently loses the gradients of 40 of 96 trained tensors; loss and grad_norm look normal");
  EXPECT_EQ(cases[2].text, "all gradients are there");
  const auto language = historical_cases(lora_language());
  EXPECT_EQ(language[3].text,
            "all gradients are there, but backward also runs through the frozen vision tower");
}

}  // namespace
}  // namespace graft::doctor
