// SPDX-License-Identifier: Apache-2.0
#include <png.h>

#include <algorithm>
#include <array>
#include <csetjmp>
#include <cstddef>
#include <cstring>
#include <new>

#include "image/decoders.h"
#include "support/error.h"
#include "support/strings.h"

namespace graft::image {

namespace {

using support::cat;

// libpng reports an error by a long jump. It may only jump over frames without destructors, so: everything
// with a destructor lives outside attempt(), the steps hold plain values, and the message waits in a plain
// array.
struct ErrorMessage {
  std::array<char, 160> text{};

  void set(const char* message) { std::strncpy(text.data(), message, text.size() - 1); }
};

[[noreturn]] void on_error(png_structp png, png_const_charp message) {
  static_cast<ErrorMessage*>(png_get_error_ptr(png))->set(message);
  png_longjmp(png, 1);
}

// Warnings are about what does not change pixels here: profiles, text, gamma.
void on_warning(png_structp, png_const_charp) {}

// Runs `step`; false if libpng reported an error in it.
template <typename Step>
bool attempt(png_structp png, Step step) {
  if (setjmp(png_jmpbuf(png)) != 0) return false;
  step();
  return true;
}

class Reader {
 public:
  Reader(Bytes bytes, std::string_view name) : rest_(bytes), name_(name) {
    png_ = png_create_read_struct(PNG_LIBPNG_VER_STRING, &message_, on_error, on_warning);
    info_ = png_ == nullptr ? nullptr : png_create_info_struct(png_);
    if (info_ == nullptr) {
      png_destroy_read_struct(&png_, nullptr, nullptr);
      throw std::bad_alloc();
    }
  }
  ~Reader() { png_destroy_read_struct(&png_, &info_, nullptr); }
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;

  Image read() {
    read_header();
    Image image = sized_image(width_, height_, name_);
    const bool wide_grey = color_ == PNG_COLOR_TYPE_GRAY && depth_ == 16;
    set_transformations(wide_grey);
    // Deflate makes at most 1032 bytes of one, so a short file cannot hold a large image.
    const auto row_bytes = static_cast<std::uint64_t>(png_get_rowbytes(png_, info_));
    if (row_bytes * static_cast<std::uint64_t>(height_) / 12 / 1032 > total_)
      fail(name_, "the PNG file is truncated");
    if (wide_grey) {
      read_wide_grey(image);
    } else if (png_get_interlace_type(png_, info_) == PNG_INTERLACE_NONE) {
      for (std::int64_t y = 0; y < height_; ++y) read_row(append_row(image));
    } else {
      read_interlaced(image);
    }
    return image;
  }

 private:
  template <typename Step>
  void require(Step step) {
    if (!attempt(png_, step))
      fail(name_, cat("the PNG file is damaged or truncated: ", message_.text.data()));
  }

  static void on_read(png_structp png, png_bytep out, std::size_t size) {
    auto& rest = static_cast<Reader*>(png_get_io_ptr(png))->rest_;
    if (size > rest.size()) png_error(png, "the file ends too early");
    std::memcpy(out, rest.data(), size);
    rest = rest.subspan(size);
  }

  void read_header() {
    require([this] {
      png_set_read_fn(png_, this, on_read);
      png_set_crc_action(png_, PNG_CRC_ERROR_QUIT, PNG_CRC_ERROR_QUIT);
      png_set_user_limits(png_, PNG_UINT_31_MAX, PNG_UINT_31_MAX);
      png_read_info(png_, info_);
    });
    width_ = png_get_image_width(png_, info_);
    height_ = png_get_image_height(png_, info_);
    depth_ = png_get_bit_depth(png_, info_);
    color_ = png_get_color_type(png_, info_);
  }

  // Everything to 8-bit RGB, alpha and transparent colours ignored; 16 bits to the upper 8. PIL does
  // otherwise for 16-bit grey without alpha, which stays as it is here.
  void set_transformations(bool wide_grey) {
    require([this, wide_grey] {
      if (!wide_grey) {
        png_set_strip_16(png_);
        if (color_ == PNG_COLOR_TYPE_PALETTE) png_set_palette_to_rgb(png_);
        if (color_ == PNG_COLOR_TYPE_GRAY) png_set_expand_gray_1_2_4_to_8(png_);
        png_set_gray_to_rgb(png_);
        png_set_strip_alpha(png_);
      }
      passes_ = png_set_interlace_handling(png_);
      png_read_update_info(png_, info_);
    });
    const std::size_t expected = static_cast<std::size_t>(width_) * (wide_grey ? 2 : 3);
    if (png_get_rowbytes(png_, info_) != expected) fail(name_, "the PNG file has an unknown pixel format");
  }

  void read_row(std::uint8_t* row) {
    require([this, row] { png_read_row(png_, row, nullptr); });
  }

  void read_interlaced(Image& image) {
    image.rgb.resize(static_cast<std::size_t>(width_ * height_ * 3));
    for (int pass = 0; pass < passes_; ++pass) {
      for (std::int64_t y = 0; y < height_; ++y) read_row(image.rgb.data() + y * width_ * 3);
    }
  }

  // Values above 255 become 255: PIL's conversion of its mode "I;16".
  void read_wide_grey(Image& image) {
    const auto row_bytes = static_cast<std::size_t>(width_) * 2;
    std::vector<std::uint8_t> rows(row_bytes * (passes_ == 1 ? 1 : static_cast<std::size_t>(height_)));
    const auto row_at = [&](std::int64_t y) {
      return rows.data() + (passes_ == 1 ? 0 : row_bytes * static_cast<std::size_t>(y));
    };
    for (int pass = 0; pass + 1 < passes_; ++pass) {
      for (std::int64_t y = 0; y < height_; ++y) read_row(row_at(y));
    }
    for (std::int64_t y = 0; y < height_; ++y) {
      read_row(row_at(y));
      const std::uint8_t* in = row_at(y);
      std::uint8_t* out = append_row(image);
      for (std::int64_t x = 0; x < width_; ++x, in += 2, out += 3) {
        std::fill_n(out, 3, in[0] == 0 ? in[1] : std::uint8_t{255});
      }
    }
  }

  Bytes rest_;
  std::string_view name_;
  std::size_t total_ = rest_.size();
  ErrorMessage message_;
  png_structp png_ = nullptr;
  png_infop info_ = nullptr;
  std::int64_t width_ = 0;
  std::int64_t height_ = 0;
  int depth_ = 0;
  int color_ = 0;
  int passes_ = 1;
};

class Writer {
 public:
  Writer() {
    png_ = png_create_write_struct(PNG_LIBPNG_VER_STRING, &message_, on_error, on_warning);
    info_ = png_ == nullptr ? nullptr : png_create_info_struct(png_);
    if (info_ == nullptr) {
      png_destroy_write_struct(&png_, nullptr);
      throw std::bad_alloc();
    }
  }
  ~Writer() { png_destroy_write_struct(&png_, &info_); }
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;

  std::string write(const Image& image) {
    const bool done = attempt(png_, [this, &image] {
      png_set_write_fn(png_, this, on_write, nullptr);
      png_set_compression_level(png_, 6);
      png_set_IHDR(png_, info_, static_cast<png_uint_32>(image.width), static_cast<png_uint_32>(image.height),
                   8, PNG_COLOR_TYPE_RGB, PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT,
                   PNG_FILTER_TYPE_DEFAULT);
      png_write_info(png_, info_);
      for (std::int64_t y = 0; y < image.height; ++y) {
        png_write_row(png_, image.rgb.data() + y * image.width * 3);
      }
      png_write_end(png_, nullptr);
    });
    if (!done) throw support::UserError(cat("cannot encode a PNG: ", message_.text.data()));
    return std::move(out_);
  }

 private:
  static void on_write(png_structp png, png_bytep data, std::size_t size) {
    bool stored = false;
    try {
      static_cast<Writer*>(png_get_io_ptr(png))->out_.append(reinterpret_cast<const char*>(data), size);
      stored = true;
    } catch (const std::exception&) {  // must not pass through libpng's frames
    }
    if (!stored) png_error(png, "out of memory");
  }

  ErrorMessage message_;
  png_structp png_ = nullptr;
  png_infop info_ = nullptr;
  std::string out_;
};

}  // namespace

Image decode_png(Bytes bytes, std::string_view name) {
  return Reader(bytes, name).read();
}

std::string encode_png(const Image& image) {
  const bool sized = image.width >= 1 && image.height >= 1 && image.width <= kMaxPixels / image.height;
  if (!sized || image.rgb.size() != static_cast<std::size_t>(image.width * image.height * 3)) {
    throw support::UserError(cat("cannot write an image of ", image.width, " x ", image.height,
                                 " pixels with ", image.rgb.size(), " values as PNG"));
  }
  return Writer().write(image);
}

}  // namespace graft::image
