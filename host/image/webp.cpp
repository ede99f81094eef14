// SPDX-License-Identifier: Apache-2.0
#include <webp/decode.h>

#include "image/decoders.h"

namespace graft::image {

Image decode_webp(Bytes bytes, std::string_view name) {
  WebPBitstreamFeatures features;
  if (WebPGetFeatures(bytes.data(), bytes.size(), &features) != VP8_STATUS_OK) {
    fail(name, "the WebP file is damaged or truncated: its header cannot be read");
  }
  if (features.has_animation != 0) fail(name, "the WebP file is an animation; still images are read");
  Image image = sized_image(features.width, features.height, name);
  image.rgb.resize(static_cast<std::size_t>(image.width * image.height * 3));
  const auto stride = static_cast<int>(image.width * 3);
  if (WebPDecodeRGBInto(bytes.data(), bytes.size(), image.rgb.data(), image.rgb.size(), stride) == nullptr) {
    fail(name, "the WebP file is damaged or truncated");
  }
  return image;
}

}  // namespace graft::image
