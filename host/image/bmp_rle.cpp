// SPDX-License-Identifier: Apache-2.0
#include "image/bmp_rle.h"

#include <algorithm>
#include <cstddef>
#include <iterator>

namespace graft::image {

namespace {

class Expander {
 public:
  Expander(Bytes bytes, std::int64_t at, std::int64_t width, std::int64_t height, bool nibbles)
      : bytes_(bytes), at_(at), width_(width), wanted_(width * height), nibbles_(nibbles) {}

  std::vector<std::uint8_t> expand() {
    while (std::ssize(out_) < wanted_ && at_ + 2 <= std::ssize(bytes_)) {
      const std::int64_t count = byte(at_), value = byte(at_ + 1);
      at_ += 2;
      if (count > 0) {
        add_run(count, value);
      } else if (value == 0) {
        end_row();
      } else if (value == 1 || !(value == 2 ? skip() : copy(value))) {
        break;
      }
    }
    return std::move(out_);
  }

 private:
  std::uint8_t byte(std::int64_t index) const { return bytes_[static_cast<std::size_t>(index)]; }
  std::int64_t left() const { return wanted_ - std::ssize(out_); }
  void add_zeros(std::int64_t count) { out_.insert(out_.end(), static_cast<std::size_t>(count), 0); }

  // A run does not go beyond the row.
  void add_run(std::int64_t count, std::int64_t value) {
    count = std::clamp<std::int64_t>(width_ - x_, 0, count);
    for (std::int64_t i = 0; i < count; ++i) {
      const std::int64_t index = !nibbles_ ? value : i % 2 == 0 ? value >> 4 : value & 15;
      out_.push_back(static_cast<std::uint8_t>(index));
    }
    x_ += count;
  }

  void end_row() {
    add_zeros((width_ - std::ssize(out_) % width_) % width_);
    x_ = 0;
  }

  // So many pixels to the right and rows on. False at the end of the file.
  bool skip() {
    if (at_ + 2 > std::ssize(bytes_)) return false;
    add_zeros(std::min(left(), byte(at_) + byte(at_ + 1) * width_));
    at_ += 2;
    x_ = std::ssize(out_) % width_;
    return true;
  }

  // Pixels as they are, padded to an even place in the file. False at the end of the picture or of the file.
  bool copy(std::int64_t count) {
    const std::int64_t taken = std::min(left(), count);
    const std::int64_t size = nibbles_ ? (taken + 1) / 2 : taken;
    const std::int64_t there = std::min(size, std::ssize(bytes_) - at_);
    for (std::int64_t i = 0; i < there; ++i) {
      const std::uint8_t value = byte(at_ + i);
      out_.push_back(nibbles_ ? static_cast<std::uint8_t>(value >> 4) : value);
      if (nibbles_ && i * 2 + 1 < taken) out_.push_back(value & 15);
    }
    at_ += there;
    x_ += count;
    at_ += at_ % 2;
    return there == size && left() > 0;
  }

  Bytes bytes_;
  std::int64_t at_;
  std::int64_t width_;
  std::int64_t wanted_;
  bool nibbles_;
  std::int64_t x_ = 0;  // in the row
  std::vector<std::uint8_t> out_;
};

}  // namespace

std::vector<std::uint8_t> expand_bmp_rle(Bytes bytes, std::int64_t at, std::int64_t width,
                                         std::int64_t height, bool nibbles) {
  return Expander(bytes, at, width, height, nibbles).expand();
}

}  // namespace graft::image
