// SPDX-License-Identifier: Apache-2.0
#include <cstddef>
#include <cstdio>  // jpeglib.h needs FILE

#include <jpeglib.h>

#include <jerror.h>

#include <algorithm>
#include <array>
#include <csetjmp>
#include <iterator>
#include <vector>

#include "image/decoders.h"
#include "support/strings.h"

namespace graft::image {

namespace {

using support::cat;

// libjpeg reports an error by calling error_exit, which must not return. It jumps back over libjpeg's frames
// and those of one step, none of which has destructors; see png.cpp.
struct ErrorManager {
  jpeg_error_mgr base;  // first, so that a pointer to it is one to the whole
  std::jmp_buf back;
  std::array<char, JMSG_LENGTH_MAX> text;
};

[[noreturn]] void on_error(j_common_ptr info) {
  auto* manager = reinterpret_cast<ErrorManager*>(info->err);
  info->err->format_message(info, manager->text.data());
  std::longjmp(manager->back, 1);
}

// Reading past the end is only a warning to libjpeg: the rest of the picture would be grey. Other warnings
// are about data that does not matter or that any reader takes as it is.
void on_message(j_common_ptr info, int level) {
  if (level < 0 && info->err->msg_code == JWRN_JPEG_EOF) on_error(info);
}

class Reader {
 public:
  Reader(Bytes bytes, std::string_view name) : bytes_(bytes), name_(name) {
    info_.err = jpeg_std_error(&errors_.base);
    errors_.base.error_exit = on_error;
    errors_.base.emit_message = on_message;
  }
  ~Reader() { jpeg_destroy_decompress(&info_); }  // does nothing if never created: info_ is zero
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;

  Image read() {
    require([this] {
      jpeg_create_decompress(&info_);
      jpeg_mem_src(&info_, bytes_.data(), static_cast<unsigned long>(bytes_.size()));
      jpeg_read_header(&info_, TRUE);
    });
    Image image = sized_image(info_.image_width, info_.image_height, name_);
    // Huffman codes take a bit or more for each block of 64 pixels, so a short file cannot hold a large
    // image. Progressive ones would take memory for all of it before that is found.
    const std::int64_t blocks = image.width * image.height / 64;
    if (info_.arith_code == FALSE && blocks / 8 > std::ssize(bytes_))
      fail(name_, "the JPEG file is truncated");
    info_.out_color_space = output_space();
    require([this] { jpeg_start_decompress(&info_); });
    std::vector<std::uint8_t> row(static_cast<std::size_t>(image.width) *
                                  static_cast<std::size_t>(info_.output_components));
    for (std::int64_t y = 0; y < image.height; ++y) {
      read_row(row.data());
      convert_row(row.data(), append_row(image), image.width);
    }
    require([this] { jpeg_finish_decompress(&info_); });
    return image;
  }

 private:
  template <typename Step>
  void require(Step step) {
    if (!attempt(step)) fail(name_, cat("the JPEG file is damaged or truncated: ", errors_.text.data()));
  }

  template <typename Step>
  bool attempt(Step step) {
    if (setjmp(errors_.back) != 0) return false;
    step();
    return true;
  }

  J_COLOR_SPACE output_space() const {
    switch (info_.num_components) {
      case 1:
        return JCS_GRAYSCALE;
      case 3:
        return JCS_RGB;
      case 4:
        return JCS_CMYK;
      default:
        fail(name_, cat("the JPEG file has ", info_.num_components, " colour channels; 1, 3 or 4 are read"));
    }
  }

  void read_row(std::uint8_t* row) {
    require([this, row] {
      JSAMPROW rows[] = {row};
      jpeg_read_scanlines(&info_, rows, 1);
    });
  }

  void convert_row(const std::uint8_t* in, std::uint8_t* out, std::int64_t width) const {
    if (info_.out_color_space == JCS_RGB) {
      std::copy_n(in, width * 3, out);
      return;
    }
    for (std::int64_t x = 0; x < width; ++x, out += 3) {
      if (info_.out_color_space == JCS_GRAYSCALE) {
        std::fill_n(out, 3, in[x]);
      } else {
        cmyk_to_rgb(in + x * 4, out);
      }
    }
  }

  // PIL's arithmetic. Adobe writes inverted CMYK, and everyone reads it that way, so the values are 255 -
  // ink.
  static void cmyk_to_rgb(const std::uint8_t* in, std::uint8_t* out) {
    const int white = in[3];
    for (int channel = 0; channel < 3; ++channel) {
      const int product = (255 - in[channel]) * white + 128;  // divided by 255 and rounded in the next line
      out[channel] = static_cast<std::uint8_t>(std::clamp(white - ((product >> 8) + product) / 256, 0, 255));
    }
  }

  Bytes bytes_;
  std::string_view name_;
  ErrorManager errors_{};
  jpeg_decompress_struct info_{};
};

}  // namespace

Image decode_jpeg(Bytes bytes, std::string_view name) {
  return Reader(bytes, name).read();
}

}  // namespace graft::image
