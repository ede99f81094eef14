// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "rewards/report.h"

namespace graft::rewards {

// A completion as one reward sees it.
struct SeenCompletion {
  const Item* item = nullptr;
  const Observation* seen = nullptr;  // null if no reward makes observations
  double score = 0.0;                 // of the reward's first component; NaN without one
  Status status = Status::kOk;
  bool is_lost = false;  // unparsable, or the lowest score that the reward gives
};

// One reward with its sample.
struct RewardView {
  RewardInfo info;
  std::vector<SeenCompletion> completions;
  std::vector<BoxPair> boxes;  // first box of the completion and of its solution, where both have one

  [[nodiscard]] bool has_param(const char* param) const {
    return info.params.is_object() && info.params.contains(param);
  }
};

// What explains that completions are lost to this reward, worst first.
[[nodiscard]] std::vector<Mismatch> find_mismatches(const RewardView& reward, const ReportContext& context);

// "[x1, y1, x2, y2] or (x1,y1),(x2,y2)" for GRAFT_BOX_*.
[[nodiscard]] std::string notation_names(std::uint32_t notations);

// At most 160 bytes of a completion on one line, in whole characters.
[[nodiscard]] std::string excerpt(std::string_view completion);

// Ways to another output of the model, cheapest first: the prompt, examples in it, supervised fine-tuning.
[[nodiscard]] std::vector<std::string> teaching(const Contract& contract);

}  // namespace graft::rewards
