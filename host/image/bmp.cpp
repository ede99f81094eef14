// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdlib>
#include <iterator>

#include "image/decoders.h"
#include "support/strings.h"

namespace graft::image {

namespace {

using support::cat;

constexpr std::size_t kFileHeader = 14;
constexpr std::int64_t kCoreHeader = 12;  // OS/2: 16-bit sizes, three bytes a palette entry
constexpr std::uint32_t kUncompressed = 0;
constexpr std::uint32_t kBitFields = 3;

class Reader {
 public:
  Reader(Bytes bytes, std::string_view name) : bytes_(bytes), name_(name) {}

  Image read() {
    read_header();
    Image image = sized_image(width_, height_, name_);
    const std::int64_t stride = (width_ * bits_ + 31) / 32 * 4;  // rows are padded to four bytes
    const std::int64_t needed =
        pixels_ + stride * (height_ - 1) + width_ * bits_ / 8;  // the last padding may lack
    if (needed > std::ssize(bytes_)) {
      fail(name_, cat("the BMP file is truncated: it has ", bytes_.size(), " bytes and needs ", needed));
    }
    for (std::int64_t y = 0; y < height_; ++y) {
      const std::int64_t stored = top_down_ ? y : height_ - 1 - y;
      convert_row(bytes_.data() + pixels_ + stored * stride, append_row(image));
    }
    return image;
  }

 private:
  std::uint32_t number(std::int64_t offset, int size) const {
    if (offset + size > std::ssize(bytes_))
      fail(name_, "the BMP file is truncated: its header is not complete");
    std::uint32_t value = 0;
    for (int i = 0; i < size; ++i) {
      value |= static_cast<std::uint32_t>(bytes_[static_cast<std::size_t>(offset + i)]) << (8 * i);
    }
    return value;
  }

  void read_header() {
    pixels_ = number(10, 4);
    const std::int64_t header = number(14, 4);
    if (header == kCoreHeader) {
      width_ = number(18, 2);
      height_ = number(20, 2);
      bits_ = number(24, 2);
    } else if (header >= 40 && header <= 124) {
      width_ = static_cast<std::int32_t>(number(18, 4));
      height_ = static_cast<std::int32_t>(number(22, 4));
      bits_ = number(28, 2);
      check_compression(number(30, 4));
    } else {
      fail(name_, cat("the BMP file has an unknown header of ", header, " bytes"));
    }
    top_down_ = height_ < 0;
    height_ = std::abs(height_);
    if (bits_ != 8 && bits_ != 24 && bits_ != 32) {
      fail(name_, cat("the BMP file has ", bits_, " bits a pixel; 8, 24 and 32 are read"));
    }
    if (bits_ == 8) read_palette(header);
  }

  // Bit fields that say what 32 bits mean anyway are common.
  void check_compression(std::uint32_t compression) const {
    if (compression == kUncompressed) return;
    const bool usual = compression == kBitFields && bits_ == 32 && number(54, 4) == 0xFF0000 &&
                       number(58, 4) == 0xFF00 && number(62, 4) == 0xFF;
    if (!usual)
      fail(name_, cat("the BMP file is compressed (method ", compression, "); only plain ones are read"));
  }

  void read_palette(std::int64_t header) {
    const std::int64_t entry = header == kCoreHeader ? 3 : 4;
    const std::int64_t used = header == kCoreHeader ? 0 : number(46, 4);
    const std::int64_t count = used == 0 ? 256 : std::min<std::int64_t>(used, 256);
    for (std::int64_t i = 0; i < count; ++i) {
      const std::int64_t offset = static_cast<std::int64_t>(kFileHeader) + header + i * entry;
      for (std::int64_t channel = 0; channel < 3; ++channel) {  // stored blue, green, red
        palette_[static_cast<std::size_t>(i)][static_cast<std::size_t>(2 - channel)] =
            static_cast<std::uint8_t>(number(offset + channel, 1));
      }
    }
  }

  void convert_row(const std::uint8_t* in, std::uint8_t* out) const {
    for (std::int64_t x = 0; x < width_; ++x, in += bits_ / 8, out += 3) {
      if (bits_ == 8) {
        std::copy_n(palette_[*in].data(), 3, out);
      } else {
        std::reverse_copy(in, in + 3, out);  // blue, green, red and perhaps a fourth byte
      }
    }
  }

  Bytes bytes_;
  std::string_view name_;
  std::int64_t pixels_ = 0;  // where they begin
  std::int64_t width_ = 0;
  std::int64_t height_ = 0;
  std::int64_t bits_ = 0;
  bool top_down_ = false;
  std::array<std::array<std::uint8_t, 3>, 256> palette_{};
};

}  // namespace

Image decode_bmp(Bytes bytes, std::string_view name) {
  return Reader(bytes, name).read();
}

}  // namespace graft::image
