// SPDX-License-Identifier: Apache-2.0
// Generated scenes (data/shapes.h) as pictures.
#pragma once

#include <string>

#include "data/shapes.h"
#include "image/image.h"

namespace graft::image {

// The scene in its own size.
Image paint_scene(const data::Scene& scene);

// The same as the bytes of a PNG file: the painter for data::write_shapes().
std::string scene_png(const data::Scene& scene);

}  // namespace graft::image
