// SPDX-License-Identifier: Apache-2.0
// Image files in and out. Decoding equals PIL's `Image.open(path).convert("RGB")` pixel for pixel, as VLM-R1
// reads images: alpha is dropped, not blended; 16-bit grey is cut off at 255, other 16-bit colours lose their
// lower byte; CMYK JPEGs are read as Adobe writes them; of an animation the first frame is read; EXIF
// orientation, gamma and colour profiles are not applied. (transformers 5 does otherwise with files that it
// opens itself: its load_image() turns them by EXIF, and its processors blend alpha with white.) Where PIL
// reads a damaged file, this may refuse it: checksums of PNG pixels count here.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace graft::image {

// 8-bit RGB, rows from the top, no padding: the value at (x, y, channel) is rgb[(y * width + x) * 3 +
// channel].
struct Image {
  std::int64_t width = 0;
  std::int64_t height = 0;
  std::vector<std::uint8_t> rgb;  // [height, width, 3]
};

// Larger images are refused before their pixels are allocated. It is PIL's limit: twice
// Image.MAX_IMAGE_PIXELS.
inline constexpr std::int64_t kMaxPixels = 178'956'970;

// Reads PNG, JPEG, WebP, BMP (Windows and OS/2) or GIF; the format is told by the first bytes, not by the
// name. Throws support::UserError naming the file for one that is missing, of another format, corrupt,
// truncated, empty or too large. Thread-safe.
Image load_image(const std::filesystem::path& path);

// The same for bytes in memory; `name` stands for the file in messages.
Image decode_image(std::span<const std::uint8_t> bytes, std::string_view name);

// The bytes of a PNG file: 8-bit RGB, no time stamp or text; the same image gives the same bytes (for one
// version of zlib). Throws support::UserError for an image without pixels or with a wrong number of values.
std::string encode_png(const Image& image);

// Writes encode_png() to `path` in one step. Throws support::UserError if it cannot be written.
void save_png(const std::filesystem::path& path, const Image& image);

}  // namespace graft::image
