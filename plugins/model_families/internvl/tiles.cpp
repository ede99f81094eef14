// SPDX-License-Identifier: Apache-2.0
#include "tiles.h"

#include <cmath>
#include <limits>

namespace internvl {

using families::ImageBytes;
using families::ImageSize;

// Arrangements are tried from few tiles to many, of equally many the tall ones first. Where two fit equally well, the larger one
// is taken if the image has more than half of its pixels.
ImageSize choose_tiles(ImageSize image, const TileConfig& tiles) {
  const auto height = static_cast<double>(image.height), width = static_cast<double>(image.width);
  const double ratio = width / height;
  const auto tile_area = static_cast<double>(tiles.side * tiles.side);
  double least = std::numeric_limits<double>::infinity();
  ImageSize best{1, 1};
  for (std::int64_t n = tiles.min_tiles; n <= tiles.max_tiles; ++n) {
    for (std::int64_t columns = 1; columns <= n; ++columns) {
      if (n % columns != 0) continue;
      const ImageSize grid{n / columns, columns};
      const double difference =
          std::fabs(ratio - static_cast<double>(columns) / static_cast<double>(grid.height));
      const bool is_large_enough = width * height > 0.5 * tile_area * static_cast<double>(n);
      if (difference < least || (difference == least && is_large_enough)) best = grid;
      least = std::fmin(least, difference);
    }
  }
  return best;
}

graft::Pixels cut_tiles(const graft_image& image, const TileConfig& tiles,
                        const families::PatchConfig& patches) {
  if (image.width < 1 || image.height < 1) throw graft::Error(families::describe(image) + " is empty");
  const ImageSize grid = choose_tiles({image.height, image.width}, tiles);
  const std::int64_t side = tiles.side, n = grid.height * grid.width;
  const std::int64_t n_tiles = n == 1 ? 1 : n + 1;
  const std::int64_t patches_a_side = side / patches.patch_size;
  const std::int64_t n_patches = n_tiles * patches_a_side * patches_a_side;

  graft::Pixels out;
  out.values = graft::Tensor::from_data(graft::DType::kFloat32, {n_patches, patches.patch_values()}, nullptr);
  auto* values = out.values.data<float>();
  const auto cut = [&](const ImageBytes& tile) {
    values = families::cut_patches(tile, {patches_a_side, patches_a_side}, patches, tiles.values, values);
  };
  const ImageBytes canvas = families::resize_image(image, {grid.height * side, grid.width * side});
  for (std::int64_t row = 0; row < grid.height; ++row) {
    for (std::int64_t column = 0; column < grid.width; ++column) {
      ImageBytes tile = canvas;
      tile.data += row * side * canvas.row_stride + column * side * canvas.column_stride;
      cut(tile);
    }
  }
  if (n != 1) cut(families::resize_image(image, {side, side}));

  out.grid[0] = n_tiles;
  out.grid[1] = out.grid[2] = patches_a_side;
  out.n_tokens = n_patches / patches.merge_unit();
  out.processed_width = grid.width * side;
  out.processed_height = grid.height * side;
  return out;
}

}  // namespace internvl
