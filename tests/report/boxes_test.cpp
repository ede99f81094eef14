// SPDX-License-Identifier: Apache-2.0
#include "report/boxes.h"

#include <gtest/gtest.h>

#include <string>

namespace graft::report {
namespace {

TEST(LastBox, IsTheLastListOfExactlyFourNumbers) {
  EXPECT_EQ(last_box("[1, 2, 3, 4] then [5,6.5,7,-8] and [9, 10]"), (Corners{5, 6.5, 7, -8}));
  EXPECT_EQ(last_box("{\"bbox_2d\": [ 1,2 , 3,4 ]}"), (Corners{1, 2, 3, 4}));
  EXPECT_EQ(last_box("[[1, 2, 3, 4]]"), (Corners{1, 2, 3, 4}));
}

TEST(LastBox, IsNothingForOtherTexts) {
  for (const char* text :
       {"", "[1, 2, 3]", "[1, 2, 3, 4, 5]", "[1, 2, 3, x]", "1, 2, 3, 4]", "[1, 2, 3, 4", "[nan, 1, 2, 3]"}) {
    EXPECT_EQ(last_box(text), std::nullopt) << text;
  }
}

TEST(LastBox, TakesLinearTimeOnHostileText) {
  EXPECT_EQ(last_box(std::string(1 << 20, '[')), std::nullopt);
  std::string text;
  for (int i = 0; i < 200000; ++i) text += "[1,2,3,";
  EXPECT_EQ(last_box(text), std::nullopt);
}

}  // namespace
}  // namespace graft::report
