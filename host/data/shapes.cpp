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
  image::Color color;
};

constexpr NamedColor kColors[] = {
    {"red", {220, 40, 40}},     {"green", {40, 170, 60}},   {"blue", {50, 80, 220}},
    {"yellow", {235, 205, 50}}, {"purple", {140, 60, 180}}, {"orange", {240, 140, 30}},
};
constexpr const char* kShapes[] = {"circle", "square", "triangle"};

constexpr std::int64_t kMinSize = 32, kMaxSize = 4096;
constexpr int kPlacements = 64;  // places tried for a shape before it may overlap

std::int64_t overlap(const image::Box& a, const image::Box& b) {
  const std::int64_t width = std::min(a.x1, b.x1) - std::max(a.x0, b.x0);
  const std::int64_t height = std::min(a.y1, b.y1) - std::max(a.y0, b.y0);
  return width > 0 && height > 0 ? width * height : 0;
}

// A square place: of several random ones the first that is free, else the one with the least overlap.
image::Box place(const std::vector<SceneShape>& others, std::int64_t size, KeyedRandom& random) {
  const std::int64_t side =
      random.between(std::max<std::int64_t>(8, size / 5), std::max<std::int64_t>(10, size / 3));
  image::Box best;
  std::int64_t least = -1;
  for (int i = 0; i < kPlacements && least != 0; ++i) {
    const std::int64_t left = random.between(0, size - side), top = random.between(0, size - side);
    const image::Box box{left, top, left + side, top + side};
    std::int64_t covered = 0;
    for (const SceneShape& other : others) covered += overlap(box, other.box);
    if (least >= 0 && covered >= least) continue;
    least = covered;
    best = box;
  }
  return best;
}

void draw(image::Image& picture, const SceneShape& item, image::Color color) {
  const image::Box& box = item.box;
  if (item.shape == "circle") {
    image::fill_circle(picture, box, color);
  } else if (item.shape == "square") {
    image::fill_rect(picture, box, color);
  } else {
    image::fill_triangle(picture, {box.x0, box.y1}, {box.x1, box.y1}, {(box.x0 + box.x1) / 2, box.y0}, color);
  }
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
      {"width", scene.image.width},
      {"height", scene.image.height},
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
  image::Color background;
  background.r = tone();
  background.g = tone();
  background.b = tone();
  std::vector<NamedColor> colors(std::begin(kColors), std::end(kColors));
  support::shuffle(colors, random);

  Scene scene;
  scene.image = image::blank_image(options.size, options.size, background);
  const std::int64_t count = random.between(options.min_shapes, options.max_shapes);
  for (std::int64_t i = 0; i < count; ++i) {
    const NamedColor& color = colors[static_cast<std::size_t>(i)];
    SceneShape item{color.name, kShapes[random.below(std::size(kShapes))],
                    place(scene.shapes, options.size, random)};
    draw(scene.image, item, color.color);
    scene.shapes.push_back(std::move(item));
  }
  scene.target = static_cast<std::size_t>(random.below(static_cast<std::uint64_t>(count)));
  return scene;
}

std::string box_text(const image::Box& box) {
  return cat('[', box.x0, ", ", box.y0, ", ", box.x1, ", ", box.y1, ']');
}

void write_shapes(const std::filesystem::path& out, const ShapesOptions& options) {
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
    support::write_file(directory.path() / name, image::encode_png(scene.image));
    lines += record_line(scene, name, static_cast<std::uint64_t>(i));
  }
  support::write_file(directory.path() / "train.jsonl", lines);
  directory.commit(support::AtomicDirectory::Flush::kNo);
}

}  // namespace graft::data
