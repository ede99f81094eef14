// SPDX-License-Identifier: Apache-2.0
// Small raster drawing for generated scenes and result pictures. Integer arithmetic only, no antialiasing:
// the same calls give the same pixels everywhere.
//
// Coordinates are pixel edges: (0, 0) is the top left corner of the top left pixel, and the box [x0, x1) x
// [y0, y1) holds the pixels x0 … x1-1, y0 … y1-1. A pixel belongs to a shape if its centre does. What lies
// outside the image is clipped; a box with x1 <= x0 or y1 <= y0 holds nothing. Coordinates lie within ±2^14.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "image/image.h"

namespace graft::image {

struct Color {
  std::uint8_t r = 0;
  std::uint8_t g = 0;
  std::uint8_t b = 0;
};

struct Point {
  std::int64_t x = 0;
  std::int64_t y = 0;
};

struct Box {
  std::int64_t x0 = 0;
  std::int64_t y0 = 0;
  std::int64_t x1 = 0;
  std::int64_t y1 = 0;
};

// An image of one colour. Throws support::UserError if a side is < 1 or there are more than kMaxPixels
// pixels.
Image blank_image(std::int64_t width, std::int64_t height, Color color = {255, 255, 255});

void fill_rect(Image& image, const Box& box, Color color);

// The ellipse inscribed in the box: a circle if the box is a square.
void fill_circle(Image& image, const Box& box, Color color);

// Any order of corners; pixels whose centre is on an edge belong to it.
void fill_triangle(Image& image, Point a, Point b, Point c, Color color);

// The outline of the box, `thickness` pixels wide, inside it.
void draw_box(Image& image, const Box& box, Color color, std::int64_t thickness = 1);

// Text in a built-in 5x7 font, `scale` times enlarged, its top left corner at `at`. Characters advance 6 *
// scale pixels, '\n' starts a line 9 * scale lower; anything but printable ASCII is drawn as a hollow box,
// one a character.
void draw_text(Image& image, Point at, std::string_view utf8, Color color, std::int64_t scale = 1);

// Width and height that draw_text() covers.
Point text_size(std::string_view utf8, std::int64_t scale = 1);

// Copies `source` into `target` with its top left corner at `at`.
void paste(Image& target, const Image& source, Point at);

// Images side by side, top-aligned, with `gap` pixels of `background` between and below shorter ones.
Image hconcat(std::span<const Image> images, std::int64_t gap = 0, Color background = {255, 255, 255});

}  // namespace graft::image
