// SPDX-License-Identifier: Apache-2.0
#include "data/shapes.h"

#include <algorithm>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

#include "support/error.h"
#include "support/files.h"
#include "support/random.h"
#include "support/strings.h"

namespace graft::data {

namespace {

using support::cat;
using support::KeyedRandom;
using support::UserError;

struct NamedColor {
  const char* name;
  Rgb rgb;
};

constexpr NamedColor kColors[] = {
    {"red", {220, 40, 40}},     {"green", {40, 170, 60}},   {"blue", {50, 80, 220}},
    {"yellow", {235, 205, 50}}, {"purple", {140, 60, 180}}, {"orange", {240, 140, 30}},
};
constexpr const char* kShapes[] = {"circle", "square", "triangle"};

constexpr std::int64_t kMinSize = 32, kMaxSize = 4096;
constexpr int kPlacements = 64;  // places tried for a shape before it may overlap

std::int64_t overlap(const SceneBox& a, const SceneBox& b) {
  const std::int64_t width = std::min(a.x2, b.x2) - std::max(a.x1, b.x1);
  const std::int64_t height = std::min(a.y2, b.y2) - std::max(a.y1, b.y1);
  return width > 0 && height > 0 ? width * height : 0;
}

// A square place: of several random ones the first that is free, else the one with the least overlap.
SceneBox place(const std::vector<SceneShape>& others, std::int64_t size, KeyedRandom& random) {
  const std::int64_t side =
      random.between(std::max<std::int64_t>(8, size / 5), std::max<std::int64_t>(10, size / 3));
  SceneBox best;
  std::int64_t least = -1;
  for (int i = 0; i < kPlacements && least != 0; ++i) {
    const std::int64_t left = random.between(0, size - side), top = random.between(0, size - side);
    const SceneBox box{left, top, left + side, top + side};
    std::int64_t covered = 0;
    for (const SceneShape& other : others) covered += overlap(box, other.box);
    if (least >= 0 && covered >= least) continue;
    least = covered;
    best = box;
  }
  return best;
}

std::string record_line(const Scene& scene, const std::string& image, std::uint64_t index) {
  const SceneShape& target = scene.shapes[scene.target];
  const nlohmann::ordered_json record = {
      {"id", index},
      {"image", image},
      {"conversations",
       {{{"from", "human"}, {"value", cat("<image>Where is the ", target.color, ' ', target.shape, '?')}},
        {{"from", "gpt"}, {"value", box_text(target.box)}}}},
      {"shape", target.shape},
      {"color", target.color},
      {"width", scene.size},
      {"height", scene.size},
  };
  return cat(record.dump(), '\n');
}

void check_range(const char* option, std::int64_t value, std::int64_t low, std::int64_t high) {
  if (value >= low && value <= high) return;
  throw UserError(cat(option, " is ", value, "; expected ", low, " to ", high));
}

}  // namespace

std::int64_t max_scene_shapes() {
  return std::ssize(kColors);
}

void check_shapes_options(const ShapesOptions& options) {
  check_range("--n", options.count, 1, 10'000'000);
  check_range("--size", options.size, kMinSize, kMaxSize);
  check_range("--min-shapes", options.min_shapes, 1, max_scene_shapes());
  check_range("--max-shapes", options.max_shapes, options.min_shapes, max_scene_shapes());
}

Scene make_scene(const ShapesOptions& options, std::uint64_t index) {
  KeyedRandom random(options.seed, {support::hash_string("data.shapes"), index});
  const auto tone = [&] { return static_cast<std::uint8_t>(random.between(225, 250)); };
  const Rgb background{tone(), tone(), tone()};
  std::vector<NamedColor> colors(std::begin(kColors), std::end(kColors));
  support::shuffle(colors, random);

  Scene scene;
  scene.size = options.size;
  scene.background = background;
  const std::int64_t count = random.between(options.min_shapes, options.max_shapes);
  for (std::int64_t i = 0; i < count; ++i) {
    const NamedColor& color = colors[static_cast<std::size_t>(i)];
    SceneShape item{color.name, kShapes[random.below(std::size(kShapes))], color.rgb,
                    place(scene.shapes, options.size, random)};
    scene.shapes.push_back(std::move(item));
  }
  scene.target = static_cast<std::size_t>(random.below(static_cast<std::uint64_t>(count)));
  return scene;
}

std::string box_text(const SceneBox& box) {
  return cat('[', box.x1, ", ", box.y1, ", ", box.x2, ", ", box.y2, ']');
}

void write_shapes(const std::filesystem::path& out, const ShapesOptions& options,
                  const ScenePainter& painter) {
  check_shapes_options(options);
  if (std::filesystem::exists(out) &&
      !(std::filesystem::is_directory(out) && std::filesystem::is_empty(out))) {
    throw UserError(
        cat("--out: ", out, " exists and is not an empty directory; choose another one or remove it"));
  }
  support::AtomicDirectory directory(out);
  support::make_directories(directory.path() / "images");
  std::string lines;
  for (std::int64_t i = 0; i < options.count; ++i) {
    const Scene scene = make_scene(options, static_cast<std::uint64_t>(i));
    const std::string number = std::to_string(i);
    const std::string name =
        cat("images/", std::string(number.size() < 6 ? 6 - number.size() : 0, '0'), number, ".png");
    support::write_file(directory.path() / name, painter(scene));
    lines += record_line(scene, name, static_cast<std::uint64_t>(i));
  }
  support::write_file(directory.path() / "train.jsonl", lines);
  directory.commit(support::AtomicDirectory::Flush::kNo);
}

}  // namespace graft::data
