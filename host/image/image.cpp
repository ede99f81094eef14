// SPDX-License-Identifier: Apache-2.0
#include "image/image.h"

#include <algorithm>
#include <array>
#include <cstddef>

#include "image/decoders.h"
#include "support/error.h"
#include "support/files.h"
#include "support/strings.h"

namespace graft::image {

namespace {

using support::cat;

bool has_at(Bytes bytes, std::size_t offset, std::string_view signature) {
  return bytes.size() >= offset + signature.size() &&
         std::equal(signature.begin(), signature.end(), bytes.begin() + static_cast<std::ptrdiff_t>(offset),
                    [](char a, std::uint8_t b) { return static_cast<std::uint8_t>(a) == b; });
}

// What a file that is not read here looks like, for the message.
std::string describe(Bytes bytes) {
  if (has_at(bytes, 0, "II*") || has_at(bytes, 0, "MM")) return "a TIFF image";
  if (has_at(bytes, 4, "ftyp")) return "an AVIF, HEIF or video file";
  if (has_at(bytes, 0, "<")) return "a text that begins with '<', perhaps an HTML page or SVG";
  constexpr std::string_view digits = "0123456789abcdef";
  std::string shown = "a file that begins with the bytes";
  for (const std::uint8_t byte : bytes.first(std::min<std::size_t>(bytes.size(), 8))) {
    shown += {' ', digits[byte >> 4], digits[byte & 15]};
  }
  return shown;
}

}  // namespace

void fail(std::string_view name, std::string_view problem) {
  throw support::UserError(cat(name, ": ", problem));
}

Image sized_image(std::int64_t width, std::int64_t height, std::string_view name) {
  if (width < 1 || height < 1) fail(name, cat("the image is ", width, " x ", height, " pixels"));
  if (width > kMaxPixels / height) {
    fail(name,
         cat("the image is ", width, " x ", height, " pixels; at most ", kMaxPixels, " in all are read"));
  }
  Image image{.width = width, .height = height, .rgb = {}};
  image.rgb.reserve(static_cast<std::size_t>(width * height * 3));
  return image;
}

std::uint8_t* append_row(Image& image) {
  const std::size_t filled = image.rgb.size();
  image.rgb.resize(filled + static_cast<std::size_t>(image.width * 3));
  return image.rgb.data() + filled;
}

Image decode_image(std::span<const std::uint8_t> bytes, std::string_view name) {
  if (bytes.empty()) fail(name, "the image file is empty");
  if (has_at(bytes, 0, "\x89PNG\r\n\x1a\n")) return decode_png(bytes, name);
  if (has_at(bytes, 0, "\xFF\xD8\xFF")) return decode_jpeg(bytes, name);
  if (has_at(bytes, 0, "RIFF") && has_at(bytes, 8, "WEBP")) return decode_webp(bytes, name);
  if (has_at(bytes, 0, "BM")) return decode_bmp(bytes, name);
  if (has_at(bytes, 0, "GIF87a") || has_at(bytes, 0, "GIF89a")) return decode_gif(bytes, name);
  fail(name, cat("not an image that graft reads (PNG, JPEG, WebP, BMP, GIF): found ", describe(bytes)));
}

Image load_image(const std::filesystem::path& path) {
  const std::string bytes = support::read_file(path);
  return decode_image({reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()}, path.string());
}

void save_png(const std::filesystem::path& path, const Image& image) {
  support::write_file_atomic(path, encode_png(image));
}

}  // namespace graft::image
