// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>

#include "common/coco.h"
#include "common/json.h"
#include "common/parts.h"
#include "common/unicode.h"
#include "common/vlm_r1.h"

namespace rewards::vlm_r1 {
namespace {

using graft::Json;

constexpr std::string_view kJsonFence = "```json", kFence = "```";

// A label as Python compares it: 1, 1.0 and true are equal, "1" is another.
std::string label_key(const Json& label) {
  if (label.is_string()) return "text " + label.as_string();
  if (label.is_bool()) return label.as_bool() ? "number 1.0" : "number 0.0";
  if (label.is_number()) return "number " + python_str(Json(label.as_number()));
  return "other " + python_str(label);
}
bool is_nan(const Json& value) {  // equals nothing
  return value.is_number() && std::isnan(value.as_number());
}
bool is_hashable(const Json& value) {
  return !value.is_array() && !value.is_object();
}

bool is_truthy(const Json& value) {
  if (value.is_null()) return false;
  if (value.is_bool()) return value.as_bool();
  if (value.is_number()) return value.as_number() != 0.0;
  if (value.is_string()) return !value.as_string().empty();
  return value.is_array() ? !value.items().empty() : !value.members().empty();
}

std::optional<LabelledBox> box_of(const Json& entry) {
  const Json* box = entry.find("bbox_2d");
  if (box == nullptr) return std::nullopt;
  const std::optional<std::vector<double>> numbers = four_numbers(*box);
  if (!numbers) return std::nullopt;
  LabelledBox out;
  for (std::size_t i = 0; i < 4; ++i) {
    if (!std::isfinite((*numbers)[i])) return std::nullopt;
    out.corners[i] = (*numbers)[i];
  }
  return out;
}

// The reference's entries; Raised for what is malformed.
Json::Items truths_of(std::string_view block) {
  std::optional<Json> value = load_json(strip(block));
  if (!value || !value->is_array()) throw Raised("the solution's ```json block is no JSON array");
  for (const Json& entry : value->items()) {
    const Json* label = entry.find("label");
    if (!box_of(entry) || label == nullptr || !is_hashable(*label))
      throw Raised("an entry of the solution lacks bbox_2d or label");
  }
  return value->items();
}

double map_reward(std::string_view student, std::string_view reference, Detection method) {
  const auto truth_block = last_between(reference, kJsonFence, kFence);
  const auto block = last_between(student, kJsonFence, kFence);
  const Json::Items truth_entries = truth_block ? truths_of(*truth_block) : Json::Items();
  const Json entries = block ? load_json(strip(*block)).value_or(Json()) : Json();
  if (truth_entries.empty() && !is_truthy(entries)) return 1.0;
  if (truth_entries.empty() || !is_truthy(entries) || !entries.is_array()) return 0.0;

  std::vector<std::string> labels;
  std::vector<LabelledBox> truths, detections;
  for (const Json& entry : truth_entries) {
    if (is_nan(entry.at("label"))) continue;
    const std::string key = label_key(entry.at("label"));
    const auto at = std::find(labels.begin(), labels.end(), key);
    LabelledBox box = *box_of(entry);
    box.category = static_cast<int>(at - labels.begin());
    if (at == labels.end()) labels.push_back(key);
    truths.push_back(box);
  }
  for (const Json& entry : entries.items()) {
    const Json* label = entry.find("label");
    std::optional<LabelledBox> box = box_of(entry);
    if (!box || label == nullptr || !is_hashable(*label) || is_nan(*label)) continue;
    const auto at = std::find(labels.begin(), labels.end(), label_key(*label));
    if (at == labels.end()) continue;
    box->category = static_cast<int>(at - labels.begin());
    detections.push_back(*box);
  }
  if (detections.empty()) return 0.0;
  const std::vector<double> thresholds =
      method == Detection::kAp50 ? std::vector<double>{0.5} : coco_thresholds();
  double score = coco_precision(detections, truths, static_cast<int>(labels.size()), thresholds);
  const auto n_truth = static_cast<double>(truth_entries.size()),
             n_found = static_cast<double>(entries.items().size());
  if (method == Detection::kOdLength && n_truth < n_found) score *= n_truth / n_found;
  return score;
}

double weighted_sum(std::string_view student, std::string_view reference) {
  const auto truth_block = first_between(reference, kJsonFence, kFence);
  const auto block = first_between(student, kJsonFence, kFence);
  const Json::Items truths = truth_block ? truths_of(*truth_block) : Json::Items();
  std::optional<Json> parsed = block ? load_json(strip(*block)) : std::nullopt;
  const Json::Items entries = parsed && parsed->is_array() ? parsed->items() : Json::Items();
  if (truths.empty()) return entries.empty() ? 1.0 : 0.0;
  if (entries.empty()) return 0.0;

  const std::size_t n_truth = truths.size(), n_found = entries.size();
  std::vector<double> overlaps(n_found * n_truth, 0.0);
  for (std::size_t p = 0; p < n_found; ++p) {
    const std::optional<LabelledBox> box = box_of(entries[p]);
    for (std::size_t g = 0; box && g < n_truth; ++g) {
      overlaps[p * n_truth + g] =
          pixel_iou(box->corners.data(), box_of(truths[g])->corners.data()).value_or(0.0);
    }
  }
  std::vector<char> found_used(n_found, 0), truth_used(n_truth, 0);
  std::size_t n_matched = 0;
  double position = 0.0;
  std::optional<std::string> found_label;  // kept from pair to pair, as in VLM-R1
  while (n_matched < std::min(n_truth, n_found)) {
    double best = -1.0;
    std::size_t best_found = 0, best_truth = 0;
    for (std::size_t p = 0; p < n_found; ++p) {
      for (std::size_t g = 0; found_used[p] == 0 && g < n_truth; ++g) {
        if (truth_used[g] != 0 || overlaps[p * n_truth + g] <= best) continue;
        best = overlaps[p * n_truth + g];
        best_found = p;
        best_truth = g;
      }
    }
    if (best < 0.5) break;
    if (const Json* label = entries[best_found].find("label")) found_label = label_key(*label);
    if (!found_label) throw Raised("the first matched box has no label");
    if (*found_label == label_key(truths[best_truth].at("label"))) position += best;
    found_used[best_found] = truth_used[best_truth] = 1;
    ++n_matched;
  }
  const auto missed = static_cast<double>(n_truth - n_matched),
             extra = static_cast<double>(n_found - n_matched);
  const double completeness =
      1.0 - (missed / static_cast<double>(n_truth) + extra / static_cast<double>(n_found)) / 2.0;
  return 0.7 * (position / static_cast<double>(n_truth)) + 0.3 * completeness;
}

}  // namespace

Outcome detection(std::string_view completion, std::string_view solution, Detection method) {
  if (method == Detection::kWeightedSum) {
    const std::string student = encode(clean_text(completion)), reference = encode(clean_text(solution));
    if (reference == "none") return {student == "none" ? 1.0 : 0.0};
    return {weighted_sum(student, reference)};
  }
  if (method == Detection::kMap) return {map_reward(completion, solution, method)};
  const auto student = last_between(completion, "<answer>", "</answer>");
  if (!student) return {0.0, "no <answer>…</answer>"};
  const std::string_view reference = reference_of(solution);
  if (strip(reference) == "None" && strip(*student) == "None") return {1.0};
  return {map_reward(*student, reference, method)};
}

}  // namespace rewards::vlm_r1
