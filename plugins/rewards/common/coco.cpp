// SPDX-License-Identifier: Apache-2.0
#include "common/coco.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <limits>

namespace rewards {
namespace {

constexpr std::size_t kMostDetections = 100, kRecallPoints = 101;
constexpr double kLargestArea = 1e10;

double area(const graft::BoxCorners& box) {
  return (box[2] - box[0]) * (box[3] - box[1]);
}
bool is_ignored(const graft::BoxCorners& box) {
  return area(box) < 0.0 || area(box) > kLargestArea;
}

// As pycocotools' boxes: x, y, width, height.
double overlap(const graft::BoxCorners& a, const graft::BoxCorners& b) {
  const double width = std::min(a[2] - a[0] + a[0], b[2] - b[0] + b[0]) - std::max(a[0], b[0]);
  const double height = std::min(a[3] - a[1] + a[1], b[3] - b[1] + b[1]) - std::max(a[1], b[1]);
  if (width <= 0 || height <= 0) return 0.0;
  const double both = width * height;
  return both / (area(a) + area(b) - both);
}

struct Category {
  std::vector<graft::BoxCorners> detections, truths;
  std::vector<char> truth_ignored;
  std::size_t n_wanted = 0;  // truths that are not ignored
};

Category category_of(const std::vector<LabelledBox>& detections, const std::vector<LabelledBox>& truths,
                     int id) {
  Category category;
  for (const LabelledBox& box : detections) {
    if (box.category == id && category.detections.size() < kMostDetections)
      category.detections.push_back(box.corners);
  }
  for (const bool ignored : {false, true}) {  // those that count come first
    for (const LabelledBox& box : truths) {
      if (box.category != id || is_ignored(box.corners) != ignored) continue;
      category.truths.push_back(box.corners);
      category.truth_ignored.push_back(ignored ? 1 : 0);
      category.n_wanted += ignored ? 0 : 1;
    }
  }
  return category;
}

enum class Verdict { kTrue, kFalse, kIgnored };

// Each detection in turn takes the free reference box of largest IoU, of equal ones the later.
std::vector<Verdict> match(const Category& category, const std::vector<double>& overlaps, double threshold) {
  const std::size_t n = category.truths.size();
  std::vector<Verdict> verdicts;
  std::vector<char> taken(n, 0);
  for (std::size_t d = 0; d < category.detections.size(); ++d) {
    double best = std::min(threshold, 1.0 - 1e-10);
    std::size_t matched = n;
    for (std::size_t g = 0; g < n; ++g) {
      if (taken[g] != 0) continue;
      if (matched < n && category.truth_ignored[matched] == 0 && category.truth_ignored[g] != 0) break;
      if (overlaps[d * n + g] < best) continue;
      best = overlaps[d * n + g];
      matched = g;
    }
    if (matched < n) {
      taken[matched] = 1;
      verdicts.push_back(category.truth_ignored[matched] != 0 ? Verdict::kIgnored : Verdict::kTrue);
    } else {
      verdicts.push_back(is_ignored(category.detections[d]) ? Verdict::kIgnored : Verdict::kFalse);
    }
  }
  return verdicts;
}

// Sum of the interpolated precision at the recall points.
double sum_of_precision(const std::vector<Verdict>& verdicts, std::size_t n_wanted) {
  std::vector<double> recall, precision;
  double n_true = 0, n_false = 0;
  for (const Verdict verdict : verdicts) {
    n_true += verdict == Verdict::kTrue ? 1 : 0;
    n_false += verdict == Verdict::kFalse ? 1 : 0;
    recall.push_back(n_true / static_cast<double>(n_wanted));
    precision.push_back(n_true / (n_false + n_true + std::numeric_limits<double>::epsilon()));
  }
  for (std::size_t i = precision.size(); i > 1; --i)
    precision[i - 2] = std::max(precision[i - 2], precision[i - 1]);
  double sum = 0;
  for (std::size_t point = 0; point < kRecallPoints; ++point) {
    const double wanted = point == kRecallPoints - 1 ? 1.0 : static_cast<double>(point) * 0.01;
    const auto at = std::lower_bound(recall.begin(), recall.end(), wanted);
    if (at != recall.end()) sum += precision[static_cast<std::size_t>(at - recall.begin())];
  }
  return sum;
}

}  // namespace

double coco_precision(const std::vector<LabelledBox>& detections, const std::vector<LabelledBox>& truths,
                      int n_categories, const std::vector<double>& thresholds) {
  double sum = 0;
  std::size_t n_counted = 0;
  for (int id = 0; id < n_categories; ++id) {
    const Category category = category_of(detections, truths, id);
    if (category.n_wanted == 0) continue;
    std::vector<double> overlaps;
    for (const graft::BoxCorners& detection : category.detections) {
      for (const graft::BoxCorners& truth : category.truths) overlaps.push_back(overlap(detection, truth));
    }
    for (const double threshold : thresholds) {
      sum += sum_of_precision(match(category, overlaps, threshold), category.n_wanted);
      n_counted += kRecallPoints;
    }
  }
  return n_counted == 0 ? -1.0 : sum / static_cast<double>(n_counted);
}

std::vector<double> coco_thresholds() {
  std::vector<double> thresholds;
  for (int i = 0; i < 9; ++i)
    thresholds.push_back(i * ((0.95 - 0.5) / 9) + 0.5);  // rounded as numpy.linspace does
  thresholds.push_back(0.95);
  return thresholds;
}

}  // namespace rewards
