// SPDX-License-Identifier: Apache-2.0
#include <webp/decode.h>
#include <webp/demux.h>

#include <algorithm>
#include <cstddef>
#include <memory>

#include "image/decoders.h"

namespace graft::image {

namespace {

constexpr std::string_view kDamaged = "the WebP file is damaged or truncated";

// Decodes a picture into the rectangle of `image` whose top left corner is (x, y). False if it cannot.
bool decode_into(Image& image, const std::uint8_t* data, std::size_t size, std::int64_t x, std::int64_t y) {
  const std::int64_t stride = image.width * 3, start = y * stride + x * 3;
  return WebPDecodeRGBInto(data, size, image.rgb.data() + start,
                           image.rgb.size() - static_cast<std::size_t>(start),
                           static_cast<int>(stride)) != nullptr;
}

// The first frame on a black canvas, which is what PIL's first frame is without its alpha.
void decode_first_frame(Image& image, Bytes bytes, std::string_view name) {
  const WebPData data = {bytes.data(), bytes.size()};
  const std::unique_ptr<WebPDemuxer, void (*)(WebPDemuxer*)> demuxer(WebPDemux(&data), WebPDemuxDelete);
  if (demuxer == nullptr) fail(name, kDamaged);
  WebPIterator frame{};
  if (WebPDemuxGetFrame(demuxer.get(), 1, &frame) == 0) fail(name, "the WebP animation has no frame");
  const std::unique_ptr<WebPIterator, void (*)(WebPIterator*)> release(&frame, WebPDemuxReleaseIterator);
  const bool fits = frame.complete != 0 && frame.x_offset >= 0 && frame.y_offset >= 0 &&
                    frame.x_offset + std::int64_t{frame.width} <= image.width &&
                    frame.y_offset + std::int64_t{frame.height} <= image.height;
  if (!fits || !decode_into(image, frame.fragment.bytes, frame.fragment.size, frame.x_offset, frame.y_offset))
    fail(name, kDamaged);
}

}  // namespace

Image decode_webp(Bytes bytes, std::string_view name) {
  WebPBitstreamFeatures features;
  if (WebPGetFeatures(bytes.data(), bytes.size(), &features) != VP8_STATUS_OK) {
    fail(name, "the WebP file is damaged or truncated: its header cannot be read");
  }
  Image image = sized_image(features.width, features.height, name);
  image.rgb.resize(static_cast<std::size_t>(image.width * image.height * 3));
  if (features.has_animation != 0) {
    decode_first_frame(image, bytes, name);
  } else if (!decode_into(image, bytes.data(), bytes.size(), 0, 0)) {
    fail(name, kDamaged);
  }
  return image;
}

}  // namespace graft::image
