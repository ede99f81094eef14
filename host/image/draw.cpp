// SPDX-License-Identifier: Apache-2.0
#include "image/draw.h"

#include <algorithm>
#include <cstddef>
#include <utility>

#include "image/font.h"
#include "support/error.h"
#include "support/strings.h"

namespace graft::image {

namespace {

constexpr std::int64_t kAdvance = kGlyphWidth + 1;
constexpr std::int64_t kLineHeight = kGlyphHeight + 2;

std::uint8_t* pixel(Image& image, std::int64_t x, std::int64_t y) {
  return image.rgb.data() + (y * image.width + x) * 3;
}

void set(Image& image, std::int64_t x, std::int64_t y, Color color) {
  std::uint8_t* out = pixel(image, x, y);
  out[0] = color.r;
  out[1] = color.g;
  out[2] = color.b;
}

Box clipped(const Box& box, const Image& image) {
  return {std::max<std::int64_t>(box.x0, 0), std::max<std::int64_t>(box.y0, 0), std::min(box.x1, image.width),
          std::min(box.y1, image.height)};
}

// Colours the pixels of the box for which `inside(x, y)` holds.
template <typename Inside>
void fill_where(Image& image, const Box& box, Color color, Inside inside) {
  const Box area = clipped(box, image);
  for (std::int64_t y = area.y0; y < area.y1; ++y) {
    for (std::int64_t x = area.x0; x < area.x1; ++x) {
      if (inside(x, y)) set(image, x, y, color);
    }
  }
}

// Twice the cross product of a-b with a to the centre of pixel (x, y): its sign tells the side of the line.
std::int64_t side(Point a, Point b, std::int64_t x, std::int64_t y) {
  return (b.x - a.x) * (2 * y + 1 - 2 * a.y) - (b.y - a.y) * (2 * x + 1 - 2 * a.x);
}

void draw_glyph(Image& image, Point at, const Glyph& glyph, Color color, std::int64_t scale) {
  for (std::int64_t row = 0; row < kGlyphHeight; ++row) {
    for (std::int64_t column = 0; column < kGlyphWidth; ++column) {
      if ((glyph[static_cast<std::size_t>(row)] >> (kGlyphWidth - 1 - column) & 1) == 0) continue;
      const Point corner{at.x + column * scale, at.y + row * scale};
      fill_rect(image, {corner.x, corner.y, corner.x + scale, corner.y + scale}, color);
    }
  }
}

bool continues_character(char byte) {
  return (static_cast<std::uint8_t>(byte) & 0xC0) == 0x80;
}

}  // namespace

Image blank_image(std::int64_t width, std::int64_t height, Color color) {
  if (width < 1 || height < 1 || width > kMaxPixels / height) {
    throw support::UserError(support::cat("cannot make an image of ", width, " x ", height,
                                          " pixels; it needs 1 to ", kMaxPixels, " of them"));
  }
  Image image{.width = width, .height = height, .rgb = {}};
  image.rgb.resize(static_cast<std::size_t>(width * height * 3));
  fill_rect(image, {0, 0, width, height}, color);
  return image;
}

void fill_rect(Image& image, const Box& box, Color color) {
  fill_where(image, box, color, [](std::int64_t, std::int64_t) { return true; });
}

void fill_circle(Image& image, const Box& box, Color color) {
  const std::int64_t width = box.x1 - box.x0;
  const std::int64_t height = box.y1 - box.y0;
  if (width < 1 || height < 1) return;
  // With dx, dy twice the distance of a pixel's centre from the box's: (dx / width)^2 + (dy / height)^2 <= 1.
  const auto inside = [&](std::int64_t x, std::int64_t y) {
    const std::int64_t dx = (2 * x + 1 - box.x0 - box.x1) * height;
    const std::int64_t dy = (2 * y + 1 - box.y0 - box.y1) * width;
    return dx * dx + dy * dy <= width * width * height * height;
  };
  fill_where(image, box, color, inside);
}

void fill_triangle(Image& image, Point a, Point b, Point c, Color color) {
  const auto [left, right] = std::minmax({a.x, b.x, c.x});
  const auto [top, bottom] = std::minmax({a.y, b.y, c.y});
  if ((b.x - a.x) * (c.y - a.y) < (b.y - a.y) * (c.x - a.x)) std::swap(b, c);
  const auto inside = [&](std::int64_t x, std::int64_t y) {
    return side(a, b, x, y) >= 0 && side(b, c, x, y) >= 0 && side(c, a, x, y) >= 0;
  };
  fill_where(image, {left, top, right, bottom}, color, inside);
}

void draw_box(Image& image, const Box& box, Color color, std::int64_t thickness) {
  const Box inner{box.x0 + thickness, box.y0 + thickness, box.x1 - thickness, box.y1 - thickness};
  fill_where(image, box, color, [&inner](std::int64_t x, std::int64_t y) {
    return x < inner.x0 || x >= inner.x1 || y < inner.y0 || y >= inner.y1;
  });
}

void draw_text(Image& image, Point at, std::string_view utf8, Color color, std::int64_t scale) {
  Point cursor = at;
  for (const char byte : utf8) {
    if (continues_character(byte)) continue;
    if (byte == '\n') {
      cursor = {at.x, cursor.y + kLineHeight * scale};
      continue;
    }
    const bool printable = byte >= ' ' && byte <= '~';
    draw_glyph(image, cursor, printable ? kGlyphs[static_cast<std::size_t>(byte - ' ')] : kHollowBox, color,
               scale);
    cursor.x += kAdvance * scale;
  }
}

Point text_size(std::string_view utf8, std::int64_t scale) {
  std::int64_t columns = 0;
  std::int64_t widest = 0;
  std::int64_t lines = 1;
  for (const char byte : utf8) {
    if (continues_character(byte)) continue;
    if (byte == '\n') {
      ++lines;
      columns = 0;
    } else {
      widest = std::max(widest, ++columns);
    }
  }
  if (widest == 0) return {0, 0};
  return {(widest * kAdvance - 1) * scale, ((lines - 1) * kLineHeight + kGlyphHeight) * scale};
}

void paste(Image& target, const Image& source, Point at) {
  const Box area = clipped({at.x, at.y, at.x + source.width, at.y + source.height}, target);
  if (area.x1 <= area.x0) return;
  for (std::int64_t y = area.y0; y < area.y1; ++y) {
    const std::uint8_t* in = source.rgb.data() + ((y - at.y) * source.width + (area.x0 - at.x)) * 3;
    std::copy_n(in, (area.x1 - area.x0) * 3, pixel(target, area.x0, y));
  }
}

Image hconcat(std::span<const Image> images, std::int64_t gap, Color background) {
  std::int64_t width = 0;
  std::int64_t height = 0;
  for (const Image& image : images) {
    width += image.width + (width == 0 ? 0 : gap);
    height = std::max(height, image.height);
  }
  Image result = blank_image(width, height, background);
  std::int64_t x = 0;
  for (const Image& image : images) {
    paste(result, image, {x, 0});
    x += image.width + gap;
  }
  return result;
}

}  // namespace graft::image
