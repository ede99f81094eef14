// SPDX-License-Identifier: Apache-2.0
#include "common/boxes.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "common/json.h"
#include "common/parts.h"
#include "common/unicode.h"

namespace rewards {
namespace {

// Reads forward through one text.
class Cursor {
 public:
  Cursor(std::string_view text, std::size_t at) : text_(text), at_(at) {}

  [[nodiscard]] std::size_t at() const { return at_; }
  [[nodiscard]] bool saw_full_width() const { return saw_full_width_; }
  [[nodiscard]] bool saw_fraction() const { return saw_fraction_; }

  void skip() { at_ = skip_spaces(text_, at_); }

  // One ASCII mark or one of its full-width forms (three bytes each, one after the other).
  bool mark(char ascii, std::string_view wide) {
    if (at_ >= text_.size()) return false;
    if (text_[at_] == ascii) {
      ++at_;
      return true;
    }
    for (std::size_t i = 0; i < wide.size(); i += 3) {
      if (text_.compare(at_, 3, wide.substr(i, 3)) != 0) continue;
      at_ += 3;
      saw_full_width_ = true;
      return true;
    }
    return false;
  }
  bool comma() { return mark(',', "，、"); }

  bool number(double& out) {
    skip();
    const char* first = text_.data() + at_;
    const char* last = text_.data() + text_.size();
    const auto [end, error] = std::from_chars(first, last, out);
    if (error != std::errc() || !std::isfinite(out)) return false;
    saw_fraction_ =
        saw_fraction_ || std::any_of(first, end, [](char c) { return c == '.' || c == 'e' || c == 'E'; });
    at_ += static_cast<std::size_t>(end - first);
    skip();
    return true;
  }

 private:
  std::string_view text_;
  std::size_t at_;
  bool saw_full_width_ = false, saw_fraction_ = false;
};

void finish(FoundBox& box, const Cursor& cursor, bool opened_wide) {
  box.end = cursor.at();
  box.has_fraction = cursor.saw_fraction();
  box.is_full_width = opened_wide || cursor.saw_full_width();
}

// Length of an opening bracket at `at`; `is_round` tells which. 0: none.
std::size_t open_bracket(std::string_view text, std::size_t at, bool& is_round) {
  const char c = text[at];
  is_round = c == '(';
  if (c == '[' || c == '(') return 1;
  const std::string_view wide = text.substr(at, 3);
  is_round = wide == "（";
  return is_round || wide == "［" || wide == "【" ? 3 : 0;
}

constexpr std::string_view kBoxStart = "<|box_start|>", kBoxEnd = "<|box_end|>";

bool is_blank(std::string_view text) {
  return skip_spaces(text, 0) == text.size();
}

std::size_t count(std::string_view text, std::string_view what) {
  std::size_t n = 0;
  for (std::size_t at = text.find(what); at != kNone; at = text.find(what, at + what.size())) ++n;
  return n;
}

std::uint32_t observe_tags(std::string_view text) {
  std::uint32_t parts = 0;
  const std::size_t think = text.find("<think>"),
                    think_end = text.find("</think>", think == kNone ? 0 : think);
  const std::size_t answer = text.find("<answer>"), answer_end = text.rfind("</answer>");
  if (think != kNone && think_end != kNone) parts |= GRAFT_PART_THINK;
  if (answer != kNone && answer_end != kNone && answer < answer_end) parts |= GRAFT_PART_ANSWER;
  if ((think != kNone && think_end == kNone) || (answer != kNone && (parts & GRAFT_PART_ANSWER) == 0))
    parts |= GRAFT_PART_UNCLOSED;
  if (count(text, "<answer>") > 1) parts |= GRAFT_PART_SEVERAL;
  // Outside: before the first tag, between the two parts, behind the last.
  const bool has_think = (parts & GRAFT_PART_THINK) != 0, has_answer = (parts & GRAFT_PART_ANSWER) != 0;
  bool outside = false;
  if (has_think && has_answer && think < answer) {
    outside = !is_blank(text.substr(0, think)) || think_end + 8 > answer ||
              !is_blank(text.substr(think_end + 8, answer - think_end - 8)) ||
              !is_blank(text.substr(answer_end + 9));
  } else if (has_answer) {
    outside = !is_blank(text.substr(0, answer)) || !is_blank(text.substr(answer_end + 9));
  } else {
    outside = !has_think || !is_blank(text.substr(0, think)) || !is_blank(text.substr(think_end + 8));
  }
  if (outside && !is_blank(text)) parts |= GRAFT_PART_TEXT_OUTSIDE;
  return parts;
}

constexpr std::size_t kMostBoxes = 256;  // of an observation

}  // namespace

bool BoxReader::read_list(std::size_t open_size, FoundBox& box) const {
  Cursor cursor(text_, at_ + open_size);
  for (std::size_t i = 0; i < 4; ++i) {
    if (!cursor.number(box.corners[i])) return false;
    if (i < 3 ? !cursor.comma() : !cursor.mark(']', "］】")) return false;
  }
  box.notation = in_tag_ ? GRAFT_BOX_TAG : GRAFT_BOX_LIST;
  finish(box, cursor, open_size == 3);
  return true;
}

bool BoxReader::read_corners(std::size_t open_size, FoundBox& box) const {
  Cursor cursor(text_, at_ + open_size);
  for (std::size_t i = 0; i < 4; i += 2) {
    if (i == 2) {
      cursor.skip();
      if (cursor.comma()) cursor.skip();
      if (!cursor.mark('(', "（")) return false;
    }
    if (!cursor.number(box.corners[i]) || !cursor.comma() || !cursor.number(box.corners[i + 1]) ||
        !cursor.mark(')', "）"))
      return false;
  }
  box.notation = in_tokens_ ? GRAFT_BOX_TOKENS : GRAFT_BOX_CORNERS;
  finish(box, cursor, open_size == 3);
  return true;
}

void BoxReader::pass_tag() {
  const std::string_view rest = text_.substr(at_, kBoxStart.size());
  if (rest == kBoxStart) {
    in_tokens_ = true;
  } else if (rest.substr(0, kBoxEnd.size()) == kBoxEnd) {
    in_tokens_ = false;
  } else if (rest.substr(0, 5) == "<box>") {
    in_tag_ = true;
  } else if (rest.substr(0, 6) == "</box>") {
    in_tag_ = false;
  }
}

bool BoxReader::next(FoundBox& box) {
  for (; at_ < text_.size(); ++at_) {
    const auto c = static_cast<unsigned char>(text_[at_]);
    if (c == '<') {
      pass_tag();
      continue;
    }
    if (c != '[' && c != '(' && c != 0xEF && c != 0xE3) continue;
    bool is_round = false;
    const std::size_t open_size = open_bracket(text_, at_, is_round);
    if (open_size == 0) continue;
    if (!(is_round ? read_corners(open_size, box) : read_list(open_size, box))) continue;
    box.begin = at_;
    at_ = box.end;
    return true;
  }
  return false;
}

std::optional<FoundBox> find_box(std::string_view text, std::uint32_t notations, bool last) {
  std::optional<FoundBox> found;
  BoxReader reader(text);
  for (FoundBox box; reader.next(box);) {
    if ((box.notation & notations) == 0) continue;
    found = box;
    if (!last) break;
  }
  return found;
}

const char* notation_name(std::uint32_t notation) {
  switch (notation) {
    case GRAFT_BOX_LIST:
      return "[x1, y1, x2, y2]";
    case GRAFT_BOX_CORNERS:
      return "(x1,y1),(x2,y2)";
    case GRAFT_BOX_TOKENS:
      return "<|box_start|>(x1,y1),(x2,y2)<|box_end|>";
    case GRAFT_BOX_TAG:
      return "<box>[[x1, y1, x2, y2]]</box>";
    default:
      return "no box";
  }
}

std::string key_before(std::string_view text, std::size_t begin) {
  constexpr std::size_t kLongestKey = 64;
  text = text.substr(0, begin);
  const auto drop_back = [&text](std::string_view mark) {
    if (text.size() < mark.size() || text.substr(text.size() - mark.size()) != mark) return false;
    text.remove_suffix(mark.size());
    return true;
  };
  text = strip(text);
  for (int depth = 0; depth < 3 && drop_back("["); ++depth) text = strip(text);
  if (!drop_back(":") && !drop_back("：")) return {};
  text = strip(text);
  if (!drop_back("\"") && !drop_back("'") && !drop_back("”")) return {};
  const std::string_view near = text.substr(text.size() - std::min(text.size(), kLongestKey));
  std::size_t open = near.find_last_of("\"'"), open_size = 1;
  if (const std::size_t wide = near.rfind("“"); wide != kNone && (open == kNone || wide > open)) {
    open = wide;
    open_size = 3;
  }
  return open == kNone ? std::string() : std::string(near.substr(open + open_size));
}

graft::Observation observe(const graft::RewardItem& item) {
  graft::Observation seen;
  const std::string_view text = item.completion();
  seen.parts = observe_tags(text);
  const std::string_view answer = answer_of(text).value_or(text);
  seen.answer = strip(answer);
  if (answer.find("```") != kNone) seen.parts |= GRAFT_PART_FENCE;
  if (find_json(answer)) seen.parts |= GRAFT_PART_JSON;
  const std::string_view boxes =
      item.completion_raw().find(kBoxStart) != kNone ? item.completion_raw() : text;
  BoxReader reader(boxes);
  for (FoundBox box; seen.boxes.size() < kMostBoxes && reader.next(box);) {
    if (seen.boxes.empty()) seen.key = key_before(boxes, box.begin);
    seen.boxes.push_back(box.corners);
    seen.box_notations |= box.notation;
    seen.parts |= GRAFT_PART_BOX | (box.has_fraction ? GRAFT_PART_FRACTIONS : 0) |
                  (box.is_full_width ? GRAFT_PART_FULL_WIDTH : 0);
    if (box.corners[2] <= box.corners[0] || box.corners[3] <= box.corners[1])
      seen.parts |= GRAFT_PART_INSIDE_OUT;
  }
  return seen;
}

std::optional<graft::BoxCorners> in_pixels(const graft::BoxCorners& box, std::int32_t space,
                                           const graft::RewardItem& item) {
  const graft_image_size unknown{};
  return graft::to_original_pixels(box, space, item.image(0) != nullptr ? *item.image(0) : unknown);
}

double box_giou(const graft::BoxCorners& a, const graft::BoxCorners& b) {
  if (a[2] <= a[0] || a[3] <= a[1] || b[2] <= b[0] || b[3] <= b[1]) return -1.0;
  const double width = std::min(a[2], b[2]) - std::max(a[0], b[0]);
  const double height = std::min(a[3], b[3]) - std::max(a[1], b[1]);
  const double both = width > 0 && height > 0 ? width * height : 0.0;
  const double either = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both;
  const double hull =
      (std::max(a[2], b[2]) - std::min(a[0], b[0])) * (std::max(a[3], b[3]) - std::min(a[1], b[1]));
  const double giou = both / either - (hull - either) / hull;
  return std::isfinite(giou) ? std::clamp(giou, -1.0, 1.0) : -1.0;
}

}  // namespace rewards
