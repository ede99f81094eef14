// SPDX-License-Identifier: Apache-2.0
// Dynamic tiling (Chen et al. 2024, arXiv:2404.16821), equal to transformers' torchvision-backed GotOcr2ImageProcessor as
// InternVLProcessor calls it.
#pragma once

#include <graft/sdk/model_family.hpp>

#include "config.h"

namespace internvl {

// The rows and columns of tiles whose aspect ratio is nearest to an image's.
[[nodiscard]] families::ImageSize choose_tiles(families::ImageSize image, const TileConfig& tiles);

// Resized to whole tiles and cut into them row by row, behind them the whole image as one tile if there are several. Every
// tile is cut into patches, the merge × merge patches of a token behind each other: values [tiles · patches, patch_values()],
// grid {tiles, patch rows of a tile, patch columns of a tile}.
[[nodiscard]] graft::Pixels cut_tiles(const graft_image& image, const TileConfig& tiles,
                                      const families::PatchConfig& patches);

}  // namespace internvl
