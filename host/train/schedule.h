// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

namespace graft::train {

// The learning rate of optimizer step `step` (from 0) out of `steps`: linear warm-up from 0 over warmup_steps, then
// "constant", "linear" to 0, or "cosine" (half a period to 0). Equal to transformers' get_scheduler, whose first step has the
// factor 0 when there is a warm-up.
[[nodiscard]] double learning_rate_at(const std::string& schedule, double base, std::int64_t step,
                                      std::int64_t warmup_steps, std::int64_t steps);

}  // namespace graft::train
