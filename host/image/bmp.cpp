// SPDX-License-Identifier: Apache-2.0
// Windows and OS/2 bitmaps, read as PIL's BmpImagePlugin reads them, its treatment of palettes included. One
// departure: where all colours of a palette of two are black and white, PIL takes pixels of 4 and 8 bits for
// bits; they are looked up here.
#include <algorithm>
#include <array>
#include <cstddef>
#include <iterator>

#include "image/bmp_rle.h"
#include "image/decoders.h"
#include "support/strings.h"

namespace graft::image {

namespace {

using support::cat;

using Rgb = std::array<std::uint8_t, 3>;

constexpr std::int64_t kFileHeader = 14;
constexpr std::int64_t kCoreHeader = 12;  // OS/2 1: 16-bit sizes, three bytes a palette entry
constexpr std::int64_t kMasks = 54;       // where bit fields stand, in or behind the header
constexpr std::int64_t kMasksBytes = 12;
constexpr std::int64_t kInfoHeader = 40;  // the one that bit fields follow

enum Compression : std::uint32_t { kPlain = 0, kRle8 = 1, kRle4 = 2, kBitFields = 3 };

class Reader {
 public:
  Reader(Bytes bytes, std::string_view name) : bytes_(bytes), name_(name) {}

  Image read() {
    read_header();
    Image image = sized_image(width_, height_, name_);
    check_format();
    if (bits_ <= 8) read_palette();
    return compression_ == kRle8 || compression_ == kRle4 ? read_rle(std::move(image))
                                                          : read_plain(std::move(image));
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
    constexpr std::array<std::int64_t, 7> known = {kCoreHeader, kInfoHeader, 52, 56, 64, 108, 124};
    header_ = number(14, 4);
    if (std::find(known.begin(), known.end(), header_) == known.end()) {
      fail(name_, cat("the BMP file has an unknown header of ", header_, " bytes"));
    }
    if (header_ == kCoreHeader) {
      width_ = number(18, 2);
      height_ = number(20, 2);
      bits_ = number(24, 2);
    } else {
      width_ = number(18, 4);
      top_down_ = number(25, 1) == 0xFF;  // negative: rows from the top
      height_ = top_down_ ? (std::int64_t{1} << 32) - number(22, 4) : number(22, 4);
      bits_ = number(28, 2);
      compression_ = number(30, 4);
      colors_ = number(46, 4);
    }
    number(kFileHeader + header_ - 1, 1);  // all of it is there
  }

  void check_format() {
    constexpr std::array<std::int64_t, 6> known = {1, 4, 8, 16, 24, 32};
    if (std::find(known.begin(), known.end(), bits_) == known.end()) {
      fail(name_, cat("the BMP file has ", bits_, " bits a pixel; 1, 4, 8, 16, 24 and 32 are read"));
    }
    const bool is_rle = compression_ == kRle8 || compression_ == kRle4;
    if (compression_ > kBitFields || (is_rle && bits_ > 8)) {
      fail(name_, cat("the BMP file is compressed by method ", compression_, " with ", bits_,
                      " bits a pixel, which is not read"));
    }
    if (compression_ == kBitFields) read_bit_fields();
    if (colors_ == 0) colors_ = std::int64_t{1} << bits_;
    if (bits_ <= 8 && colors_ > 65536)
      fail(name_, cat("the BMP file has a palette of ", colors_, " colours"));
  }

  // 32 bits: any three bytes; 24: blue, green, red; 16: five bits each, or six of green.
  void read_bit_fields() {
    const std::array<std::uint32_t, 3> masks = {number(kMasks, 4), number(kMasks + 4, 4),
                                                number(kMasks + 8, 4)};
    constexpr std::array<std::uint32_t, 3> usual = {0xFF0000, 0xFF00, 0xFF};
    constexpr std::array<std::uint32_t, 3> six_green = {0xF800, 0x7E0, 0x1F};
    constexpr std::array<std::uint32_t, 3> five_each = {0x7C00, 0x3E0, 0x1F};
    six_green_ = masks == six_green;
    if (bits_ == 16 && (six_green_ || masks == five_each)) return;
    if (bits_ == 24 && masks == usual) return;
    if (bits_ == 32 && (masks == std::array<std::uint32_t, 3>{} || find_bytes(masks))) return;
    fail(name_, cat("the BMP file has ", bits_, " bits a pixel in fields that are not read (red ", masks[0],
                    ", green ", masks[1], ", blue ", masks[2], ')'));
  }

  // Which byte of a pixel is red, green, blue; false if a mask is not one byte.
  bool find_bytes(const std::array<std::uint32_t, 3>& masks) {
    for (std::size_t channel = 0; channel < 3; ++channel) {
      std::uint8_t byte = 0;
      while (byte < 4 && masks[channel] != std::uint32_t{0xFF} << (8 * byte)) ++byte;
      if (byte == 4) return false;
      order_[channel] = byte;
    }
    return true;
  }

  // Colours that a palette lacks are black. A palette of greys in order means that pixels are greys, also
  // those beyond its end.
  void read_palette() {
    const std::int64_t entry = header_ == kCoreHeader ? 3 : 4;
    const std::int64_t at = kFileHeader + header_;
    bool grey = true;
    for (std::int64_t i = 0; i < std::min<std::int64_t>(colors_, 256); ++i) {
      if (at + i * entry + 3 > std::ssize(bytes_)) {
        grey = false;
        break;
      }
      const std::uint8_t* stored = bytes_.data() + at + i * entry;  // blue, green, red
      const std::int64_t level = colors_ == 2 ? i * 255 : i;
      grey = grey && std::all_of(stored, stored + 3, [level](std::uint8_t value) { return value == level; });
      std::reverse_copy(stored, stored + 3, palette_[static_cast<std::size_t>(i)].begin());
    }
    if (grey && colors_ <= 2) palette_[1] = {255, 255, 255};
    if (grey && colors_ > 2) {
      for (std::size_t i = 0; i < palette_.size(); ++i) palette_[i].fill(static_cast<std::uint8_t>(i));
    }
  }

  // Where pixels begin. Some writers count no palette, some write 0.
  std::int64_t pixels_at() const {
    const std::int64_t palette = bits_ <= 8 ? colors_ * (header_ == kCoreHeader ? 3 : 4) : 0;
    const std::int64_t header_end = kFileHeader + header_;
    const std::int64_t said = number(10, 4);
    if (said == header_end) return header_end + palette;
    if (said != 0) return said;
    return header_end + palette + (compression_ == kBitFields && header_ == kInfoHeader ? kMasksBytes : 0);
  }

  // Rows as stored, from the bottom unless top-down, to rows from the top.
  std::int64_t stored_row(std::int64_t y) const { return top_down_ ? y : height_ - 1 - y; }

  Image read_plain(Image image) const {
    const std::int64_t stride = (width_ * bits_ + 31) / 32 * 4;  // rows are padded to four bytes
    const std::int64_t needed =
        pixels_at() + stride * (height_ - 1) + (width_ * bits_ + 7) / 8;  // the last padding may lack
    if (needed > std::ssize(bytes_)) {
      fail(name_, cat("the BMP file is truncated: it has ", bytes_.size(), " bytes and needs ", needed));
    }
    const std::uint8_t* const pixels = bytes_.data() + pixels_at();
    for (std::int64_t y = 0; y < height_; ++y) {
      convert_row(pixels + stored_row(y) * stride, append_row(image));
    }
    return image;
  }

  Image read_rle(Image image) const {
    const std::vector<std::uint8_t> indices =
        expand_bmp_rle(bytes_, pixels_at(), width_, height_, compression_ == kRle4);
    if (std::ssize(indices) < width_ * height_) {
      fail(name_, cat("the BMP file is truncated: its compressed pixels are ", indices.size(), " of ",
                      width_ * height_));
    }
    for (std::int64_t y = 0; y < height_; ++y) {
      const std::uint8_t* in = indices.data() + stored_row(y) * width_;
      std::uint8_t* out = append_row(image);
      for (std::int64_t x = 0; x < width_; ++x) out = std::copy_n(palette_[in[x]].data(), 3, out);
    }
    return image;
  }

  void convert_row(const std::uint8_t* in, std::uint8_t* out) const {
    for (std::int64_t x = 0; x < width_; ++x) {
      const Rgb color = bits_ <= 8    ? palette_[index_at(in, x)]
                        : bits_ == 16 ? fields(in + 2 * x)
                                      : bytes_of(in, x);
      out = std::copy_n(color.data(), 3, out);
    }
  }

  // The leftmost pixel is in the highest bits.
  std::uint8_t index_at(const std::uint8_t* in, std::int64_t x) const {
    const std::int64_t bit = x * bits_;
    const auto shift = static_cast<int>(8 - bits_ - bit % 8);
    return static_cast<std::uint8_t>((in[bit / 8] >> shift) & ((1 << bits_) - 1));
  }

  Rgb fields(const std::uint8_t* in) const {
    const int value = in[0] | in[1] << 8;
    const auto scaled = [](int field, int top) {
      return static_cast<std::uint8_t>((field & top) * 255 / top);
    };
    return {scaled(value >> (six_green_ ? 11 : 10), 31), scaled(value >> 5, six_green_ ? 63 : 31),
            scaled(value, 31)};
  }

  Rgb bytes_of(const std::uint8_t* in, std::int64_t x) const {
    const std::uint8_t* pixel = in + x * bits_ / 8;
    return {pixel[order_[0]], pixel[order_[1]], pixel[order_[2]]};
  }

  Bytes bytes_;
  std::string_view name_;
  std::int64_t header_ = 0;  // its bytes
  std::int64_t width_ = 0;
  std::int64_t height_ = 0;
  std::int64_t bits_ = 0;
  std::int64_t colors_ = 0;  // of the palette
  std::uint32_t compression_ = kPlain;
  bool top_down_ = false;
  bool six_green_ = false;
  Rgb order_ = {2, 1, 0};
  std::array<Rgb, 256> palette_{};
};

}  // namespace

Image decode_bmp(Bytes bytes, std::string_view name) {
  return Reader(bytes, name).read();
}

}  // namespace graft::image
