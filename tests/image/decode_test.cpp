// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "image/image.h"
#include "tests/image/image_fixture.h"

namespace graft::image {
namespace {

std::vector<std::uint8_t> from_hex(const std::string& hex) {
  std::vector<std::uint8_t> bytes;
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2) {
    bytes.push_back(static_cast<std::uint8_t>(std::stoi(hex.substr(i, 2), nullptr, 16)));
  }
  return bytes;
}

nlohmann::json cases() {
  return nlohmann::json::parse(support::read_file(image_data("cases.json")));
}

std::vector<std::string> case_names() {
  std::vector<std::string> names;
  for (const auto& entry : cases()) names.push_back(entry.at("file"));
  return names;
}

// All lengths near both ends, every 7th between.
std::vector<std::size_t> cuts(std::size_t size) {
  std::vector<std::size_t> lengths;
  for (std::size_t length = 1; length < size; ++length) {
    if (length < 80 || length + 40 > size || length % 7 == 0) lengths.push_back(length);
  }
  return lengths;
}

TEST(DecodeImage, PixelsAreThoseOfPil) {
  int count = 0;
  for (const auto& entry : cases()) {
    const std::string file = entry.at("file");
    const Image image = load_image(image_data(file));
    EXPECT_EQ(image.width, entry.at("width").get<std::int64_t>()) << file;
    EXPECT_EQ(image.height, entry.at("height").get<std::int64_t>()) << file;
    EXPECT_EQ(image.rgb, from_hex(entry.at("rgb"))) << file;
    ++count;
  }
  EXPECT_GE(count, 30);
}

TEST(DecodeImage, TheBytesTellTheFormatNotTheName) {
  const std::string bytes = support::read_file(image_data("chroma_444.jpg"));
  EXPECT_EQ(decode_image(as_bytes(bytes), "picture.png").rgb, load_image(image_data("chroma_444.jpg")).rgb);
}

// A file cut anywhere before its last pixel is refused; behind it (the end marker of PNG) it may pass, as in
// PIL, but then with all pixels.
TEST(DecodeImage, TruncatedFilesAreErrors) {
  for (const std::string& file : case_names()) {
    const std::string bytes = support::read_file(image_data(file));
    const Image whole = load_image(image_data(file));
    for (const std::size_t length : cuts(bytes.size())) {
      const std::string part = bytes.substr(0, length);
      const bool may_pass = (file.ends_with(".png") && length + 12 >= bytes.size()) ||
                            (file.ends_with(".bmp") && length + 4 > bytes.size());
      try {
        EXPECT_EQ(decode_image(as_bytes(part), file).rgb, whole.rgb) << file << " cut to " << length;
        EXPECT_TRUE(may_pass) << file << " cut to " << length;
      } catch (const support::UserError& error) {
        EXPECT_TRUE(contains(error.what(), file)) << error.what();
      }
    }
  }
}

// Whatever one changed byte does, it ends in an image or in a message that names the file.
TEST(DecodeImage, ChangedBytesNeverCrash) {
  int refused = 0;
  for (const std::string& file : case_names()) {
    const std::string bytes = support::read_file(image_data(file));
    for (std::size_t i = 0; i < bytes.size(); i += 3) {
      std::string changed = bytes;
      changed[i] = static_cast<char>(changed[i] ^ (i % 2 == 0 ? 0xFF : 0x10));
      try {
        const Image image = decode_image(as_bytes(changed), file);
        EXPECT_EQ(image.rgb.size(), static_cast<std::size_t>(image.width * image.height * 3));
      } catch (const support::UserError& error) {
        EXPECT_TRUE(contains(error.what(), file)) << error.what();
        ++refused;
      }
    }
  }
  EXPECT_GT(refused, 100);
}

TEST(DecodeImage, SaysWhatWasFound) {
  EXPECT_PRED2(contains, error_of([] { load_image("/nonexistent/a.png"); }), "/nonexistent/a.png");
  EXPECT_PRED2(contains, decode_error(""), "some/file: the image file is empty");
  EXPECT_PRED2(contains, decode_error("GIF89a"), "found a GIF image");
  EXPECT_PRED2(contains, decode_error("<html>"), "perhaps an HTML page");
  EXPECT_PRED2(contains, decode_error("II*"), "found a TIFF image");
  EXPECT_PRED2(contains,
               decode_error(std::string("\0\0\0\x20"
                                        "ftypavif",
                                        12)),
               "found an AVIF");
  EXPECT_PRED2(contains, decode_error("abc"), "begins with the bytes 61 62 63");
  EXPECT_PRED2(contains, decode_error("\x89PNG\r\n\x1a\n"), "the PNG file is damaged or truncated");
  EXPECT_PRED2(contains, decode_error("\xFF\xD8\xFF"), "the JPEG file is damaged or truncated");
  EXPECT_PRED2(contains, decode_error(std::string("RIFF\0\0\0\0WEBP", 12)),
               "the WebP file is damaged or truncated");
  EXPECT_PRED2(contains, decode_error("BM"), "the BMP file is truncated");
}

// A BMP header: width and height at 18 and 22, bits at 28, compression at 30.
std::string bmp_with(std::size_t offset, std::uint32_t value) {
  std::string bytes = support::read_file(image_data("rgb.bmp"));
  for (std::size_t i = 0; i < (offset == 28 ? 2U : 4U); ++i)
    bytes[offset + i] = static_cast<char>(value >> (8 * i));
  return bytes;
}

TEST(DecodeImage, SizesOutOfRangeAreErrors) {
  EXPECT_PRED2(contains, decode_error(bmp_with(18, 0)), "the image is 0 x 13 pixels");
  EXPECT_PRED2(contains, decode_error(bmp_with(18, 0xFFFFFFFF)), "the image is -1 x 13 pixels");
  EXPECT_PRED2(contains, decode_error(bmp_with(22, 0x7FFFFFFF)), "at most 268435456 in all are read");
  EXPECT_PRED2(contains, decode_error(bmp_with(22, 0x80000000)), "the image is 17 x 2147483648 pixels");
  EXPECT_PRED2(contains, decode_error(bmp_with(28, 16)), "has 16 bits a pixel");
  EXPECT_PRED2(contains, decode_error(bmp_with(30, 1)), "is compressed (method 1)");
}

TEST(DecodeImage, ATopDownBmpIsTheSamePictureUpsideDown) {
  const Image normal = load_image(image_data("rgb.bmp"));
  const Image flipped = decode_image(as_bytes(bmp_with(22, static_cast<std::uint32_t>(-13))), "flipped");
  ASSERT_EQ(flipped.height, 13);
  const auto row_bytes = static_cast<std::ptrdiff_t>(normal.width * 3);
  for (std::ptrdiff_t y = 0; y < 13; ++y) {
    EXPECT_TRUE(std::equal(normal.rgb.begin() + y * row_bytes, normal.rgb.begin() + (y + 1) * row_bytes,
                           flipped.rgb.begin() + (12 - y) * row_bytes));
  }
}

}  // namespace
}  // namespace graft::image
