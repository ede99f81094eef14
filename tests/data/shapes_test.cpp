// SPDX-License-Identifier: Apache-2.0
#include "data/shapes.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "data/jsonl.h"
#include "image/scene.h"
#include "support/error.h"
#include "support/files.h"
#include "tests/support/errors.h"
#include "tests/support/temporary_directory.h"

namespace graft::data {
namespace {

namespace fs = std::filesystem;
using support::UserError;
using test::contains;
using test::message_of;

// The smallest box around all pixels that are not background, which is lighter than every shape's colour.
SceneBox painted(const image::Image& picture) {
  SceneBox box{picture.width, picture.height, 0, 0};
  for (std::int64_t y = 0; y < picture.height; ++y) {
    for (std::int64_t x = 0; x < picture.width; ++x) {
      const auto at = static_cast<std::size_t>((y * picture.width + x) * 3);
      if (std::min({picture.rgb[at], picture.rgb[at + 1], picture.rgb[at + 2]}) >= 225) continue;
      box = {std::min(box.x1, x), std::min(box.y1, y), std::max(box.x2, x + 1), std::max(box.y2, y + 1)};
    }
  }
  return box;
}

TEST(Shapes, TheBoxIsTheOneThatIsDrawn) {
  const ShapesOptions options{.count = 1, .seed = 3};
  for (std::uint64_t i = 0; i < 60; ++i) {
    const Scene scene = make_scene(options, i);
    ASSERT_EQ(scene.shapes.size(), 1U);
    const SceneBox want = scene.shapes[0].box, got = painted(image::paint_scene(scene));
    // The apex of a triangle may be less than a pixel wide and hold no pixel centre.
    EXPECT_NEAR(static_cast<double>(got.y1), static_cast<double>(want.y1), 1.0) << i;
    EXPECT_EQ(got.x1, want.x1) << i;
    EXPECT_EQ(got.x2, want.x2) << i;
    EXPECT_EQ(got.y2, want.y2) << i;
  }
}

TEST(Shapes, ScenesDependOnSeedAndIndexOnly) {
  const ShapesOptions few{.count = 5, .seed = 1, .size = 112, .min_shapes = 1, .max_shapes = 3};
  ShapesOptions many = few;
  many.count = 5000;
  EXPECT_EQ(image::paint_scene(make_scene(few, 3)).rgb, image::paint_scene(make_scene(many, 3)).rgb);
  EXPECT_NE(image::paint_scene(make_scene(few, 3)).rgb, image::paint_scene(make_scene(few, 4)).rgb);
  many.seed = 2;
  EXPECT_NE(image::paint_scene(make_scene(few, 3)).rgb, image::paint_scene(make_scene(many, 3)).rgb);
}

TEST(Shapes, ColoursAreUniqueBoxesInsideAndApart) {
  const ShapesOptions options{.count = 1, .seed = 9, .size = 112, .min_shapes = 2, .max_shapes = 4};
  std::set<std::size_t> counts;
  std::set<std::string> kinds, asked;
  for (std::uint64_t i = 0; i < 100; ++i) {
    const Scene scene = make_scene(options, i);
    std::set<std::string> colors;
    for (const SceneShape& item : scene.shapes) {
      colors.insert(item.color);
      kinds.insert(item.shape);
      EXPECT_GE(item.box.x1, 0);
      EXPECT_GE(item.box.y1, 0);
      EXPECT_LE(item.box.x2, 112);
      EXPECT_LE(item.box.y2, 112);
      EXPECT_GE(item.box.x2 - item.box.x1, 112 / 5);
    }
    EXPECT_EQ(colors.size(), scene.shapes.size());
    ASSERT_LT(scene.target, scene.shapes.size());
    asked.insert(scene.shapes[scene.target].color);
    counts.insert(scene.shapes.size());
    if (scene.shapes.size() == 2) {
      const SceneBox &a = scene.shapes[0].box, &b = scene.shapes[1].box;
      EXPECT_TRUE(a.x2 <= b.x1 || b.x2 <= a.x1 || a.y2 <= b.y1 || b.y2 <= a.y1) << i;
    }
  }
  EXPECT_EQ(counts, (std::set<std::size_t>{2, 3, 4}));
  EXPECT_EQ(kinds.size(), 3U);
  EXPECT_EQ(asked.size(), 6U);
}

TEST(Shapes, WhatIsWrittenLoads) {
  const test::TemporaryDirectory dir;
  write_shapes(dir / "set", {.count = 4, .seed = 1, .size = 64, .min_shapes = 1, .max_shapes = 2},
               image::scene_png);
  const std::string file = (dir / "set/train.jsonl").string();
  const Dataset set = load_samples({{file, (dir / "set").string()}}, {.strict = true, .limit = {}});
  ASSERT_EQ(set.samples.size(), 4U);
  const Scene scene = make_scene({.count = 4, .seed = 1, .size = 64, .min_shapes = 1, .max_shapes = 2}, 2);
  const SceneShape& target = scene.shapes[scene.target];
  const Sample& sample = set.samples[2];
  EXPECT_EQ(sample.question, "Where is the " + target.color + " " + target.shape + "?");
  EXPECT_EQ(sample.solution, box_text(target.box));
  EXPECT_EQ(image::load_image(sample.images.at(0)).rgb, image::paint_scene(scene).rgb);
  const nlohmann::json record = nlohmann::json::parse(sample.record);
  EXPECT_EQ(record.at("color"), target.color);
  EXPECT_EQ(record.at("shape"), target.shape);
  EXPECT_EQ(record.at("width"), 64);
  EXPECT_EQ(record.at("height"), 64);
}

TEST(Shapes, TheSameOptionsWriteTheSameBytes) {
  const test::TemporaryDirectory dir;
  write_shapes(dir / "a", {.count = 3, .seed = 5}, image::scene_png);
  write_shapes(dir / "b", {.count = 3, .seed = 5}, image::scene_png);
  for (const char* name : {"train.jsonl", "images/000000.png", "images/000002.png"}) {
    EXPECT_EQ(support::read_file(dir / "a" / name), support::read_file(dir / "b" / name)) << name;
  }
}

TEST(Shapes, NothingThatExistsIsReplaced) {
  const test::TemporaryDirectory dir;
  dir.write("set/keep.txt", "x");
  EXPECT_TRUE(
      contains(message_of<UserError>([&] { write_shapes(dir / "set", {.count = 1}, image::scene_png); }),
               "is not an empty directory"));
  EXPECT_TRUE(fs::exists(dir / "set/keep.txt"));
  fs::create_directories(dir / "empty");
  EXPECT_NO_THROW(write_shapes(dir / "empty", {.count = 1}, image::scene_png));
}

TEST(Shapes, OptionsOutOfRangeAreNamed) {
  EXPECT_TRUE(contains(message_of<UserError>([] { check_shapes_options({.count = 0}); }), "--n is 0"));
  EXPECT_TRUE(
      contains(message_of<UserError>([] { check_shapes_options({.size = 8}); }), "--size is 8; expected 32"));
  EXPECT_TRUE(contains(message_of<UserError>([] { check_shapes_options({.max_shapes = 7}); }),
                       "--max-shapes is 7; expected 1 to 6"));
  EXPECT_TRUE(
      contains(message_of<UserError>([] { check_shapes_options({.min_shapes = 3, .max_shapes = 2}); }),
               "--max-shapes"));
}

}  // namespace
}  // namespace graft::data
