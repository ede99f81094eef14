// SPDX-License-Identifier: Apache-2.0
// The pieces under the tokenizer: UTF-8, normalization, split expressions.
#include <gtest/gtest.h>

#include "support/strings.h"
#include "text/normalize.h"
#include "text/split_pattern.h"
#include "text/split_regex.h"
#include "text/utf8.h"

namespace graft::text {
namespace {

std::string pieces_of(std::string_view expression, std::string_view text) {
  std::vector<std::string_view> pieces;
  SplitRegex::from_expression(expression).split(text, pieces);
  std::string shown;
  for (const std::string_view piece : pieces) shown.append(shown.empty() ? "" : "|").append(piece);
  return shown;
}

TEST(Utf8, EveryCodePointComesBack) {
  for (char32_t code_point = 0; code_point <= 0x10FFFF; code_point += code_point < 0x3000 ? 1 : 97) {
    if (code_point >= 0xD800 && code_point < 0xE000) continue;
    std::string text;
    append_utf8(text, code_point);
    EXPECT_EQ(next_unit(text, 0).kind, Utf8Unit::Kind::kComplete);
    EXPECT_EQ(next_unit(text, 0).length, text.size());
    std::size_t pos = 0;
    ASSERT_EQ(next_code_point(text, pos), code_point);
    ASSERT_EQ(pos, text.size());
  }
}

TEST(Utf8, TakesWhatIsCertainAndLeavesTheRest) {
  std::string pending = "a\xE4\xBD";
  EXPECT_EQ(take_certain(pending), "a");
  EXPECT_EQ(pending, "\xE4\xBD");
  pending += "\xA0\xFF!";
  EXPECT_EQ(take_certain(pending), "\u4f60\uFFFD!");
  EXPECT_EQ(pending, "");
}

TEST(Nfc, ComposesOrdersAndKeeps) {
  EXPECT_EQ(to_nfc("plain"), "plain");
  EXPECT_EQ(to_nfc("e\u0301"), "\u00e9");
  EXPECT_EQ(to_nfc("a\u0301\u0323"), "\u1ea1\u0301");
  EXPECT_EQ(to_nfc("\u212b"), "\u00c5");
  EXPECT_EQ(to_nfc("\u1100\u1161\u11a8"), "\uac01");
  EXPECT_EQ(to_nfc("\u0958"), "\u0915\u093c") << "a composition exclusion";
  EXPECT_EQ(to_nfc("\ufb01"), "\ufb01") << "a compatibility character";
  EXPECT_EQ(to_nfc(std::string("e\0\xCC\x81", 4)), std::string("e\0\xCC\x81", 4));
}

TEST(Nfc, MarksNewerThanTheLibrarysTablesStayInPlace) {
  EXPECT_EQ(to_nfc("x\u1ace\u0323"), "x\u1ace\u0323");
  EXPECT_EQ(to_nfc("e\u1ace\u0301"), "e\u1ace\u0301");
  EXPECT_EQ(to_nfc("\U00011935\U00011930"), "\U00011935\U00011930");
}

TEST(SplitPattern, SpacesAreThoseOfUnicode) {
  EXPECT_EQ(pieces_of("\\s+", "a\u180eb\u3000 c\u0085d"), "a\u180eb|\u3000 |c|\u0085|d");
  EXPECT_EQ(pieces_of("\\S+", "a\u180eb \u3000c"), "a\u180eb| \u3000|c");
  EXPECT_EQ(pieces_of("[^\\S\\n]+", "a \tb\nc"), "a| \t|b\nc");
  EXPECT_EQ(pieces_of("\\s+(?!\\S)|\\s+", "a   b"), "a|  | |b");
}

TEST(SplitPattern, LettersAndDigitsOfUnicode16) {
  EXPECT_EQ(pieces_of("\\p{L}+", "1\U00031350a\U0002ebf0 "), "1|\U00031350a\U0002ebf0| ");
  EXPECT_EQ(pieces_of("\\P{L}+", "1\U00031350 ."), "1|\U00031350| .");
  EXPECT_EQ(pieces_of("[^\\p{L}\\p{N}]+", "\U00016d70..\U00031350"), "\U00016d70|..|\U00031350");
  EXPECT_EQ(pieces_of("\\p{Lu}", "aBc"), "a|B|c");
}

TEST(SplitPattern, CaseIsIgnoredWhereTheExpressionSaysSo) {
  EXPECT_EQ(pieces_of("(?i:'s)|x", "'S'\u017f X"), "'S|'\u017f| X");
}

// What the published expressions of the families do differently: digits, apostrophes, marks, ends of lines.
TEST(SplitRegex, TheFamiliesExpressions) {
  using Pieces = std::vector<std::string_view>;
  const auto with = [](std::string_view letters, std::string_view digits) {
    return SplitRegex::from_expression(support::cat(R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|)", letters, "|", digits,
                                                    R"(| ?[^\s\p{L}\p{N}]+[\r\n]*|)",
                                                    R"(\s*[\r\n]+|\s+(?!\S)|\s+)"));
  };
  const auto cut = [](const SplitRegex& expression, std::string_view text) {
    Pieces pieces;
    expression.split(text, pieces);
    return pieces;
  };
  constexpr std::string_view kLetters = R"([^\r\n\p{L}\p{N}]?\p{L}+)";
  const SplitRegex qwen = with(kLetters, R"(\p{N})"), llama3 = with(kLetters, R"(\p{N}{1,3})");  // and GLM-4
  EXPECT_EQ(cut(qwen, "a 12345."), (Pieces{"a", " ", "1", "2", "3", "4", "5", "."}));
  EXPECT_EQ(cut(llama3, "a 12345."), (Pieces{"a", " ", "123", "45", "."}));
  EXPECT_EQ(cut(llama3, "\u0662\u0663\u0664\u0665"), (Pieces{"\u0662\u0663\u0664", "\u0665"}));
  for (const SplitRegex* both : {&qwen, &llama3}) {
    EXPECT_EQ(cut(*both, "HE'LL don't"), (Pieces{"HE", "'LL", " don", "'t"}));
    EXPECT_EQ(cut(*both, "it'\u017F"), (Pieces{"it", "'\u017F"}));  // a long s is an s
    EXPECT_EQ(cut(*both, "x !?\n\ny"), (Pieces{"x", " !?\n\n", "y"}));
    EXPECT_EQ(cut(*both, "x \t\r\n  y"), (Pieces{"x", " \t\r\n", " ", " y"}));
    EXPECT_EQ(cut(*both, "x  "), (Pieces{"x", "  "}));
    EXPECT_EQ(cut(*both, "(word"), (Pieces{"(word"}));
    EXPECT_EQ(cut(*both, "\u4F60\u597D"), (Pieces{"\u4F60\u597D"}));
  }
  // With marks among the letters (Qwen3.5), they do not end a word.
  const SplitRegex marks =
      SplitRegex::from_expression(R"([^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+)");
  EXPECT_EQ(cut(marks, "e\u0301a"), (Pieces{"e\u0301a"}));
  EXPECT_EQ(cut(qwen, "e\u0301a"), (Pieces{"e", "\u0301a"}));
}

TEST(SplitRegex, PiecesCoverTheText) {
  EXPECT_EQ(pieces_of("b", "abcb"), "a|b|c|b");
  EXPECT_EQ(pieces_of("x*", "axx"), "a|xx");
  EXPECT_EQ(pieces_of("b", ""), "");
  std::vector<std::string_view> pieces;
  SplitRegex::from_literal("a.").split("aba.", pieces);
  EXPECT_EQ(pieces, (std::vector<std::string_view>{"ab", "a."}));
}

}  // namespace
}  // namespace graft::text
