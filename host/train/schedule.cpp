// SPDX-License-Identifier: Apache-2.0
#include "train/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "support/error.h"
#include "support/strings.h"

namespace graft::train {

double learning_rate_at(const std::string& schedule, double base, std::int64_t step,
                        std::int64_t warmup_steps, std::int64_t steps) {
  if (step < warmup_steps) return base * static_cast<double>(step) / static_cast<double>(warmup_steps);
  if (schedule == "constant") return base;
  const auto rest = static_cast<double>(std::max<std::int64_t>(1, steps - warmup_steps));
  const double progress = std::min(1.0, static_cast<double>(step - warmup_steps) / rest);
  if (schedule == "linear") return base * (1.0 - progress);
  if (schedule == "cosine") return base * 0.5 * (1.0 + std::cos(std::numbers::pi * progress));
  throw support::UserError(support::cat("optimizer.schedule is \"", schedule,
                                        "\"; known schedules are constant, linear and cosine"));
}

}  // namespace graft::train
