// SPDX-License-Identifier: Apache-2.0
// COCO's average precision of one image, for detections that all have the same confidence.
#pragma once

#include <graft/sdk/answers.hpp>

#include <vector>

namespace rewards {

struct LabelledBox {
  graft::BoxCorners corners{};
  int category = 0;  // 0 … n_categories - 1
};

// Mean over categories, the IoU `thresholds` and 101 recall points. The detections' order is their ranking; the first 100 of a
// category count. A reference box of negative area is ignored; -1 if all are.
[[nodiscard]] double coco_precision(const std::vector<LabelledBox>& detections,
                                    const std::vector<LabelledBox>& truths, int n_categories,
                                    const std::vector<double>& thresholds);

// 0.50, 0.55, … 0.95
[[nodiscard]] std::vector<double> coco_thresholds();

}  // namespace rewards
