// SPDX-License-Identifier: Apache-2.0
// The first frame of a GIF, as PIL's GifImagePlugin reads it.
#include <algorithm>
#include <array>
#include <cstddef>
#include <iterator>
#include <optional>

#include "image/decoders.h"
#include "support/strings.h"

namespace graft::image {

namespace {

using support::cat;

using Palette = std::array<std::array<std::uint8_t, 3>, 256>;

constexpr int kMaxBits = 12;  // of a code
constexpr std::size_t kMaxCodes = std::size_t{1} << kMaxBits;

struct Frame {
  std::int64_t x = 0, y = 0, width = 0, height = 0;
  bool interlaced = false;
};

// Reads bytes in order; throws at the end of the file.
class Cursor {
 public:
  Cursor(Bytes bytes, std::string_view name) : rest_(bytes), name_(name) {}

  Bytes take(std::size_t count) {
    if (count > rest_.size()) fail(name_, "the GIF file is truncated");
    const Bytes taken = rest_.first(count);
    rest_ = rest_.subspan(count);
    return taken;
  }
  std::uint8_t byte() { return take(1)[0]; }
  // The next block of data; empty at the end of its list.
  Bytes block() { return take(byte()); }

 private:
  Bytes rest_;
  std::string_view name_;
};

std::int64_t number_at(Bytes bytes, std::size_t offset) {
  return bytes[offset] | bytes[offset + 1] << 8;
}

// Codes of a growing number of bits, lowest bits first, across blocks of data.
class Codes {
 public:
  explicit Codes(Cursor& cursor) : cursor_(cursor) {}

  // Nothing after the last block.
  std::optional<std::size_t> next(int bits) {
    while (held_ < bits) {
      if (block_.empty()) block_ = cursor_.block();
      if (block_.empty()) return std::nullopt;
      buffer_ |= static_cast<std::uint32_t>(block_[0]) << held_;
      block_ = block_.subspan(1);
      held_ += 8;
    }
    const std::size_t code = buffer_ & ((1U << bits) - 1);
    buffer_ >>= bits;
    held_ -= bits;
    return code;
  }

 private:
  Cursor& cursor_;
  Bytes block_;
  std::uint32_t buffer_ = 0;
  int held_ = 0;
};

// LZW: each code stands for a pixel after what another code stands for.
class Decompressor {
 public:
  Decompressor(Cursor& cursor, std::string_view name) : codes_(cursor), name_(name) {
    first_bits_ = cursor.byte();
    if (first_bits_ < 1 || first_bits_ >= kMaxBits) {
      fail(name_, cat("the GIF file is damaged: its codes begin with ", first_bits_, " bits"));
    }
    clear_ = std::size_t{1} << first_bits_;
    start_over();
  }

  // The next `count` pixels.
  void read(std::uint8_t* out, std::int64_t count) {
    while (count > 0) {
      if (waiting_ == 0) expand_next();
      const std::int64_t taken = std::min<std::int64_t>(count, static_cast<std::int64_t>(waiting_));
      for (std::int64_t i = 0; i < taken; ++i) *out++ = stack_[--waiting_];
      count -= taken;
    }
  }

 private:
  void start_over() {
    bits_ = first_bits_ + 1;
    used_ = clear_ + 2;  // clear and end have codes of their own
    before_.reset();
  }

  void expand_next() {
    for (;;) {
      const auto code = codes_.next(bits_);
      if (!code || *code == clear_ + 1) fail(name_, "the GIF file is truncated: it has too few pixels");
      if (*code != clear_) {
        expand(*code);
        return;
      }
      start_over();
    }
  }

  // Puts the pixels of `code` on the stack, the first one on top, and makes the next code.
  void expand(std::size_t code) {
    if (before_ ? code > used_ || (code == used_ && used_ == kMaxCodes) : code >= clear_) {
      fail(name_, cat("the GIF file is damaged: code ", code, " has no meaning yet"));
    }
    std::size_t at = code;
    if (code == used_) {  // the one that is made below: what came before, and its own first pixel again
      stack_[waiting_++] = first_;
      at = *before_;
    }
    while (at >= clear_) {
      stack_[waiting_++] = last_[at];
      at = prefix_[at];
    }
    first_ = static_cast<std::uint8_t>(at);
    stack_[waiting_++] = first_;
    if (before_ && used_ < kMaxCodes) {
      prefix_[used_] = static_cast<std::uint16_t>(*before_);
      last_[used_] = first_;
      ++used_;
      if (used_ == std::size_t{1} << bits_ && bits_ < kMaxBits) ++bits_;
    }
    before_ = code;
  }

  Codes codes_;
  std::string_view name_;
  int first_bits_ = 0, bits_ = 0;
  std::size_t clear_ = 0, used_ = 0;
  std::optional<std::size_t> before_;  // the code before this one, since the last clear
  std::uint8_t first_ = 0;             // its first pixel
  std::array<std::uint16_t, kMaxCodes> prefix_{};
  std::array<std::uint8_t, kMaxCodes> last_{};
  std::array<std::uint8_t, kMaxCodes + 1> stack_{};
  std::size_t waiting_ = 0;  // on the stack
};

class Reader {
 public:
  Reader(Bytes bytes, std::string_view name) : cursor_(bytes, name), name_(name) {}

  Image read() {
    const Bytes screen = cursor_.take(13);
    width_ = number_at(screen, 6);
    height_ = number_at(screen, 8);
    for (std::size_t i = 0; i < palette_.size(); ++i) palette_[i].fill(static_cast<std::uint8_t>(i));
    read_palette(screen[10]);
    return read_pixels(find_frame());
  }

 private:
  // What flags say of a palette. One that lists the greys in order is none: then pixels are greys.
  void read_palette(std::uint8_t flags) {
    if ((flags & 0x80) == 0) return;
    const Bytes colors = cursor_.take(std::size_t{3} << ((flags & 7) + 1));
    bool grey = true;
    for (std::size_t i = 0; i < colors.size(); ++i) grey = grey && colors[i] == i / 3;
    for (std::size_t i = 0; i < palette_.size(); ++i)
      palette_[i].fill(grey ? static_cast<std::uint8_t>(i) : 0);
    for (std::size_t i = 0; i < colors.size(); ++i) palette_[i / 3][i % 3] = colors[i];
  }

  Frame find_frame() {
    for (;;) {
      const std::uint8_t kind = cursor_.byte();
      if (kind == '!') {
        read_extension();
      } else if (kind == ',') {
        return read_frame();
      } else if (kind == ';') {
        fail(name_, "the GIF file has no image");
      }
    }
  }

  void read_extension() {
    const bool is_control = cursor_.byte() == 0xF9;
    Bytes block = cursor_.block();
    if (is_control && block.size() >= 4 && (block[0] & 1) != 0) background_ = block[3];
    while (!block.empty()) block = cursor_.block();
  }

  Frame read_frame() {
    const Bytes head = cursor_.take(9);
    const Frame frame{number_at(head, 0), number_at(head, 2), number_at(head, 4), number_at(head, 6),
                      (head[8] & 0x40) != 0};
    width_ = std::max(width_, frame.x + frame.width);
    height_ = std::max(height_, frame.y + frame.height);
    read_palette(head[8]);
    return frame;
  }

  // Around the frame is the transparent colour, or colour 0.
  Image read_pixels(const Frame& frame) {
    Image image = sized_image(width_, height_, name_);
    if (frame.width < 1 || frame.height < 1) fail(name_, "the first frame of the GIF file is empty");
    const std::vector<std::uint8_t> indices = read_indices(frame);
    for (std::int64_t y = 0; y < height_; ++y) {
      std::uint8_t* out = append_row(image);
      for (std::int64_t x = 0; x < width_; ++x) out = std::copy_n(palette_[background_].data(), 3, out);
    }
    const std::uint8_t* in = indices.data();
    for (const std::int64_t y : row_order(frame)) {
      std::uint8_t* out = image.rgb.data() + ((frame.y + y) * width_ + frame.x) * 3;
      for (std::int64_t x = 0; x < frame.width; ++x) out = std::copy_n(palette_[*in++].data(), 3, out);
    }
    return image;
  }

  // As they are stored. They take memory as they come, so that a small file does not take much.
  std::vector<std::uint8_t> read_indices(const Frame& frame) {
    Decompressor pixels(cursor_, name_);
    std::vector<std::uint8_t> indices;
    for (std::int64_t y = 0; y < frame.height; ++y) {
      indices.resize(indices.size() + static_cast<std::size_t>(frame.width));
      pixels.read(indices.data() + std::ssize(indices) - frame.width, frame.width);
    }
    return indices;
  }

  static std::vector<std::int64_t> row_order(const Frame& frame) {
    struct Pass {
      std::int64_t start, step;
    };
    constexpr std::array<Pass, 4> interlaced = {{{0, 8}, {4, 8}, {2, 4}, {1, 2}}};
    constexpr std::array<Pass, 1> plain = {{{0, 1}}};
    const std::span<const Pass> passes = frame.interlaced ? std::span<const Pass>(interlaced) : plain;
    std::vector<std::int64_t> rows;
    for (const Pass& pass : passes) {
      for (std::int64_t y = pass.start; y < frame.height; y += pass.step) rows.push_back(y);
    }
    return rows;
  }

  Cursor cursor_;
  std::string_view name_;
  std::int64_t width_ = 0, height_ = 0;
  std::uint8_t background_ = 0;
  Palette palette_{};
};

}  // namespace

Image decode_gif(Bytes bytes, std::string_view name) {
  return Reader(bytes, name).read();
}

}  // namespace graft::image
