// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>

#include "common/json.h"
#include "common/parts.h"
#include "common/unicode.h"
#include "common/vlm_r1.h"

namespace rewards::vlm_r1 {
namespace {

constexpr std::size_t kMaxDigits = 4300;  // int() of a longer text raises

struct WholeBox {
  std::array<double, 4> corners{};
  bool is_too_long = false;
  std::size_t end = 0;
};

// `\d+` at `at`; the digits in ASCII.
bool take_number(std::string_view text, std::size_t& at, std::string& digits) {
  digits.clear();
  int value = 0;
  for (std::size_t size = digit_at(text, at, value); size != 0; size = digit_at(text, at, value)) {
    digits += static_cast<char>('0' + value);
    at += size;
  }
  return !digits.empty();
}

double whole_number(const std::string& digits) {
  if (digits.size() > 15) return std::strtod(digits.c_str(), nullptr);
  std::int64_t value = 0;
  for (const char c : digits) value = 10 * value + (c - '0');
  return static_cast<double>(value);
}

// The first match of `\[(\d+),\s*(\d+),\s*(\d+),\s*(\d+)\]`. Each attempt ends at or before the next bracket.
std::optional<WholeBox> first_whole_box(std::string_view text, std::size_t from) {
  std::string digits;
  for (std::size_t begin = text.find('[', from); begin != kNone; begin = text.find('[', begin + 1)) {
    WholeBox box;
    std::size_t at = begin + 1;
    for (std::size_t i = 0; i < 4; ++i) {
      if (i > 0) at = skip_spaces(text, at);
      if (!take_number(text, at, digits) || at >= text.size() || text[at] != (i < 3 ? ',' : ']')) break;
      box.is_too_long = box.is_too_long || digits.size() > kMaxDigits;
      box.corners[i] = whole_number(digits);
      ++at;
      if (i < 3) continue;
      box.end = at;
      return box;
    }
  }
  return std::nullopt;
}

// Where each stage ends as early as it can, so does the whole: existence needs no backtracking.
bool has_json_box(std::string_view text) {
  const std::size_t think = text.find("<think>");
  if (think == kNone) return false;
  std::size_t at = after_think_answer(text, think + 7);
  if (at == kNone) return false;
  at = text.find('{', at);
  if (at == kNone) return false;
  const std::optional<WholeBox> box = first_whole_box(text, at + 1);
  if (!box) return false;
  at = text.find('}', box->end);
  return at != kNone && text.find("</answer>", at + 1) != kNone;
}

bool has_plain_box(std::string_view text) {
  const std::size_t think = text.find("<think>");
  if (think == kNone) return false;
  const std::size_t at = after_think_answer(text, think + 7);
  if (at == kNone) return false;
  const std::optional<WholeBox> box = first_whole_box(text, at);
  return box && text.find("</answer>", box->end) != kNone;
}

bool has_think_then_answer(std::string_view text) {
  std::size_t at = text.find("<think>");
  if (at != kNone) at = text.find("<answer>", at + 7);
  return at != kNone && text.find("</answer>", at + 8) != kNone;
}

bool is_think_and_answer(std::string_view text) {
  constexpr std::string_view kThink = "<think>", kEnd = "</answer>";
  if (text.substr(0, kThink.size()) != kThink || text.size() < kEnd.size()) return false;
  if (text.substr(text.size() - kEnd.size()) != kEnd) return false;
  const std::size_t inside = after_think_answer(text, kThink.size());
  return inside != kNone && inside + kEnd.size() <= text.size();
}

// VLM-R1's plain IoU for GLM.
std::optional<double> plain_iou(const double* a, const double* b) {
  const double width = std::min(a[2], b[2]) - std::max(a[0], b[0]);
  const double height = std::min(a[3], b[3]) - std::max(a[1], b[1]);
  const double both = width > 0 && height > 0 ? width * height : 0.0;
  const double either = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both;
  if (either == 0.0) return std::nullopt;
  return both / either;
}

}  // namespace

Module module_from(std::string_view name) {
  if (name == "qwen") return Module::kQwen;
  if (name == "internvl") return Module::kInternvl;
  return name == "glm" ? Module::kGlm : Module::kRegistry;
}

double format(std::string_view completion, Module module) {
  switch (module) {
    case Module::kQwen:
      return has_json_box(completion) ? 1.0 : 0.0;
    case Module::kInternvl:
      return has_plain_box(completion) ? 1.0 : 0.0;
    case Module::kGlm:
      return has_think_then_answer(completion) ? 1.0 : 0.0;
    case Module::kRegistry:
      break;
  }
  return is_think_and_answer(completion) ? 1.0 : 0.0;
}

std::optional<double> pixel_iou(const double* a, const double* b) {
  const double x1 = std::max(a[0], b[0]), y1 = std::max(a[1], b[1]);
  const double x2 = std::min(a[2] - 1, b[2] - 1), y2 = std::min(a[3] - 1, b[3] - 1);
  const double both = x1 < x2 && y1 < y2 ? (x2 - x1 + 1) * (y2 - y1 + 1) : 0.0;
  const double either = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both;
  if (either == 0.0) return std::nullopt;
  return both / either;
}

std::optional<std::vector<double>> four_numbers(const graft::Json& value) {
  if (!value.is_array() || value.items().size() < 4) return std::nullopt;
  std::vector<double> numbers;
  for (std::size_t i = 0; i < 4; ++i) {
    const graft::Json& item = value.items()[i];
    if (!item.is_number() && !item.is_bool()) return std::nullopt;
    numbers.push_back(item.is_bool() ? (item.as_bool() ? 1.0 : 0.0) : item.as_number());
  }
  return numbers;
}

Outcome iou(const graft::RewardItem& item, Module module) {
  const std::string solution = tagged(item.solution());
  const std::optional<std::string_view> reference = last_between(solution, "<answer>", "</answer>");
  const std::optional<graft::Json> truth = reference ? load_json(strip(*reference)) : std::nullopt;
  if (!truth) throw Raised("the solution is not JSON");
  const auto answer = first_between(item.completion(), "<answer>", "</answer>");
  if (!answer) return {0.0, "no <answer>…</answer>"};
  const std::optional<WholeBox> found = first_whole_box(*answer, 0);
  if (!found) return {0.0, "no box [x1, y1, x2, y2] of whole numbers in the first <answer>"};
  const std::optional<std::vector<double>> expected = four_numbers(*truth);
  if (found->is_too_long || !expected) return {0.0, "VLM-R1 raises and catches: no numbers"};
  std::array<double, 4> box = found->corners;
  if (module == Module::kQwen) {
    const graft_image_size* size = item.image(0);
    if (size == nullptr || size->processed_width == 0 || size->processed_height == 0)
      return {0.0, "the image's sizes are unknown"};
    for (std::size_t i = 0; i < 4; ++i) {
      const bool is_x = i % 2 == 0;
      box[i] = box[i] / static_cast<double>(is_x ? size->processed_width : size->processed_height) *
               static_cast<double>(is_x ? size->original_width : size->original_height);
    }
  }
  const std::optional<double> overlap = module == Module::kGlm ? plain_iou(box.data(), expected->data())
                                                               : pixel_iou(box.data(), expected->data());
  if (!overlap || !std::isfinite(*overlap)) return {0.0};
  return {*overlap};
}

}  // namespace rewards::vlm_r1
