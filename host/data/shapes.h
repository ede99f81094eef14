// SPDX-License-Identifier: Apache-2.0
// Generated grounding data: scenes of coloured shapes and questions such as "Where is the red circle?". Every
// scene is a function of (seed, index), so a data set can be made again anywhere, and a longer one begins
// with the shorter one.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace graft::data {

struct ShapesOptions {
  std::int64_t count = 1000;  // scenes
  std::uint64_t seed = 0;
  std::int64_t size = 112;  // width and height of an image, pixels
  std::int64_t min_shapes = 1;
  std::int64_t max_shapes = 1;
};

using Rgb = std::array<std::uint8_t, 3>;

// Pixel edges: columns x1 to x2 - 1, rows y1 to y2 - 1.
struct SceneBox {
  std::int64_t x1 = 0, y1 = 0, x2 = 0, y2 = 0;
};

struct SceneShape {
  std::string color;  // unique in its scene
  std::string shape;  // "circle", "square" or "triangle" (apex up)
  Rgb rgb{};
  SceneBox box;  // the shape touches all four edges
};

// What is to be seen; image/scene.h paints it.
struct Scene {
  std::int64_t size = 0;  // width and height, pixels
  Rgb background{};
  std::vector<SceneShape> shapes;  // later ones lie on top
  std::size_t target = 0;          // the shape that is asked for
};

// How many shapes a scene can have: one of each colour.
[[nodiscard]] std::int64_t max_scene_shapes();

// Throws UserError for options out of range, naming the option as `graft data shapes` spells it.
void check_shapes_options(const ShapesOptions& options);

// Scene `index`. Shapes overlap only where there is no room.
[[nodiscard]] Scene make_scene(const ShapesOptions& options, std::uint64_t index);

// The box as text, original pixels: "[x1, y1, x2, y2]".
[[nodiscard]] std::string box_text(const SceneBox& box);

// The bytes of the PNG file that shows a scene.
using ScenePainter = std::function<std::string(const Scene&)>;

// Writes images/000000.png … and train.jsonl (VLM-R1's format, with the columns shape, color, width and height) to the
// directory `out`, which appears when everything is written. Throws UserError if it exists and is not empty.
void write_shapes(const std::filesystem::path& out, const ShapesOptions& options,
                  const ScenePainter& painter);

}  // namespace graft::data
