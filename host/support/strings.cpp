// SPDX-License-Identifier: Apache-2.0
#include "support/strings.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace graft::support {

namespace {

constexpr std::string_view kWhiteSpace = " \t\r\n\f\v";

// The form in which names are compared: typos in case and in the word separator should not count.
std::string comparable(std::string_view name) {
  std::string out = to_lower(name);
  std::replace(out.begin(), out.end(), '-', '_');
  return out;
}

template <typename T>
bool parse_whole(std::string_view text, T& out) {
  T value{};
  const char* end = text.data() + text.size();
  const auto result = std::from_chars(text.data(), end, value);
  if (result.ec != std::errc{} || result.ptr != end) return false;
  out = value;
  return true;
}

// Length of the UTF-8 sequence at the start of `text`, 0 if it is malformed (Unicode 15, table 3-7).
std::size_t utf8_length(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const auto continues = [&](std::size_t i, unsigned low = 0x80, unsigned high = 0xBF) {
    return i < text.size() && byte(i) >= low && byte(i) <= high;
  };
  const unsigned lead = byte(0);
  if (lead < 0x80) return 1;
  if (lead < 0xC2) return 0;
  if (lead < 0xE0) return continues(1) ? 2 : 0;
  if (lead < 0xF0) {
    return continues(1, lead == 0xE0 ? 0xA0 : 0x80, lead == 0xED ? 0x9F : 0xBF) && continues(2) ? 3 : 0;
  }
  if (lead > 0xF4) return 0;
  const bool second = continues(1, lead == 0xF0 ? 0x90 : 0x80, lead == 0xF4 ? 0x8F : 0xBF);
  return second && continues(2) && continues(3) ? 4 : 0;
}

}  // namespace

std::string fixed(double value, int digits) {
  if (!std::isfinite(value)) return cat(value);
  const int size = std::snprintf(nullptr, 0, "%.*f", digits, value);
  std::string out(static_cast<std::size_t>(size), '\0');
  std::snprintf(out.data(), out.size() + 1, "%.*f", digits, value);
  return out;
}

std::string join(const std::vector<std::string>& parts, std::string_view separator) {
  std::string out;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    if (i > 0) out += separator;
    out += parts[i];
  }
  return out;
}

std::vector<std::string> split(std::string_view text, char separator) {
  std::vector<std::string> parts;
  for (;;) {
    const std::size_t at = text.find(separator);
    parts.emplace_back(text.substr(0, at));
    if (at == std::string_view::npos) return parts;
    text.remove_prefix(at + 1);
  }
}

std::string_view trim(std::string_view text) {
  const std::size_t first = text.find_first_not_of(kWhiteSpace);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kWhiteSpace) - first + 1);
}

std::string replace_all(std::string_view text, std::string_view from, std::string_view to) {
  std::string out;
  if (from.empty()) return std::string(text);
  for (;;) {
    const std::size_t at = text.find(from);
    out += text.substr(0, at);
    if (at == std::string_view::npos) return out;
    out += to;
    text.remove_prefix(at + from.size());
  }
}

std::string to_lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return out;
}

bool parse_number(std::string_view text, std::int64_t& out) {
  return parse_whole(text, out);
}
bool parse_number(std::string_view text, double& out) {
  return parse_whole(text, out);
}

std::size_t edit_distance(std::string_view a, std::string_view b) {
  const std::size_t width = b.size() + 1;
  std::vector<std::size_t> before_last(width), last(width), row(width);
  for (std::size_t j = 0; j < width; ++j) last[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (std::size_t j = 1; j < width; ++j) {
      const std::size_t substitution = last[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, substitution});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        row[j] = std::min(row[j], before_last[j - 2] + 1);
      }
    }
    before_last.swap(last);
    last.swap(row);
  }
  return last[b.size()];
}

std::string nearest_name(std::string_view word, const std::vector<std::string>& candidates) {
  const std::string wanted = comparable(word);
  std::string best;
  std::size_t best_distance = std::max<std::size_t>(1, wanted.size() / 3) + 1;
  for (const std::string& candidate : candidates) {
    const std::string name = comparable(candidate);
    std::size_t distance = edit_distance(wanted, name);
    const std::size_t dot = name.rfind('.');
    if (dot != std::string::npos) {
      // "lr" for "optimizer.lr": right leaf, forgotten section. Worse than a plain match of the same kind.
      distance = std::min(distance, edit_distance(wanted, std::string_view(name).substr(dot + 1)) + 1);
    }
    if (distance < best_distance && distance < name.size()) {
      best_distance = distance;
      best = candidate;
    }
  }
  return best;
}

std::string did_you_mean(std::string_view word, const std::vector<std::string>& candidates) {
  const std::string name = nearest_name(word, candidates);
  return name.empty() ? std::string() : cat("; did you mean \"", name, "\"?");
}

std::string human_bytes(std::uint64_t bytes) {
  constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  auto value = static_cast<double>(bytes);
  std::size_t unit = 0;
  // 1023.95 would print as "1024.0", so the next unit begins there.
  while (value >= 1023.95 && unit + 1 < std::size(kUnits)) {
    value /= 1024.0;
    ++unit;
  }
  return cat(unit == 0 ? std::to_string(bytes) : fixed(value, 1), ' ', kUnits[unit]);
}

bool parse_bytes(std::string_view text, std::int64_t& out) {
  constexpr std::string_view kPrefixes = "KMGTP";
  constexpr double kLargest = 9e18;
  const std::string_view given = trim(text);
  const std::size_t end = std::min(given.find_first_not_of("0123456789."), given.size());
  double number = 0.0;
  if (!parse_number(given.substr(0, end), number)) return false;
  std::string unit = to_lower(trim(given.substr(end)));
  if (unit.ends_with('b')) unit.pop_back();
  const double base = unit.ends_with('i') ? 1024.0 : 1000.0;
  if (unit.ends_with('i')) unit.pop_back();
  if (unit.size() > 1 || (unit.empty() && base == 1024.0)) return false;
  if (!unit.empty()) {
    const std::size_t power = to_lower(kPrefixes).find(unit);
    if (power == std::string::npos) return false;
    number *= std::pow(base, static_cast<double>(power + 1));
  }
  if (!(number <= kLargest)) return false;
  out = static_cast<std::int64_t>(number);
  return true;
}

std::string human_duration(double seconds) {
  if (!std::isfinite(seconds) || seconds < 0) return "?";
  if (seconds < 9.95) return cat(fixed(seconds, 1), 's');
  const auto total = static_cast<std::uint64_t>(std::llround(std::min(seconds, 1e15)));
  const auto two = [](std::uint64_t n) { return cat(n < 10 ? "0" : "", n); };
  if (total < 60) return cat(total, 's');
  if (total < 3600) return cat(total / 60, "m ", two(total % 60), 's');
  if (total < 86400) return cat(total / 3600, "h ", two(total % 3600 / 60), 'm');
  return cat(total / 86400, "d ", two(total % 86400 / 3600), 'h');
}

bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    const std::size_t length = utf8_length(text);
    if (length == 0) return false;
    text.remove_prefix(length);
  }
  return true;
}

}  // namespace graft::support
