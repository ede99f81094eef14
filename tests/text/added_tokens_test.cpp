// SPDX-License-Identifier: Apache-2.0
#include "text/added_tokens.h"

#include <gtest/gtest.h>

#include <deque>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace graft::text {
namespace {

// "plain|[token]|plain", the stretches of a text.
class Finder {
 public:
  Finder& add(AddedToken token) {
    const AddedToken& kept = tokens_.emplace_back(std::move(token));
    finder_.add(kept, kept.content);
    return *this;
  }

  std::string split(std::string_view text) const {
    std::vector<Stretch> stretches;
    finder_.split(text, stretches);
    std::string shown;
    for (const Stretch& stretch : stretches) {
      if (!shown.empty()) shown += "|";
      shown += stretch.token == nullptr ? std::string(stretch.text) : "[" + std::string(stretch.text) + "]";
    }
    return shown;
  }

 private:
  std::deque<AddedToken> tokens_;  // addresses stay
  AddedTokenFinder finder_;
};

TEST(AddedTokens, TheLongestOfThoseThatBeginFirstWins) {
  Finder finder;
  finder.add({.content = "ab"}).add({.content = "abcd"}).add({.content = "bcdef"});
  EXPECT_EQ(finder.split("xabcdef"), "x|[abcd]|ef");
  EXPECT_EQ(finder.split("xabcxbcdef"), "x|[ab]|cx|[bcdef]");
  EXPECT_EQ(finder.split(""), "");
  EXPECT_EQ(finder.split("abab"), "[ab]|[ab]");
}

TEST(AddedTokens, StripTakesWhiteSpaceAlong) {
  Finder finder;
  finder.add({.content = "<l>", .lstrip = true}).add({.content = "<r>", .rstrip = true});
  EXPECT_EQ(finder.split("a \u3000<l> b"), "a|[ \u3000<l>]| b");
  EXPECT_EQ(finder.split("a <r> \n b"), "a |[<r> \n ]|b");
  EXPECT_EQ(finder.split("<r>  <l>"), "[<r>  ]|[<l>]") << "space is not taken twice";
}

TEST(AddedTokens, SingleWordsStandAlone) {
  Finder finder;
  finder.add({.content = "cat", .single_word = true});
  EXPECT_EQ(finder.split("cat cats tomcat cat"), "[cat]| cats tomcat |[cat]");
  EXPECT_EQ(finder.split("\u00e9cat"), "\u00e9cat");
  EXPECT_EQ(finder.split("cat_ (cat)"), "cat_ (|[cat]|)");
  EXPECT_EQ(finder.split("cat\u0301"), "cat\u0301");
}

}  // namespace
}  // namespace graft::text
