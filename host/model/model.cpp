// SPDX-License-Identifier: Apache-2.0
#include "model/model.h"

#include <c10/core/GradMode.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "model/core.h"
#include "model/exec.h"
#include "model/int8_weight.h"
#include "model/pixels.h"
#include "model/tensor_handle.h"
#include "model/tensor_services.h"
#include "model/weights.h"
#include "support/error.h"
#include "support/files.h"
#include "support/log.h"
#include "support/strings.h"

namespace graft::model {

namespace {

using support::cat;

void require(bool condition, const char* what) {
  if (!condition) throw std::invalid_argument(cat("Model::decode: ", what));
}

void check_input(const DecoderInput& input, std::uint32_t position_rank) {
  require(input.ids.dim() == 1 && input.ids.scalar_type() == at::kLong, "ids must be int64 [T]");
  require(input.positions.dim() == 2 && input.positions.size(0) == position_rank &&
              input.positions.size(1) == input.ids.size(0),
          "positions must be int64 [position_rank, T]");
  require(input.image_values.defined() == input.image_rows.defined() &&
              (!input.image_rows.defined() || input.image_rows.size(0) == input.image_values.size(0)),
          "image_values and image_rows must match");
}

// Which autocast the options ask for. bfloat16 over bfloat16 weights is one too: trained tensors are float32.
std::optional<at::ScalarType> autocast_of(at::ScalarType dtype, const OpenOptions& options) {
  if (options.compute_dtype.empty()) return std::nullopt;
  const at::ScalarType compute = dtype_of_name(options.compute_dtype);
  if (compute == at::kBFloat16 && (dtype == at::kFloat || dtype == at::kBFloat16)) return compute;
  if (compute == dtype) return std::nullopt;
  throw support::UserError(
      cat("model.compute_dtype=", options.compute_dtype, " has no effect on model.dtype=", options.dtype,
          ", whose weights are rounded already; expected bfloat16 over float32 or bfloat16 weights, or "
          "null: compute in model.dtype"));
}

// config.json for weights of the model's dtype, with a head of its own if it is no longer tied to the embeddings.
std::string stored_config(const std::string& config, at::ScalarType dtype, bool is_untied) {
  auto object = nlohmann::ordered_json::parse(config);
  bool changed = false;
  const auto set = [&](nlohmann::ordered_json& section, const char* key,
                       const nlohmann::ordered_json& value) {
    if (!section.contains(key) || section[key] == value) return;
    section[key] = value;
    changed = true;
  };
  const auto set_all = [&](nlohmann::ordered_json& section) {
    for (const char* key : {"torch_dtype", "dtype"}) set(section, key, name_of_dtype(dtype));
    if (is_untied) set(section, "tie_word_embeddings", false);
  };
  if (is_untied && !object.contains("tie_word_embeddings")) object["tie_word_embeddings"] = true;
  set_all(object);
  for (const char* part : {"text_config", "vision_config"}) {
    if (object.contains(part) && object[part].is_object()) set_all(object[part]);
  }
  return changed ? object.dump(2) + "\n" : config;
}

// Linear layers' weights that nothing else uses; the head stays exact, as logits depend on it directly.
void choose_int8(Declarations& declared) {
  for (const Site& site : declared.sites) {
    Param& weight = declared.params[static_cast<std::size_t>(site.weight)];
    weight.holds_int8 = site.component != GRAFT_COMPONENT_HEAD && weight.tied_to < 0;
  }
  for (const Param& param : declared.params) {
    if (param.tied_to >= 0) declared.params[static_cast<std::size_t>(param.tied_to)].holds_int8 = false;
  }
}

}  // namespace

bool is_vision(std::int32_t component) {
  return component == GRAFT_COMPONENT_VISION || component == GRAFT_COMPONENT_PROJECTOR;
}

at::Tensor Param::dense(at::ScalarType dtype) const {
  return scales.defined() ? from_int8({tensor, scales}, dtype) : tensor.to(dtype);
}

Model::Model(std::shared_ptr<ModelCore> core) : core_(std::move(core)) {}
Model::~Model() = default;

std::unique_ptr<Model> Model::open(plugin::Registry& registry, const OpenOptions& options) {
  register_tensor_services();
  ModelDirectory directory = read_directory(options);
  const at::ScalarType dtype =
      options.dtype == "auto" ? weights_dtype(directory.path) : dtype_of_name(options.dtype);
  const std::optional<at::ScalarType> autocast = autocast_of(dtype, options);
  text::Tokenizer tokenizer = text::Tokenizer::load(directory.path / "tokenizer.json");
  auto family = Family::open(registry, options, directory, tokenizer);
  Declarations declared = family->describe();
  if (options.as_int8) choose_int8(declared);
  std::vector<std::string> names;
  if (options.without_values) {
    if (!options.random_init) check_weights(directory.path, declared.params);
    outline_weights(dtype, declared.params);
  } else {
    names = options.random_init ? random_weights(options.seed, dtype, declared.random, declared.params)
                                : load_weights(directory.path, dtype, declared.params);
  }
  std::vector<std::int64_t> stop_ids = find_stop_ids(directory, tokenizer);
  if (stop_ids.empty()) {
    support::log_warn(cat(directory.path,
                          " names no end-of-text token (eos_token_id in generation_config.json): "
                          "completions end by length only"));
  }
  const std::int64_t eos_id = find_eos_id(directory, tokenizer, stop_ids);
  const std::int64_t pad_id = find_pad_id(directory, tokenizer, stop_ids);
  return std::unique_ptr<Model>(new Model(std::make_shared<ModelCore>(
      ModelCore{std::move(directory), std::move(tokenizer), std::move(family), std::move(declared),
                std::move(names), dtype, autocast, std::move(stop_ids), eos_id, pad_id, nullptr, nullptr})));
}

const std::filesystem::path& Model::directory() const {
  return core_->directory.path;
}
const std::string& Model::family() const {
  return core_->family->name();
}
const text::Tokenizer& Model::tokenizer() const {
  return core_->tokenizer;
}
std::vector<Param>& Model::params() {
  return core_->declared.params;
}
const std::vector<Param>& Model::params() const {
  return core_->declared.params;
}
const std::vector<Site>& Model::sites() const {
  return core_->declared.sites;
}
const std::vector<Segment>& Model::segments() const {
  return core_->declared.segments;
}
std::uint32_t Model::head_site() const {
  return core_->declared.head_site;
}
std::int64_t Model::vocab_size() const {
  return core_->declared.vocab_size;
}
std::int64_t Model::hidden_size() const {
  return core_->declared.hidden_size;
}
std::uint32_t Model::attention_layers() const {
  return core_->declared.n_attention_layers;
}
std::uint32_t Model::position_rank() const {
  return core_->declared.position_rank;
}
const std::vector<std::int64_t>& Model::image_token_ids() const {
  return core_->declared.image_token_ids;
}
const std::vector<std::int64_t>& Model::stop_ids() const {
  return core_->stop_ids;
}
std::int64_t Model::eos_id() const {
  return core_->eos_id;
}
std::int64_t Model::pad_id() const {
  return core_->pad_id;
}
std::int32_t Model::grounding_space() const {
  return core_->declared.grounding_space;
}
const std::string& Model::grounding_format() const {
  return core_->declared.grounding_format;
}
at::ScalarType Model::dtype() const {
  return core_->dtype;
}
at::ScalarType Model::compute_dtype() const {
  return core_->autocast.value_or(core_->dtype);
}

void Model::set_linear_hook(std::shared_ptr<LinearHook> hook) {
  core_->linear_hook = std::move(hook);
}
void Model::set_segment_hook(std::shared_ptr<SegmentHook> hook) {
  core_->segment_hook = std::move(hook);
}

at::Tensor Model::encode_images(std::span<const PreparedImage* const> images,
                                const PassOptions& options) const {
  if (images.empty()) throw std::invalid_argument("Model::encode_images needs at least one image");
  const PixelsList pixels(images);
  const c10::AutoGradMode mode(c10::GradMode::is_enabled() && trains_vision());
  graft_tensor out = nullptr;
  call_with_exec(make_pass(core_, options), "encode_images", [&](const graft_exec* exec, graft_error* error) {
    return core_->family->table().encode_images(core_->family->instance(), exec, pixels.data(), pixels.size(),
                                                &out, error);
  });
  at::Tensor features = take(out);
  if (!features.defined() || features.dim() != 2 || features.size(0) != pixels.tokens() ||
      features.size(1) != core_->declared.image_value_size) {
    throw support::PluginError(cat("model_family ", family(), ": encode_images did not give [",
                                   pixels.tokens(), ", ", core_->declared.image_value_size, "] features"));
  }
  return features;
}

at::Tensor Model::decode(const DecoderInput& input, std::shared_ptr<SequenceAttention> attention,
                         const PassOptions& options) const {
  check_input(input, position_rank());
  graft_decode args{};
  args.hdr = GRAFT_HDR(graft_decode);
  const at::Device device = params().front().tensor.device();
  const auto there = [&](const at::Tensor& tensor) { return tensor.defined() ? tensor.to(device) : tensor; };
  const at::Tensor ids = there(input.ids), positions = there(input.positions),
                   image_rows = there(input.image_rows);
  args.ids = lend(ids);
  args.positions = lend(positions);
  args.image_values = lend(input.image_values);
  args.image_rows = lend(image_rows);
  graft_tensor out = nullptr;
  call_with_exec(make_pass(core_, options, std::move(attention)), "decode",
                 [&](const graft_exec* exec, graft_error* error) {
                   return core_->family->table().decode(core_->family->instance(), exec, &args, &out, error);
                 });
  at::Tensor hidden = take(out);
  if (!hidden.defined() || hidden.dim() != 2 || hidden.size(0) != input.ids.size(0) ||
      hidden.size(1) != hidden_size()) {
    throw support::PluginError(cat("model_family ", family(), ": decode did not give [", input.ids.size(0),
                                   ", ", hidden_size(), "] hidden states"));
  }
  return hidden;
}

at::Tensor Model::head(const at::Tensor& hidden, const PassOptions& options) const {
  const AutocastScope precision = precision_of(*core_);
  return apply_linear(*make_pass(core_, options), head_site(), hidden);
}

bool Model::trains_vision() const {
  const LinearHook* const hook = core_->linear_hook.get();
  for (std::uint32_t i = 0; i < params().size(); ++i) {
    if (!is_vision(params()[i].component)) continue;
    const at::Tensor* const copy = hook == nullptr ? nullptr : hook->replacement(i);
    if ((copy == nullptr ? params()[i].tensor : *copy).requires_grad()) return true;
  }
  if (hook == nullptr) return false;
  for (std::uint32_t i = 0; i < sites().size(); ++i) {
    if (is_vision(sites()[i].component) && hook->covers(i) && !hook->trained_tensors(i).empty()) return true;
  }
  return false;
}

void Model::save(const std::filesystem::path& target,
                 const std::map<std::uint32_t, at::Tensor>& instead) const {
  std::vector<Param> stored = params();
  std::vector<std::string> names = core_->file_names;
  for (Param& param : stored) {
    if (param.scales.defined()) param.tensor = param.dense(dtype());
  }
  for (const auto& [index, tensor] : instead) stored.at(index).tensor = tensor;
  bool is_untied = false;
  for (std::size_t i = 0; i < stored.size(); ++i) {
    Param& param = stored[i];
    if (param.tied_to < 0 || param.tensor.is_same(stored[static_cast<std::size_t>(param.tied_to)].tensor))
      continue;
    param.tied_to = -1;
    names[i] = param.name;
    is_untied = true;
  }
  support::AtomicDirectory directory(target);
  for (const std::filesystem::path& file : companion_files(core_->directory.path)) {
    const bool is_config = file.filename() == "config.json";
    support::write_file_atomic(
        directory.path() / file.filename(),
        is_config ? stored_config(core_->directory.config, dtype(), is_untied) : support::read_file(file));
  }
  save_weights(directory.path(), stored, names);
  directory.commit();
}

std::vector<at::Tensor> encode_prompt_images(const Model& model, const std::vector<const Prompt*>& prompts,
                                             const PassOptions& pass) {
  std::vector<const PreparedImage*> images;
  for (const Prompt* prompt : prompts) {
    for (const PreparedImage& image : prompt->images) images.push_back(&image);
  }
  std::vector<at::Tensor> features(prompts.size());
  if (images.empty()) return features;
  const at::Tensor all = model.encode_images(images, pass);  // [sum of n_tokens, D]
  std::int64_t row = 0;
  for (std::size_t p = 0; p < prompts.size(); ++p) {
    std::int64_t rows = 0;
    for (const PreparedImage& image : prompts[p]->images) rows += image.n_tokens;
    if (rows > 0) features[p] = all.narrow(0, row, rows);
    row += rows;
  }
  return features;
}

}  // namespace graft::model
