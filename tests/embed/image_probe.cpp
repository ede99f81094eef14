// SPDX-License-Identifier: Apache-2.0
// graft's half of image_live.py, prompt_live.py and template_live.py:
//
//   image_probe MODEL
//
// reads requests, one JSON object a line, and answers each with one, {"error": message} if it is refused:
//
//   {"do": "decode", "file", "out"}         writes the pixels, RGB by rows, to `out`: {"width", "height"}
//   {"do": "size", "height", "width",       what the model family resizes an image of that size to:
//    "min_pixels", "max_pixels"}            {"height", "width"}
//   {"do": "pixels", "file", "out",         writes pixel values, float32, to `out`: {"grid"}
//    "min_pixels", "max_pixels"}
//   {"do": "prompt", "record",              the prompt of one record of a JSONL file: {"text", "ids"}
//    "image_root", "image_position", "system_prompt", "question_template"}
//   {"do": "render", "directory",           conversations under the chat template of another directory: {"texts"}
//    "conversations"}                       of {"messages": [{"role", "text", "n_images"}], "add_generation_prompt"}
#include <filesystem>
#include <fstream>
#include <iostream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "config/run_config.h"
#include "data/jsonl.h"
#include "image/image.h"
#include "model/model.h"
#include "model/tensor_services.h"
#include "plugin/host_services.h"
#include "train/prompt_source.h"

namespace graft {
namespace {

using nlohmann::json;

plugin::Registry open_registry() {
  model::register_tensor_services();
  plugin::Registry registry(plugin::host_table());
  for (const auto& entry : std::filesystem::directory_iterator(GRAFT_PLUGIN_DIR)) registry.load(entry.path());
  return registry;
}

void write_bytes(const std::filesystem::path& path, const void* data, std::size_t size) {
  std::ofstream file(path, std::ios::binary);
  file.write(static_cast<const char*>(data), static_cast<std::streamsize>(size));
  if (!file.flush()) throw std::runtime_error("cannot write " + path.string());
}

class Probe {
 public:
  explicit Probe(std::filesystem::path directory) : directory_(std::move(directory)) {}

  json answer(const json& request) {
    const std::string what = request.at("do");
    if (what == "decode") return decode(request);
    if (what == "size") return size(request);
    if (what == "pixels") return pixels(request);
    if (what == "prompt") return prompt(request);
    if (what == "render") return render(request);
    throw std::runtime_error("unknown request " + what);
  }

 private:
  static json decode(const json& request) {
    const image::Image image = image::load_image(request.at("file").get<std::string>());
    write_bytes(request.at("out").get<std::string>(), image.rgb.data(), image.rgb.size());
    return {{"width", image.width}, {"height", image.height}};
  }

  json size(const json& request) {
    image::Image image;
    image.width = request.at("width");
    image.height = request.at("height");
    image.rgb.resize(static_cast<std::size_t>(3 * image.width * image.height));
    const model::PreparedImage prepared = prepare(request, image);
    return {{"height", prepared.processed_height}, {"width", prepared.processed_width}};
  }

  json pixels(const json& request) {
    const model::PreparedImage prepared =
        prepare(request, image::load_image(request.at("file").get<std::string>()));
    const at::Tensor& values = prepared.values;
    write_bytes(request.at("out").get<std::string>(), values.const_data_ptr<float>(), values.nbytes());
    return {{"grid", prepared.grid}};
  }

  json prompt(const json& request) {
    const config::DataFile file = {"record.jsonl", request.at("image_root")};
    config::DataConfig options;
    options.question_template = request.value("question_template", options.question_template);
    if (request.contains("system_prompt")) options.system_prompt = request["system_prompt"];
    const auto position = request.at("image_position") == "first" ? data::ImagePosition::kFirst
                                                                  : data::ImagePosition::kInterleaved;
    std::vector<data::Sample> samples = {data::parse_sample(request.at("record").dump(), file, 1, position)};
    const train::PromptSource source(model_with({}, {}), options, std::move(samples), 0);
    const train::PromptItem item = source.at(0);
    return {{"text", item.prompt.text}, {"ids", item.prompt.ids}};
  }

  json render(const json& request) {
    model::OpenOptions options;
    options.directory = request.at("directory").get<std::string>();
    options.random_init = true;
    const std::unique_ptr<model::Model> model = model::Model::open(registry_, options);
    json texts = json::array();
    for (const json& conversation : request.at("conversations")) {
      std::vector<model::Message> messages;
      for (const json& turn : conversation.at("messages")) {
        messages.push_back({turn.at("role"), turn.at("text"), turn.at("n_images")});
      }
      texts.push_back(model->render(messages, conversation.at("add_generation_prompt")));
    }
    return {{"texts", std::move(texts)}};
  }

  model::PreparedImage prepare(const json& request, image::Image image) {
    const model::Model& model = model_with(request.at("min_pixels").get<std::int64_t>(),
                                           request.at("max_pixels").get<std::int64_t>());
    const std::vector<image::Image> images = {std::move(image)};
    return model.prepare({{"user", "?", 1}}, images, {}).images.at(0);
  }

  using Limit = std::optional<std::int64_t>;

  // Models are kept: there are few limits and many images.
  const model::Model& model_with(Limit min_pixels, Limit max_pixels) {
    std::unique_ptr<model::Model>& model = models_[{min_pixels, max_pixels}];
    if (model == nullptr) {
      model::OpenOptions options;
      options.directory = directory_;
      options.min_pixels = min_pixels;
      options.max_pixels = max_pixels;
      model = model::Model::open(registry_, options);
    }
    return *model;
  }

  std::filesystem::path directory_;
  plugin::Registry registry_ = open_registry();
  std::map<std::pair<Limit, Limit>, std::unique_ptr<model::Model>> models_;
};

int run(const std::string& directory) {
  Probe probe(directory);
  for (std::string line; std::getline(std::cin, line);) {
    json answer;
    try {
      answer = probe.answer(json::parse(line));
    } catch (const std::exception& error) {
      answer = {{"error", error.what()}};
    }
    std::cout << answer.dump(-1, ' ', false, json::error_handler_t::replace) << '\n';
  }
  return 0;
}

}  // namespace
}  // namespace graft

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: image_probe MODEL\n";
    return 2;
  }
  return graft::run(argv[1]);
}
