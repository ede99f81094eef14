// SPDX-License-Identifier: Apache-2.0
#include "image/scene.h"

#include "image/draw.h"

namespace graft::image {

namespace {

Color color_of(const data::Rgb& rgb) {
  return {rgb[0], rgb[1], rgb[2]};
}

void paint(Image& picture, const data::SceneShape& item) {
  const data::SceneBox& box = item.box;
  const Color color = color_of(item.rgb);
  if (item.shape == "circle") {
    fill_circle(picture, {box.x1, box.y1, box.x2, box.y2}, color);
  } else if (item.shape == "square") {
    fill_rect(picture, {box.x1, box.y1, box.x2, box.y2}, color);
  } else {
    fill_triangle(picture, {box.x1, box.y2}, {box.x2, box.y2}, {(box.x1 + box.x2) / 2, box.y1}, color);
  }
}

}  // namespace

Image paint_scene(const data::Scene& scene) {
  Image picture = blank_image(scene.size, scene.size, color_of(scene.background));
  for (const data::SceneShape& item : scene.shapes) paint(picture, item);
  return picture;
}

std::string scene_png(const data::Scene& scene) {
  return encode_png(paint_scene(scene));
}

}  // namespace graft::image
