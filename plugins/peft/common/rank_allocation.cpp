// SPDX-License-Identifier: Apache-2.0
#include "common/rank_allocation.h"

#include <cmath>
#include <cstddef>
#include <string>

#include "common/tensors.h"

namespace peft {

namespace ops = graft::ops;
using graft::Op;
using graft::Tensor;

bool RankSchedule::allocates(std::int64_t step) const {
  return step > warm_up && step <= last() && (step % interval == 0 || step == last());
}

std::int64_t RankSchedule::budget(std::int64_t step, std::int64_t first, std::int64_t target) const {
  const double left = 1.0 - static_cast<double>(step - warm_up) / static_cast<double>(last() - warm_up);
  return static_cast<std::int64_t>(static_cast<double>(first - target) * std::pow(left, 3.0) +
                                   static_cast<double>(target));
}

void RankSchedule::check() const {
  if (warm_up < last()) return;
  throw graft::Error(
      GRAFT_E_INVALID_ARGUMENT,
      "of " + std::to_string(total) +
          " steps none is left to share out the rank after tinit = " + std::to_string(warm_up) +
          " and before tfinal = " + std::to_string(final_steps) + "; lower them, or set total_step");
}

Tensor Triplets::Factor::score() const {
  return importance * uncertainty;
}

void Triplets::observe(double beta1, double beta2) const {
  for (const Factor* factor : {&a, &e, &b}) {
    const Tensor now = factor->grad ? ops::abs(factor->value * factor->grad) : ops::abs(factor->value * 0.0);
    assign(factor->importance, factor->importance * beta1 + now * (1.0 - beta1));
    assign(factor->uncertainty,
           factor->uncertainty * beta2 + ops::abs(now - factor->importance) * (1.0 - beta2));
  }
}

Tensor Triplets::scores() const {
  const Tensor around = ops::mean(a.score(), {1}) + ops::mean(b.score(), {0});
  return ops::flatten(e.score(), 0, -1) + around;
}

void Triplets::apply_mask() const {
  static const Op equal("aten::eq", "Scalar"), fill("aten::masked_fill_", "Scalar");
  fill({e.value, equal({mask, 0.0}), 0.0});
}

void keep_most_important(const std::vector<Triplets>& layers, std::int64_t n) {
  static const Op nth("aten::kthvalue"), above("aten::gt", "Tensor");
  if (layers.empty() || n < 1) return;
  std::vector<Tensor> scores;
  for (const Triplets& layer : layers) scores.push_back(layer.scores());
  const Tensor highest_dropped = nth.many<2>({ops::cat(scores, 0), n})[0];
  for (std::size_t i = 0; i < layers.size(); ++i) {
    assign(layers[i].mask, ops::unsqueeze(above({scores[i], highest_dropped}), 1));
    layers[i].apply_mask();
  }
}

}  // namespace peft
