// SPDX-License-Identifier: Apache-2.0
// The rewards of VLM-R1 (om-ai-lab/VLM-R1 at 90052f4, September 2025) as published, with their defects; written from a
// description of their behaviour. Where VLM-R1 uses backtracking regular expressions these give the same result in linear time.
// plugins/rewards/README.md lists what they do that the default mode does not.
#pragma once

#include <graft/reward.h>
#include <graft/sdk/reward.hpp>

#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace rewards::vlm_r1 {

// Where VLM-R1 lets an exception through, which ends its run. Here the item gets no score.
struct Raised : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// A score, and what was not found if it is one for want of something.
struct Outcome {
  double score = 0.0;
  const char* missing = nullptr;
};

// The outcome as the ABI has it; Raised becomes GRAFT_SCORE_ERROR.
template <typename Function>
graft::Score scored(const Function& function) {
  try {
    const Outcome outcome = function();
    if (outcome.missing != nullptr) return graft::Score::unparsable(outcome.score, outcome.missing);
    return outcome.score;
  } catch (const Raised& raised) {
    return graft::Score::failed(std::string("VLM-R1 raises here: ") + raised.what());
  }
}

// The solution as VLM-R1's loader stores it: "<answer> … </answer>"; left alone if it has the tag already.
[[nodiscard]] std::string tagged(std::string_view solution);

// ---- texts (vlm_r1.cpp) ----
[[nodiscard]] std::u32string clean_text(std::string_view text);
// 2 LCS / (|a| + |b|), in characters; 1 if both are empty. `b` is the short one: time |a| |b| / 64.
[[nodiscard]] double ratio(std::u32string_view a, std::u32string_view b);
[[nodiscard]] std::optional<char> extract_choice(std::string_view text);
// float(text) of Python.
[[nodiscard]] std::optional<double> python_float(std::u32string_view text);
// The reference answer: inside the first <answer> of one line, else all of it.
[[nodiscard]] std::string_view reference_of(std::string_view solution);
// The student's answer: inside the last (first) <answer>, else all of it.
[[nodiscard]] std::string_view student_of(std::string_view completion);
[[nodiscard]] std::string_view first_student_of(std::string_view completion);

// Of the accuracy reward, by accu_reward_method; `solution` is tagged.
[[nodiscard]] Outcome multiple_choice(std::string_view completion, std::string_view solution);
[[nodiscard]] Outcome yes_no(std::string_view completion, std::string_view solution);
[[nodiscard]] Outcome all_match(std::string_view completion, std::string_view solution);
[[nodiscard]] Outcome numeric(std::string_view completion, std::string_view solution);
[[nodiscard]] Outcome text_ratio(std::string_view completion, std::string_view solution);
[[nodiscard]] Outcome repetition(std::string_view completion);
[[nodiscard]] Outcome math(std::string_view completion, std::string_view solution);
// The accuracy reward without a method: numbers, letters, or similarity. Instead of math_verify: common/math_answer.h.
[[nodiscard]] Outcome default_accuracy(std::string_view completion, std::string_view solution);
[[nodiscard]] double cosine_length(std::uint64_t tokens);

// ---- boxes (vlm_r1_boxes.cpp) ----
enum class Module { kRegistry, kQwen, kInternvl, kGlm };
[[nodiscard]] Module module_from(std::string_view name);
[[nodiscard]] double format(std::string_view completion, Module module);
[[nodiscard]] Outcome iou(const graft::RewardItem& item, Module module);

// IoU as the registry computes it: 0 for an overlap of at most one pixel on an axis. Corners of the boxes; nothing if the
// union is 0.
[[nodiscard]] std::optional<double> pixel_iou(const double* a, const double* b);
// The first four numbers of a JSON array; nothing if there are fewer or other things.
[[nodiscard]] std::optional<std::vector<double>> four_numbers(const graft::Json& value);

// ---- detection (vlm_r1_detection.cpp) ----
enum class Detection { kAp, kAp50, kOdLength, kWeightedSum, kMap };  // kMap: AP of the raw texts
[[nodiscard]] Outcome detection(std::string_view completion, std::string_view solution, Detection method);

}  // namespace rewards::vlm_r1
