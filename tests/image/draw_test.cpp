// SPDX-License-Identifier: Apache-2.0
#include "image/draw.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <string>
#include <vector>

#include "tests/image/image_fixture.h"

namespace graft::image {
namespace {

constexpr Color kBlack{0, 0, 0};

// One character a pixel, '#' for black, '.' for white, '?' for another colour, a line a row.
std::string picture(const Image& image) {
  std::string shown;
  for (std::int64_t y = 0; y < image.height; ++y) {
    for (std::int64_t x = 0; x < image.width; ++x) {
      const auto* value = image.rgb.data() + (y * image.width + x) * 3;
      const int sum = value[0] + value[1] + value[2];
      shown += sum == 0 ? '#' : sum == 765 ? '.' : '?';
    }
    shown += '\n';
  }
  return shown;
}

TEST(Draw, RectanglesAreHalfOpenAndClipped) {
  Image image = blank_image(6, 3);
  fill_rect(image, {1, 1, 3, 2}, kBlack);
  fill_rect(image, {5, -7, 100, 1}, kBlack);
  fill_rect(image, {4, 1, 4, 3}, kBlack);
  fill_rect(image, {3, 2, 1, 3}, kBlack);
  EXPECT_EQ(picture(image), ".....#\n.##...\n......\n");
}

TEST(Draw, CirclesAreInscribed) {
  Image image = blank_image(8, 6);
  fill_circle(image, {1, 0, 7, 6}, kBlack);
  EXPECT_EQ(picture(image),
            "..####..\n"
            ".######.\n"
            ".######.\n"
            ".######.\n"
            ".######.\n"
            "..####..\n");
  Image flat = blank_image(9, 3);
  fill_circle(flat, {0, 0, 9, 3}, kBlack);
  EXPECT_EQ(picture(flat), ".#######.\n#########\n.#######.\n");
}

TEST(Draw, ALargeCircleIsAsLargeAsItShouldBe) {
  Image image = blank_image(400, 400);
  fill_circle(image, {0, 0, 400, 400}, kBlack);
  const std::string shown = picture(image);
  const auto area = static_cast<double>(std::count(shown.begin(), shown.end(), '#'));
  EXPECT_NEAR(area / (3.14159265358979 * 200 * 200), 1.0, 0.001);
}

TEST(Draw, TrianglesInAnyOrderOfCorners) {
  const std::array<Point, 3> corners = {Point{0, 4}, Point{8, 4}, Point{4, 0}};
  const std::string expected =
      "...##...\n"
      "..####..\n"
      ".######.\n"
      "########\n";
  std::array<int, 3> order = {0, 1, 2};
  do {
    Image image = blank_image(8, 4);
    fill_triangle(image, corners[static_cast<std::size_t>(order[0])],
                  corners[static_cast<std::size_t>(order[1])], corners[static_cast<std::size_t>(order[2])],
                  kBlack);
    EXPECT_EQ(picture(image), expected);
  } while (std::next_permutation(order.begin(), order.end()));
}

TEST(Draw, BoxesAreOutlinesInside) {
  Image image = blank_image(7, 6);
  draw_box(image, {1, 0, 6, 6}, kBlack);
  EXPECT_EQ(picture(image), ".#####.\n.#...#.\n.#...#.\n.#...#.\n.#...#.\n.#####.\n");
  draw_box(image, {1, 0, 6, 6}, kBlack, 2);
  EXPECT_EQ(picture(image), ".#####.\n.#####.\n.##.##.\n.##.##.\n.#####.\n.#####.\n");
}

TEST(Draw, TextIsReadable) {
  const std::string text = "Ab\u00e9";
  const Point size = text_size(text);
  Image image = blank_image(size.x, size.y);
  draw_text(image, {0, 0}, text, kBlack);
  EXPECT_EQ(picture(image),
            ".###..#.....#####\n"
            "#...#.#.....#...#\n"
            "#...#.#.##..#...#\n"
            "#####.##..#.#...#\n"
            "#...#.#...#.#...#\n"
            "#...#.#...#.#...#\n"
            "#...#.####..#####\n");
}

TEST(Draw, EveryPrintableCharacterHasAGlyphOfItsOwn) {
  std::vector<std::string> seen;
  for (char c = ' '; c <= '~'; ++c) {
    Image image = blank_image(5, 7);
    draw_text(image, {0, 0}, std::string(1, c), kBlack);
    const std::string shown = picture(image);
    EXPECT_EQ(std::count(seen.begin(), seen.end(), shown), 0) << c;
    seen.push_back(shown);
  }
  EXPECT_EQ(seen.size(), 95U);
}

TEST(Draw, TextScalesAndBreaksLines) {
  const Point size = text_size("a\nbc", 2);
  EXPECT_EQ(size.x, 22);
  EXPECT_EQ(size.y, 32);
  EXPECT_EQ(text_size("").x, 0);
  Image image = blank_image(12, 16);
  draw_text(image, {0, 0}, "\n|", kBlack);
  Image expected = blank_image(12, 16);
  fill_rect(expected, {2, 9, 3, 16}, kBlack);
  EXPECT_EQ(picture(image), picture(expected));
  draw_text(image, {-100, 4}, "clipped away", kBlack);  // partly outside on the left, then out on the right
  EXPECT_EQ(image.rgb.size(), 12U * 16 * 3);
}

TEST(Draw, PasteClips) {
  Image image = blank_image(4, 3);
  const Image black = blank_image(2, 2, kBlack);
  paste(image, black, {-1, -1});
  paste(image, black, {3, 2});
  paste(image, black, {9, 9});
  EXPECT_EQ(picture(image), "#...\n....\n...#\n");
}

TEST(Draw, ImagesSideBySide) {
  const std::vector<Image> images = {blank_image(1, 2, kBlack), blank_image(2, 1, {9, 9, 9})};
  EXPECT_EQ(picture(hconcat(images, 2)), "#..??\n#....\n");
  EXPECT_EQ(picture(hconcat(images, 0, kBlack)), "#??\n###\n");
}

TEST(Draw, BlankImagesHaveALeastAndAMostSize) {
  EXPECT_PRED2(contains, error_of([] { blank_image(0, 5); }), "cannot make an image of 0 x 5 pixels");
  EXPECT_PRED2(contains, error_of([] { blank_image(1 << 20, 1 << 20); }), "cannot make an image of");
  EXPECT_PRED2(contains, error_of([] { hconcat({}); }), "cannot make an image of 0 x 0 pixels");
}

TEST(Png, WritesWhatItReads) {
  Image image = blank_image(37, 5, {1, 2, 3});
  draw_text(image, {0, 0}, "png", {200, 100, 50});
  const std::string bytes = encode_png(image);
  const Image back = decode_image(as_bytes(bytes), "memory");
  EXPECT_EQ(back.width, 37);
  EXPECT_EQ(back.height, 5);
  EXPECT_EQ(back.rgb, image.rgb);
  EXPECT_EQ(encode_png(back), bytes) << "the same image, the same bytes";
}

TEST(Png, SavesToAFile) {
  const auto path =
      std::filesystem::temp_directory_path() / ("graft-save-png-" + std::to_string(::getpid()) + ".png");
  const Image image = blank_image(3, 2, {7, 8, 9});
  save_png(path, image);
  EXPECT_EQ(load_image(path).rgb, image.rgb);
  std::filesystem::remove(path);
  EXPECT_PRED2(contains, error_of([&] { save_png("/nonexistent/x.png", image); }), "/nonexistent/");
}

TEST(Png, RefusesImagesThatAreNone) {
  EXPECT_PRED2(contains, error_of([] { encode_png(Image{}); }), "cannot write an image of 0 x 0 pixels");
  EXPECT_PRED2(contains, error_of([] { encode_png(Image{2, 2, {1, 2, 3}}); }), "2 x 2 pixels with 3 values");
}

}  // namespace
}  // namespace graft::image
