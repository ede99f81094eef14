// SPDX-License-Identifier: Apache-2.0
// Generated grounding data: scenes of coloured shapes and questions such as "Where is the red circle?". Every
// scene is a function of (seed, index), so a data set can be made again anywhere, and a longer one begins
// with the shorter one.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "image/draw.h"
#include "image/image.h"

namespace graft::data {

struct ShapesOptions {
  std::int64_t count = 1000;  // scenes
  std::uint64_t seed = 0;
  std::int64_t size = 112;  // width and height of an image, pixels
  std::int64_t min_shapes = 1;
  std::int64_t max_shapes = 1;
};

struct SceneShape {
  std::string color;  // unique in its scene
  std::string shape;  // "circle", "square" or "triangle"
  image::Box box;     // the shape touches all four edges
};

struct Scene {
  image::Image image;
  std::vector<SceneShape> shapes;
  std::size_t target = 0;  // the shape that is asked for
};

// How many shapes a scene can have: one of each colour.
[[nodiscard]] std::int64_t max_scene_shapes();

// Throws UserError for options out of range, naming the option as `graft data shapes` spells it.
void check_shapes_options(const ShapesOptions& options);

// Scene `index`. Shapes overlap only where there is no room.
[[nodiscard]] Scene make_scene(const ShapesOptions& options, std::uint64_t index);

// The box as text, original pixels: "[x1, y1, x2, y2]".
[[nodiscard]] std::string box_text(const image::Box& box);

// Writes images/000000.png … and train.jsonl (VLM-R1's format, with the columns shape, color, width and
// height) to the directory `out`, which appears when everything is written. Throws UserError if it exists and
// is not empty.
void write_shapes(const std::filesystem::path& out, const ShapesOptions& options);

}  // namespace graft::data
