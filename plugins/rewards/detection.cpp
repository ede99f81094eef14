// SPDX-License-Identifier: Apache-2.0
// detection: how well the labelled boxes of the answer match the solution's (open-vocabulary detection).
#include <graft/sdk/reward.hpp>

#include <algorithm>
#include <cmath>
#include <map>

#include "common/boxes.h"
#include "common/coco.h"
#include "common/json.h"
#include "common/params.h"
#include "common/unicode.h"
#include "common/vlm_r1.h"

namespace {

using graft::Json;

struct Entry {
  graft::BoxCorners corners{};
  std::string label;
};

// The entries of the JSON of a text; `n_broken` counts those without a box of four numbers or without a label.
std::optional<std::vector<Entry>> entries_of(std::string_view text, std::size_t& n_broken) {
  std::optional<rewards::FoundJson> found = rewards::find_json(text);
  if (!found) return std::nullopt;
  std::vector<Entry> entries;
  const auto read = [&](const Json& item) {
    const Json* box = item.find("bbox_2d");
    if (box == nullptr) box = item.find("bbox");
    const Json* label = item.find("label");
    if (label == nullptr) label = item.find("name");
    const auto numbers = box == nullptr ? std::nullopt : rewards::vlm_r1::four_numbers(*box);
    const bool is_finite =
        numbers && std::all_of(numbers->begin(), numbers->end(), [](double v) { return std::isfinite(v); });
    if (!is_finite || label == nullptr || !label->is_string()) {
      ++n_broken;
      return;
    }
    entries.push_back({{(*numbers)[0], (*numbers)[1], (*numbers)[2], (*numbers)[3]},
                       rewards::lower(rewards::strip(label->as_string()))});
  };
  if (found->value.is_array()) {
    for (const Json& item : found->value.items()) read(item);
  } else {
    read(found->value);
  }
  return entries;
}

bool says_none(std::string_view text) {
  std::string word = rewards::lower(rewards::strip(text));
  while (!word.empty() && word.back() == '.') word.pop_back();
  return word == "none" || word == "[]";
}

struct Matches {
  double n_true = 0, overlap = 0;  // pairs, and the sum of their IoU
};

constexpr std::size_t kMostBoxes = 1000;  // of an answer that are matched; all are counted

// Pairs of largest IoU first, at `threshold` or more; each box once. Any order of the boxes gives the same.
Matches match(const std::vector<Entry>& found, const std::vector<Entry>& truth, double threshold,
              bool any_label) {
  struct Pair {
    double overlap;
    std::size_t found, truth;
  };
  std::vector<Pair> pairs;
  for (std::size_t i = 0; i < std::min(found.size(), kMostBoxes); ++i) {
    for (std::size_t j = 0; j < truth.size(); ++j) {
      if (!any_label && found[i].label != truth[j].label) continue;
      const double overlap = graft::box_iou(found[i].corners, truth[j].corners);
      if (overlap >= threshold && overlap > 0) pairs.push_back({overlap, i, j});
    }
  }
  std::stable_sort(pairs.begin(), pairs.end(), [&](const Pair& a, const Pair& b) {
    if (a.overlap != b.overlap) return a.overlap > b.overlap;
    return found[a.found].corners < found[b.found].corners;  // not the order of the text
  });
  std::vector<char> found_used(found.size(), 0), truth_used(truth.size(), 0);
  Matches matches;
  for (const Pair& pair : pairs) {
    if (found_used[pair.found] != 0 || truth_used[pair.truth] != 0) continue;
    found_used[pair.found] = truth_used[pair.truth] = 1;
    matches.n_true += 1;
    matches.overlap += pair.overlap;
  }
  return matches;
}

// Detections without confidences are one point of the precision-recall curve, whatever their order: the area below it is
// precision times recall. Mean over labels, those that only the answer has included, and over thresholds.
double average_precision(const std::vector<Entry>& found, bool any_broken, const std::vector<Entry>& truth,
                         const std::vector<double>& thresholds) {
  std::map<std::string, std::pair<std::vector<Entry>, std::vector<Entry>>> by_label;
  for (const Entry& entry : found) by_label[entry.label].first.push_back(entry);
  for (const Entry& entry : truth) by_label[entry.label].second.push_back(entry);
  double sum = 0;
  for (const auto& [label, boxes] : by_label) {
    const auto& [theirs, ours] = boxes;
    if (theirs.empty() || ours.empty()) continue;
    for (const double threshold : thresholds) {
      const double n_true = match(theirs, ours, threshold, true).n_true;
      sum += n_true / static_cast<double>(theirs.size()) * (n_true / static_cast<double>(ours.size()));
    }
  }
  return sum / static_cast<double>((by_label.size() + (any_broken ? 1 : 0)) * thresholds.size());
}

struct Detection : graft::Reward {
  static constexpr auto name = "detection";
  static constexpr auto summary =
      "labelled boxes of the answer against the solution's: AP, AP50, F1 and others";
  static constexpr std::uint32_t thread_class = GRAFT_THREAD_CONCURRENT;

  static graft::Schema params() {
    graft::Schema schema;
    schema
        .choice("metric", {"ap", "ap50", "od_length", "weighted_sum", "f1"}, "ap",
                "average precision over IoU 0.50 to 0.95 or at 0.5; that times 1 if no more boxes than in "
                "the solution, else "
                "their quotient; 0.7 position + 0.3 completeness; F1 at `threshold`")
        .number("threshold", 0.5, "IoU of a match, for f1 and weighted_sum")
        .exclusive_minimum(0)
        .maximum(1);
    rewards::add_where(schema, "answer");
    rewards::add_spaces(schema, "processed_pixels");
    return rewards::add_parity(schema);
  }

  explicit Detection(const graft::Params& params)
      : parity_(rewards::wants_vlm_r1(params, Detection::params(), {"metric"})),
        metric_(params.string("metric")),
        threshold_(params.number("threshold")),
        where_(rewards::where_from(params)),
        space_(parity_ ? GRAFT_SPACE_ORIGINAL_PIXELS : graft::space_from_name(params.string("space"))),
        solution_space_(graft::space_from_name(params.string("solution_space"))) {
    if (parity_ && metric_ == "f1") throw graft::Error("VLM-R1 has no metric f1: leave parity=vlm_r1 out");
    if (threshold_ != 0.5 && metric_ != "f1" && metric_ != "weighted_sum")
      throw graft::Error("\"threshold\" has no effect on the metric " + metric_ +
                         ", whose thresholds are fixed");
  }

  graft::OutputContract contract() const override {
    return {
        "<answer> with a ```json list of {\"bbox_2d\": [x1, y1, x2, y2], \"label\": …}, or None </answer>",
        "<answer>```json\n[{\"bbox_2d\": [10, 20, 110, 220], \"label\": \"cat\"}]\n```</answer>", space_,
        (where_ == rewards::Where::kAnswer ? GRAFT_PART_ANSWER : 0u) | GRAFT_PART_JSON |
            (parity_ ? GRAFT_PART_FENCE : 0u),
        GRAFT_BOX_LIST};
  }

  std::optional<std::pair<double, double>> range() const override {
    if (parity_) return std::pair<double, double>(-1.0, 1.0);  // -1: every reference box has a negative area
    return std::nullopt;
  }

  std::optional<graft::Observation> observe(const graft::RewardItem& item) override {
    return rewards::observe(item);
  }

  graft::Score score(const graft::RewardItem& item) override {
    if (parity_) {
      return rewards::vlm_r1::scored([&] {
        return rewards::vlm_r1::detection(item.completion(), rewards::vlm_r1::tagged(item.solution()),
                                          method());
      });
    }
    const std::string_view solution = rewards::bare_solution(item.solution());
    std::size_t n_broken = 0;
    std::vector<Entry> truth;
    if (!says_none(solution)) {
      std::optional<std::vector<Entry>> entries = entries_of(solution, n_broken);
      if (!entries || n_broken > 0) {
        return graft::Score::no_opinion(
            "the solution is no JSON list of {\"bbox_2d\": [x1, y1, x2, y2], \"label\": …}, and not None");
      }
      truth = std::move(*entries);
    }
    const auto answer = rewards::scored_text(item.completion(), where_);
    if (!answer) return graft::Score::unparsable(0.0, rewards::kNoAnswer);
    std::vector<Entry> found;
    if (!says_none(*answer)) {
      std::optional<std::vector<Entry>> entries = entries_of(*answer, n_broken);
      if (!entries) return graft::Score::unparsable(0.0, "no JSON in the answer, and it is not None");
      found = std::move(*entries);
    }
    if (!to_pixels(found, space_, item) || !to_pixels(truth, solution_space_, item)) {
      return graft::Score::failed(
          "the image's sizes are unknown: coordinates cannot be converted to its pixels");
    }
    if (truth.empty() || found.size() + n_broken == 0)
      return truth.empty() && found.empty() && n_broken == 0 ? 1.0 : 0.0;
    return value(found, n_broken, truth);
  }

 private:
  // A broken entry is a box of a label of its own that matches nothing.
  double value(const std::vector<Entry>& found, std::size_t n_broken, const std::vector<Entry>& truth) const {
    const auto n_found = static_cast<double>(found.size() + n_broken),
               n_truth = static_cast<double>(truth.size());
    if (metric_ == "f1") return 2.0 * match(found, truth, threshold_, false).n_true / (n_found + n_truth);
    if (metric_ == "weighted_sum") {
      const Matches pairs = match(found, truth, threshold_, false);
      const double completeness =
          1.0 - ((n_truth - pairs.n_true) / n_truth + (n_found - pairs.n_true) / n_found) / 2.0;
      return 0.7 * (pairs.overlap / n_truth) + 0.3 * completeness;
    }
    const double precision =
        average_precision(found, n_broken > 0, truth,
                          metric_ == "ap50" ? std::vector<double>{0.5} : rewards::coco_thresholds());
    return metric_ == "od_length" ? precision * std::min(1.0, n_truth / n_found) : precision;
  }

  rewards::vlm_r1::Detection method() const {
    using Method = rewards::vlm_r1::Detection;
    if (metric_ == "ap50") return Method::kAp50;
    if (metric_ == "od_length") return Method::kOdLength;
    return metric_ == "weighted_sum" ? Method::kWeightedSum : Method::kAp;
  }

  static bool to_pixels(std::vector<Entry>& entries, std::int32_t space, const graft::RewardItem& item) {
    for (Entry& entry : entries) {
      const auto pixels = rewards::in_pixels(entry.corners, space, item);
      if (!pixels) return false;
      entry.corners = *pixels;
    }
    return true;
  }

  bool parity_;
  std::string metric_;
  double threshold_;
  rewards::Where where_;
  std::int32_t space_, solution_space_;
};

}  // namespace

GRAFT_PLUGIN(Detection);
