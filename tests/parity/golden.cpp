// SPDX-License-Identifier: Apache-2.0
#include "tests/parity/golden.h"

#include <fstream>

#include "model/attention.h"
#include "model/packed_input.h"
#include "model/safetensors.h"

namespace graft::parity {
namespace {

testing::AssertionResult compare(const at::Tensor& ours, const at::Tensor& theirs, double tolerance,
                                 double scale) {
  if (ours.sizes() != theirs.sizes()) {
    return testing::AssertionFailure() << "shape " << ours.sizes() << ", golden " << theirs.sizes();
  }
  const double difference =
      ours.detach().to(at::kDouble).sub(theirs.to(at::kDouble)).abs().max().item<double>();
  if (difference <= tolerance * scale) return testing::AssertionSuccess();  // false for NaN
  return testing::AssertionFailure() << "largest difference " << difference << ", allowed "
                                     << tolerance * scale;
}

}  // namespace

at::Tensor golden(std::string_view name) {
  static const model::SafetensorsFile file(tiny_directory() / "golden/golden.safetensors");
  return file.read(name);
}

const nlohmann::json& notes() {
  static const nlohmann::json json = [] {
    std::ifstream file(tiny_directory() / "golden/golden.json");
    return nlohmann::json::parse(file);
  }();
  return json;
}

image::Image load(std::string_view name) {
  return image::load_image(tiny_directory() / "golden" / (std::string(name) + ".png"));
}

std::vector<model::Message> messages_of(const nlohmann::json& messages) {
  std::vector<model::Message> out;
  for (const nlohmann::json& message : messages) {
    model::Message& made = out.emplace_back();
    made.role = message.at("role");
    if (message.at("content").is_string()) {
      made.text = message.at("content");
      continue;
    }
    for (const nlohmann::json& part : message.at("content")) {
      if (part.at("type") == "image") {
        made.text += "<image>";
        ++made.n_images;
      } else {
        made.text += part.at("text").get<std::string>();
      }
    }
  }
  return out;
}

model::Prompt prepare_question(const model::Model& model, const std::string& question,
                               std::string_view image_name) {
  const std::vector<model::Message> messages = {{"user", question, 1}};
  const std::vector<image::Image> images = {load(image_name)};
  const std::vector<std::string> names = {std::string(image_name)};
  return model.prepare(messages, images, names);
}

at::Tensor image_values(const model::Model& model, const model::Prompt& prompt) {
  std::vector<const model::PreparedImage*> images;
  for (const model::PreparedImage& image : prompt.images) images.push_back(&image);
  return model.encode_images(images, {});
}

at::Tensor logits_of(const model::Model& model, const model::Prompt& prompt,
                     const std::vector<std::int64_t>& completion) {
  model::PackedSequences sequences;
  sequences.prompt = &prompt;
  if (!prompt.images.empty()) sequences.image_values = image_values(model, prompt);
  if (!completion.empty()) sequences.completions.emplace_back(completion);
  const std::vector<model::PackedSequences> groups = {sequences};
  const at::Tensor hidden = model.decode(model::pack_input(groups, model.position_rank()),
                                         model::packed_attention(model::packed_groups(groups)), {});
  return model.head(hidden, {});
}

std::string question() {
  return notes().at("prompt").at("messages").at(0).at("content").at(1).at("text");
}

Single::Single(const model::Model& model)
    : prompt(prepare_question(model, question(), "image")),
      completion(ids_of(golden("completion_ids"))),
      groups(1) {
  groups[0].prompt = &prompt;
  groups[0].image_values = image_values(model, prompt);
  groups[0].completions.emplace_back(completion);
}

Batch::Batch(const model::Model& model) : groups(2) {
  const nlohmann::json& note = notes().at("batch");
  prompts.push_back(prepare_question(model, note.at("questions").at(0), "image"));
  prompts.push_back(prepare_question(model, note.at("questions").at(1), "image_resize"));
  for (const std::string text : note.at("completions")) completions.push_back(model.tokenizer().encode(text));
  for (std::size_t g = 0; g < groups.size(); ++g) {
    groups[g].prompt = &prompts[g];
    groups[g].image_values = image_values(model, prompts[g]);
    groups[g].completions = {completions[2 * g], completions[2 * g + 1]};
  }
}

std::vector<std::int64_t> ids_of(const at::Tensor& ids) {
  const at::Tensor flat = ids.to(at::kLong).contiguous().view({-1});
  return {flat.const_data_ptr<std::int64_t>(), flat.const_data_ptr<std::int64_t>() + flat.numel()};
}

testing::AssertionResult is_close(const at::Tensor& ours, const at::Tensor& theirs, double tolerance) {
  return compare(ours, theirs, tolerance, 1.0);
}

testing::AssertionResult is_close_relative(const at::Tensor& ours, const at::Tensor& theirs,
                                           double tolerance) {
  return compare(ours, theirs, tolerance, theirs.abs().max().item<double>());
}

}  // namespace graft::parity
