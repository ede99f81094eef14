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
  EXPECT_GE(count, 50);
}

TEST(DecodeImage, TheBytesTellTheFormatNotTheName) {
  const std::string bytes = support::read_file(image_data("chroma_444.jpg"));
  EXPECT_EQ(decode_image(as_bytes(bytes), "picture.png").rgb, load_image(image_data("chroma_444.jpg")).rgb);
}

// A file cut anywhere before its last pixel is refused; behind it (the end markers of PNG, GIF and compressed
// BMP) it may pass, as in PIL, but then with all pixels.
TEST(DecodeImage, TruncatedFilesAreErrors) {
  for (const std::string& file : case_names()) {
    const std::string bytes = support::read_file(image_data(file));
    const Image whole = load_image(image_data(file));
    const std::size_t second_frame = bytes.find("fcTL", bytes.find("IDAT"));
    for (const std::size_t length : cuts(bytes.size())) {
      const std::string part = bytes.substr(0, length);
      const bool may_pass = (file == "animated.png" && length + 4 >= second_frame) ||
                            (file.ends_with(".png") && length + 12 >= bytes.size()) ||
                            (file.ends_with(".bmp") && length + 6 > bytes.size()) ||
                            (file.ends_with(".gif") && length + 4 >= bytes.size());
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
  EXPECT_PRED2(contains, decode_error("GIF89a"), "the GIF file is truncated");
  EXPECT_PRED2(contains, decode_error("GIF88a"),
               "(PNG, JPEG, WebP, BMP, GIF): found a file that begins with");
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

// A BMP header: its size at 14, width and height at 18 and 22, bits at 28, compression at 30.
std::string bmp_with(std::size_t offset, std::uint32_t value) {
  std::string bytes = support::read_file(image_data("rgb.bmp"));
  for (std::size_t i = 0; i < (offset == 28 ? 2U : 4U); ++i)
    bytes[offset + i] = static_cast<char>(value >> (8 * i));
  return bytes;
}

TEST(DecodeImage, SizesOutOfRangeAreErrors) {
  EXPECT_PRED2(contains, decode_error(bmp_with(18, 0)), "the image is 0 x 13 pixels");
  EXPECT_PRED2(contains, decode_error(bmp_with(18, 0xFFFFFFFF)), "the image is 4294967295 x 13 pixels");
  EXPECT_PRED2(contains, decode_error(bmp_with(22, 0x7FFFFFFF)), "at most 178956970 in all are read");
  EXPECT_PRED2(contains, decode_error(bmp_with(22, 0x80000000)), "the image is 17 x 2147483648 pixels");
  EXPECT_PRED2(contains, decode_error(bmp_with(28, 2)),
               "has 2 bits a pixel; 1, 4, 8, 16, 24 and 32 are read");
  EXPECT_PRED2(contains, decode_error(bmp_with(30, 1)), "compressed by method 1 with 24 bits a pixel");
  EXPECT_PRED2(contains, decode_error(bmp_with(30, 4)), "compressed by method 4");
  EXPECT_PRED2(contains, decode_error(bmp_with(30, 3)), "24 bits a pixel in fields that are not read");
  EXPECT_PRED2(contains, decode_error(bmp_with(14, 41)), "an unknown header of 41 bytes");
}

// The frame header of a JPEG: height and width behind marker, length and precision.
TEST(DecodeImage, ASmallFileCannotPromiseALargeImage) {
  std::string jpeg = support::read_file(image_data("progressive.jpg"));
  const std::size_t frame = jpeg.find("\xFF\xC2");
  ASSERT_NE(frame, std::string::npos);
  for (const std::size_t offset : {5U, 7U}) jpeg.replace(frame + offset, 2, "\x30\x00", 2);
  EXPECT_PRED2(contains, decode_error(jpeg), "the JPEG file is truncated");
  for (const std::size_t offset : {5U, 7U}) jpeg.replace(frame + offset, 2, "\xFF\xDC", 2);
  EXPECT_PRED2(contains, decode_error(jpeg), "the image is 65500 x 65500 pixels; at most");
}

// Where PIL takes 8 bits for one: its pixels would be 0, 0, 0, 0.
TEST(DecodeImage, ABmpOfBlackAndWhiteInBytesIsLookedUp) {
  std::string bytes = support::read_file(image_data("greys_16.bmp"));
  const auto set = [&](std::size_t offset, std::uint32_t value) {
    for (std::size_t i = 0; i < 4; ++i) bytes[offset + i] = static_cast<char>(value >> (8 * i));
  };
  bytes.resize(54);
  set(10, 62);
  set(18, 4);
  set(22, 1);
  set(46, 2);
  bytes += std::string("\0\0\0\0\xFF\xFF\xFF\0\0\1\1\0", 12);
  EXPECT_EQ(decode_image(as_bytes(bytes), "bytes").rgb,
            (std::vector<std::uint8_t>{0, 0, 0, 255, 255, 255, 255, 255, 255, 0, 0, 0}));
}

// A GIF of 2 x 1 pixels of 2 bits: its codes are 3 bits wide.
std::string gif_with_codes(std::string_view data) {
  std::string bytes("GIF89a\2\0\1\0\0\0\0,\0\0\0\0\2\0\1\0\0\2", 24);
  bytes += static_cast<char>(data.size());
  return bytes.append(data) + std::string("\0;", 2);
}

TEST(DecodeImage, CodesOfAGifAreChecked) {
  const std::string good = gif_with_codes(std::string("\x4C\x01", 2));  // clear (4), 1, 5: end too early
  EXPECT_PRED2(contains, decode_error(good), "it has too few pixels");
  const std::string whole = gif_with_codes(std::string("\x4C\x0A", 2));  // clear, 1, 1, 5
  EXPECT_EQ(decode_image(as_bytes(whole), "gif").rgb, std::vector<std::uint8_t>(6, 1));
  EXPECT_PRED2(contains, decode_error(gif_with_codes("\x74")), "code 6 has no meaning yet");
  EXPECT_PRED2(contains, decode_error(gif_with_codes("")), "too few pixels");
  std::string empty = whole;
  empty[18] = 0;
  EXPECT_PRED2(contains, decode_error(empty), "the first frame of the GIF file is empty");
  std::string wide = whole;
  wide[23] = 12;
  EXPECT_PRED2(contains, decode_error(wide), "its codes begin with 12 bits");
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
