// SPDX-License-Identifier: Apache-2.0
#include "text/split_regex.h"

#ifndef PCRE2_CODE_UNIT_WIDTH
#define PCRE2_CODE_UNIT_WIDTH 8
#endif
#include <pcre2.h>

#include <array>
#include <cstdint>
#include <limits>
#include <new>
#include <utility>

#include "support/error.h"
#include "support/strings.h"
#include "text/split_pattern.h"

namespace graft::text {

namespace {

template <auto kFree>
struct Deleter {
  template <typename T>
  void operator()(T* pointer) const {
    kFree(pointer);
  }
};

using CompileContext = std::unique_ptr<pcre2_compile_context, Deleter<pcre2_compile_context_free>>;
using MatchContext = std::unique_ptr<pcre2_match_context, Deleter<pcre2_match_context_free>>;
using MatchData = std::unique_ptr<pcre2_match_data, Deleter<pcre2_match_data_free>>;

template <typename T>
T* require(T* pointer) {
  if (pointer == nullptr) throw std::bad_alloc();
  return pointer;
}

std::string error_text(int code) {
  std::array<PCRE2_UCHAR, 256> buffer{};
  pcre2_get_error_message(code, buffer.data(), buffer.size());
  return reinterpret_cast<const char*>(buffer.data());
}

PCRE2_SPTR units(std::string_view text) {
  return reinterpret_cast<PCRE2_SPTR>(text.data());
}

// What one thread needs for one run over a text.
struct Matcher {
  explicit Matcher(const pcre2_code* compiled)
      : code(compiled),
        context(require(pcre2_match_context_create(nullptr))),
        data(require(pcre2_match_data_create(1, nullptr))) {
    // The published expressions are linear on any text; a limit would only refuse long ones.
    pcre2_set_match_limit(context.get(), std::numeric_limits<std::uint32_t>::max());
  }

  // True with first and last set to the ends of the next match from `start` on.
  bool next(std::string_view text, std::size_t start, std::size_t& first, std::size_t& last) {
    constexpr std::uint32_t options = PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY;
    int n = pcre2_match(code, units(text), text.size(), start, options, data.get(), context.get());
    if (n == PCRE2_ERROR_JIT_STACKLIMIT) {  // the interpreter keeps its state on the heap
      n = pcre2_match(code, units(text), text.size(), start, options | PCRE2_NO_JIT, data.get(),
                      context.get());
    }
    if (n == PCRE2_ERROR_NOMATCH) return false;
    if (n < 0) {
      throw support::UserError(support::cat("the tokenizer's split expression failed on a text of ",
                                            text.size(), " bytes: ", error_text(n)));
    }
    const PCRE2_SIZE* ends = pcre2_get_ovector_pointer(data.get());
    first = ends[0];
    last = ends[1];
    return true;
  }

  const pcre2_code* code;
  MatchContext context;
  MatchData data;
};

}  // namespace

struct SplitRegex::Code {
  std::unique_ptr<pcre2_code, Deleter<pcre2_code_free>> compiled;
};

SplitRegex::SplitRegex(std::unique_ptr<const Code> code) : code_(std::move(code)) {}
SplitRegex::SplitRegex(SplitRegex&&) noexcept = default;
SplitRegex& SplitRegex::operator=(SplitRegex&&) noexcept = default;
SplitRegex::~SplitRegex() = default;

SplitRegex SplitRegex::from_expression(std::string_view pattern) {
  // Ruby's ^ and $ always stand at lines.
  return compile(to_pcre2(pattern), PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE, pattern);
}

SplitRegex SplitRegex::from_literal(std::string_view text) {
  return compile(text, PCRE2_UTF | PCRE2_LITERAL, text);
}

SplitRegex SplitRegex::compile(std::string_view pattern, unsigned options, std::string_view shown) {
  const CompileContext context(require(pcre2_compile_context_create(nullptr)));
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  int error = 0;
  PCRE2_SIZE offset = 0;
  auto code = std::make_unique<Code>();
  code->compiled.reset(
      pcre2_compile(units(pattern), pattern.size(), options, &error, &offset, context.get()));
  if (!code->compiled) {
    throw support::UserError(
        support::cat("the expression \"", shown, "\" is not valid: ", error_text(error)));
  }
  // Without JIT support on this machine the interpreter does the same, slower.
  pcre2_jit_compile(code->compiled.get(), PCRE2_JIT_COMPLETE);
  return SplitRegex(std::move(code));
}

void SplitRegex::split(std::string_view text, std::vector<std::string_view>& pieces) const {
  Matcher matcher(code_->compiled.get());
  std::size_t done = 0;
  std::size_t first = 0;
  std::size_t last = 0;
  while (done < text.size() && matcher.next(text, done, first, last)) {
    if (first > done) pieces.push_back(text.substr(done, first - done));
    pieces.push_back(text.substr(first, last - first));
    done = last;
  }
  if (done < text.size()) pieces.push_back(text.substr(done));
}

}  // namespace graft::text
