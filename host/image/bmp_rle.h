// SPDX-License-Identifier: Apache-2.0
// Run-length encoded pixels of BMP files.
#pragma once

#include <cstdint>
#include <vector>

#include "image/decoders.h"

namespace graft::image {

// Palette indices of the rows as stored, without padding, from the file `bytes` on from `at`: runs of one
// index (RLE8) or of two by turns (RLE4). Skipped pixels are 0. As PIL reads it: a row that ends early is
// filled up, the end of the picture does so not, so the result may have fewer than width * height values, or
// up to a run more. Never throws for what is in the file.
std::vector<std::uint8_t> expand_bmp_rle(Bytes bytes, std::int64_t at, std::int64_t width,
                                         std::int64_t height, bool nibbles);

}  // namespace graft::image
