// SPDX-License-Identifier: Apache-2.0
// One decoder a format. Each takes the bytes of a whole file that begins with the format's signature and
// throws support::UserError with `name` in it. Thread-safe.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "image/image.h"

namespace graft::image {

using Bytes = std::span<const std::uint8_t>;

Image decode_png(Bytes bytes, std::string_view name);
Image decode_jpeg(Bytes bytes, std::string_view name);
Image decode_webp(Bytes bytes, std::string_view name);
Image decode_bmp(Bytes bytes, std::string_view name);
Image decode_gif(Bytes bytes, std::string_view name);

// Throws "<name>: <problem>".
[[noreturn]] void fail(std::string_view name, std::string_view problem);

// An image of this size with room for its pixels reserved but none there yet, so that a file that promises
// more than it holds costs no memory. Throws if a side is < 1 or there are more than kMaxPixels pixels.
Image sized_image(std::int64_t width, std::int64_t height, std::string_view name);

// Makes room for the next row and returns it: width * 3 values.
std::uint8_t* append_row(Image& image);

}  // namespace graft::image
