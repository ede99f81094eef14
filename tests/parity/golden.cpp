// SPDX-License-Identifier: Apache-2.0
#include "tests/parity/golden.h"

#include <algorithm>
#include <fstream>

#include "model/attention.h"
#include "model/packed_input.h"

namespace graft::parity {
namespace {

constexpr std::string_view kSuffix = "_tiny";

std::filesystem::path data_directory() {
  return std::filesystem::path(GRAFT_TEST_DATA) / "parity/data";
}

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

Fixture::Fixture(std::string family)
    : directory_(data_directory() / (std::move(family) + std::string(kSuffix))),
      file_(std::make_shared<model::SafetensorsFile>(directory_ / "golden/golden.safetensors")) {
  std::ifstream(directory_ / "golden/golden.json") >> notes_;
}

at::Tensor Fixture::golden(std::string_view name) const {
  return file_->read(name);
}

std::unique_ptr<model::Model> Fixture::open(const std::string& dtype,
                                            const std::string& compute_dtype) const {
  model::OpenOptions options;
  options.directory = directory_;
  options.dtype = dtype;
  options.compute_dtype = compute_dtype;
  return model::Model::open(tiny_registry(), options);
}

image::Image Fixture::load(std::string_view name) const {
  return image::load_image(directory_ / "golden" / (std::string(name) + ".png"));
}

model::Prompt Fixture::prepare_question(const model::Model& model, const std::string& asked,
                                        std::string_view image_name) const {
  if (!has_images()) return model.prepare({{"user", asked, 0}}, {}, {});
  const std::vector<model::Message> messages = {{"user", asked, 1}};
  const std::vector<image::Image> images = {load(image_name)};
  const std::vector<std::string> names = {std::string(image_name)};
  return model.prepare(messages, images, names);
}

std::string Fixture::question() const {
  return notes().at("batch").at("questions").at(0);
}

std::vector<std::string> all_families() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(data_directory())) {
    const std::string name = entry.path().filename().string();
    if (name.ends_with(kSuffix)) names.push_back(name.substr(0, name.size() - kSuffix.size()));
  }
  std::sort(names.begin(), names.end());
  return names;
}

std::vector<std::string> image_families() {
  std::vector<std::string> names = all_families();
  std::erase_if(names, [](const std::string& name) { return !Fixture(name).has_images(); });
  return names;
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

at::Tensor image_values(const model::Model& model, const model::Prompt& prompt) {
  if (prompt.images.empty()) return {};
  std::vector<const model::PreparedImage*> images;
  for (const model::PreparedImage& image : prompt.images) images.push_back(&image);
  return model.encode_images(images, {});
}

at::Tensor logits_of(const model::Model& model, const model::Prompt& prompt,
                     const std::vector<std::int64_t>& completion) {
  model::PackedSequences sequences;
  sequences.prompt = &prompt;
  sequences.image_values = image_values(model, prompt);
  if (!completion.empty()) sequences.completions.emplace_back(completion);
  const std::vector<model::PackedSequences> groups = {sequences};
  const at::Tensor hidden = model.decode(model::pack_input(groups, model.position_rank()),
                                         model::packed_attention(model::packed_groups(groups)), {});
  return model.head(hidden, {});
}

Single::Single(const Fixture& fixture, const model::Model& model)
    : prompt(fixture.prepare_question(model, fixture.question(), "image")),
      completion(ids_of(fixture.golden("completion_ids"))),
      groups(1) {
  groups[0].prompt = &prompt;
  groups[0].image_values = image_values(model, prompt);
  groups[0].completions.emplace_back(completion);
}

Batch::Batch(const Fixture& fixture, const model::Model& model) : groups(2) {
  const nlohmann::json& note = fixture.notes().at("batch");
  prompts.push_back(fixture.prepare_question(model, note.at("questions").at(0), "image"));
  prompts.push_back(fixture.prepare_question(model, note.at("questions").at(1), "image_resize"));
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

testing::AssertionResult are_logits_close(const at::Tensor& ours, const at::Tensor& theirs,
                                          double tolerance) {
  const std::int64_t rows = theirs.size(0);
  return compare(ours.slice(0, ours.size(0) - rows), theirs, tolerance, 1.0);
}

testing::AssertionResult is_close_relative(const at::Tensor& ours, const at::Tensor& theirs,
                                           double tolerance) {
  return compare(ours, theirs, tolerance, theirs.abs().max().item<double>());
}

}  // namespace graft::parity
