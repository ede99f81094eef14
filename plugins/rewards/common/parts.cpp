// SPDX-License-Identifier: Apache-2.0
#include "common/parts.h"

#include "common/unicode.h"

namespace rewards {
namespace {

constexpr std::string_view kAnswer = "<answer>", kAnswerEnd = "</answer>", kThinkEnd = "</think>";

}  // namespace

std::optional<std::string_view> first_between(std::string_view text, std::string_view open,
                                              std::string_view close) {
  const std::size_t begin = text.find(open);
  if (begin == kNone) return std::nullopt;
  const std::size_t end = text.find(close, begin + open.size());
  if (end == kNone) return std::nullopt;
  return text.substr(begin + open.size(), end - begin - open.size());
}

std::optional<std::string_view> last_between(std::string_view text, std::string_view open,
                                             std::string_view close) {
  std::optional<std::string_view> last;
  for (std::size_t at = 0;;) {
    const std::size_t begin = text.find(open, at);
    if (begin == kNone) return last;
    const std::size_t end = text.find(close, begin + open.size());
    if (end == kNone) return last;
    last = text.substr(begin + open.size(), end - begin - open.size());
    at = end + close.size();
  }
}

std::optional<std::string_view> first_between_on_a_line(std::string_view text, std::string_view open,
                                                        std::string_view close) {
  std::size_t end = 0, line_end = 0;  // the first ones behind the current `open`
  for (std::size_t begin = text.find(open); begin != kNone; begin = text.find(open, begin + 1)) {
    const std::size_t inside = begin + open.size();
    if (end < inside) end = text.find(close, inside);
    if (end == kNone) return std::nullopt;
    if (line_end != kNone && line_end < inside) line_end = text.find('\n', inside);
    if (end < line_end) return text.substr(inside, end - inside);
  }
  return std::nullopt;
}

std::size_t after_think_answer(std::string_view text, std::size_t at) {
  for (at = text.find(kThinkEnd, at); at != kNone; at = text.find(kThinkEnd, at)) {
    at = skip_spaces(text, at + kThinkEnd.size());
    if (text.substr(at, kAnswer.size()) == kAnswer) return at + kAnswer.size();
  }
  return kNone;
}

std::optional<std::string_view> answer_of(std::string_view text, bool allow_open) {
  const std::size_t end = text.rfind(kAnswerEnd);
  if (end != kNone) {
    const std::size_t begin = text.substr(0, end).rfind(kAnswer);
    if (begin != kNone) return text.substr(begin + kAnswer.size(), end - begin - kAnswer.size());
  }
  if (!allow_open) return std::nullopt;
  const std::size_t begin = text.rfind(kAnswer);
  if (begin == kNone) return std::nullopt;
  return text.substr(begin + kAnswer.size());
}

}  // namespace rewards
