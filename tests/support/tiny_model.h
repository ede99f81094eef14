// SPDX-License-Identifier: Apache-2.0
// The tiny checkpoint of the tests, opened with the plugins that the build made, and prompts for it.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "image/image.h"
#include "model/model.h"
#include "model/tensor_services.h"
#include "plugin/host_services.h"
#include "plugin/registry.h"

namespace graft::tests {

inline std::filesystem::path tiny_directory() {
  return std::filesystem::path(GRAFT_TEST_DATA) / "parity/data/qwen2_5_vl_tiny";
}

inline plugin::Registry& tiny_registry() {
  static plugin::Registry registry = [] {
    model::register_tensor_services();
    plugin::Registry made(plugin::host_table());
    for (const auto& entry : std::filesystem::directory_iterator(GRAFT_PLUGIN_DIR)) made.load(entry.path());
    return made;
  }();
  return registry;
}

// A fresh model, in float32 unless told otherwise. `compute_dtype` "bfloat16": mixed precision.
inline std::unique_ptr<model::Model> open_tiny_model(const std::string& dtype = "float32",
                                                     const std::string& compute_dtype = "") {
  model::OpenOptions options;
  options.directory = tiny_directory();
  options.dtype = dtype;
  options.compute_dtype = compute_dtype;
  return model::Model::open(tiny_registry(), options);
}

// A prompt with the vision features of its image, if it has one.
struct TinyPrompt {
  model::Prompt prompt;
  at::Tensor image_values;
};

// A question about an image of the fixture ("image", "image_resize"), or about none ("").
inline TinyPrompt tiny_prompt(const model::Model& model, const std::string& question,
                              const std::string& image) {
  std::vector<image::Image> images;
  std::vector<std::string> names;
  if (!image.empty()) {
    images.push_back(image::load_image(tiny_directory() / "golden" / (image + ".png")));
    names.push_back(image);
  }
  TinyPrompt made;
  made.prompt = model.prepare({{"user", question, static_cast<std::int64_t>(images.size())}}, images, names);
  std::vector<const model::PreparedImage*> prepared;
  for (const model::PreparedImage& item : made.prompt.images) prepared.push_back(&item);
  if (!prepared.empty()) made.image_values = model.encode_images(prepared, {});
  return made;
}

}  // namespace graft::tests
