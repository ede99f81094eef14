// SPDX-License-Identifier: Apache-2.0
// length: short right answers and long wrong ones score higher, along a cosine (Yeo et al. 2025).
#include <graft/sdk/reward.hpp>

#include <algorithm>
#include <cmath>

#include "common/boxes.h"
#include "common/params.h"
#include "common/unicode.h"
#include "common/vlm_r1.h"

namespace {

struct Length : graft::Reward {
  static constexpr auto name = "length";
  static constexpr auto summary =
      "cosine of the length: short right answers and long wrong ones score higher";
  static constexpr std::uint32_t thread_class = GRAFT_THREAD_CONCURRENT;

  static graft::Schema params() {
    graft::Schema schema;
    schema.integer("max_length", 1024, "tokens at which the score stops changing")
        .minimum(1)
        .number("correct_short", 1.0, "score of a right answer of no tokens")
        .number("correct_long", 0.5, "score of a right answer of max_length tokens")
        .number("wrong_short", -0.5, "score of a wrong answer of no tokens")
        .number("wrong_long", 0.0, "score of a wrong answer of max_length tokens")
        .choice("right_if", {"exact_match", "iou", "always"}, "exact_match",
                "what makes an answer right: the solution's text, a box with IoU >= 0.5 of the same "
                "coordinates, or nothing");
    return rewards::add_parity(schema);
  }

  explicit Length(const graft::Params& params)
      : parity_(rewards::wants_vlm_r1(params, Length::params())),
        max_length_(static_cast<double>(params.integer("max_length"))),
        right_{params.number("correct_short"), params.number("correct_long")},
        wrong_{params.number("wrong_short"), params.number("wrong_long")},
        right_if_(params.string("right_if")) {}

  std::optional<std::pair<double, double>> range() const override {
    if (parity_) return std::pair<double, double>(0.5, 1.0);
    const auto [low, high] = std::minmax({right_.first, right_.second, wrong_.first, wrong_.second});
    return std::pair<double, double>(low, high);
  }

  graft::Score score(const graft::RewardItem& item) override {
    if (item.token_ids() == nullptr && !item.completion().empty())
      return graft::Score::no_opinion("the completion's tokens are unknown");
    // Without the token that ends the completion.
    const std::size_t tokens = item.n_token_ids() - (item.n_token_ids() > 0 && !item.is_truncated() ? 1 : 0);
    if (parity_) return rewards::vlm_r1::cosine_length(tokens);
    const auto& [at_zero, at_end] = is_right(item) ? right_ : wrong_;
    const double part = std::min(static_cast<double>(tokens) / max_length_, 1.0);
    constexpr double kPi = 3.141592653589793;
    const double value = at_end + (at_zero - at_end) * (1.0 + std::cos(kPi * part)) / 2.0;
    return std::clamp(value, std::min(at_zero, at_end), std::max(at_zero, at_end));
  }

 private:
  bool is_right(const graft::RewardItem& item) const {
    if (right_if_ == "always") return true;
    const auto answer = rewards::scored_text(item.completion(), rewards::Where::kAnywhere);
    const std::string_view solution = rewards::bare_solution(item.solution());
    if (right_if_ == "exact_match")
      return rewards::lower(rewards::strip(*answer)) == rewards::lower(solution);
    const auto found = rewards::find_box(*answer, rewards::kAllNotations, false);
    const auto expected = rewards::find_box(solution, rewards::kAllNotations, false);
    return found && expected && graft::box_iou(found->corners, expected->corners) >= 0.5;
  }

  bool parity_;
  double max_length_;
  std::pair<double, double> right_, wrong_;  // at no tokens, at max_length_
  std::string right_if_;
};

}  // namespace

GRAFT_PLUGIN(Length);
