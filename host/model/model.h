// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "image/image.h"
#include "model/hooks.h"
#include "plugin/registry.h"
#include "text/tokenizer.h"

namespace graft::model {

// A base parameter as declared by the family. `tensor` is the one to compute with, unless it is held in eight bits.
struct Param {
  std::string name;  // canonical module path
  std::vector<std::string> aliases;
  std::vector<std::int64_t> sizes;
  std::int32_t component;  // GRAFT_COMPONENT_*
  std::int32_t tied_to;    // index, -1 if stored by itself
  at::Tensor tensor;
  bool holds_int8 = false;  // tensor is int8, see model/int8_weight.h
  at::Tensor scales{};      // then

  // The values in a floating-point dtype: the tensor itself where it has that dtype.
  [[nodiscard]] at::Tensor dense(at::ScalarType dtype) const;
};

struct Site {
  std::string name;
  std::int32_t weight;  // index of a Param
  std::int32_t bias;    // index or -1
  std::int32_t component;
  std::int64_t in_features;
  std::int64_t out_features;
};

// Whether a GRAFT_COMPONENT_* is part of the vision tower: its encoder or the projector.
[[nodiscard]] bool is_vision(std::int32_t component);

struct Segment {
  std::string name;
  std::int32_t parent;
  std::int32_t component;
  std::uint64_t activation_values_per_token;
  std::uint64_t input_values_per_token;
  std::uint64_t flops_per_token;
};

// One image of a prompt, ready for the vision encoder.
struct PreparedImage {
  at::Tensor values;  // float32 [patches, features]
  std::array<std::int64_t, 3> grid{};
  std::int64_t n_tokens = 0;
  std::int64_t original_width = 0, original_height = 0;
  std::int64_t processed_width = 0, processed_height = 0;
};

struct Prompt {
  std::string text;                      // rendered, one placeholder an image
  std::vector<std::int64_t> ids;         // expanded
  at::Tensor positions;                  // int64 [position_rank, ids.size()]
  std::int64_t next_position = 0;        // of the first completion token
  std::vector<std::int64_t> image_rows;  // indices into ids that image features replace, in order
  std::vector<PreparedImage> images;
};

// One turn of a conversation. Images stand before the text unless `text` contains "<image>" placeholders, which
// are text in turns of others than the user that have no images.
struct Message {
  std::string role;  // "system", "user", "assistant"
  std::string text;
  std::int64_t n_images = 0;
};

// Inputs of one pass over the decoder, flat over all sequences.
struct DecoderInput {
  at::Tensor ids;           // int64 [T]
  at::Tensor positions;     // int64 [position_rank, T]
  at::Tensor image_values;  // [N, the family's image_value_size], undefined if none
  at::Tensor image_rows;    // int64 [N], undefined if none
};

struct OpenOptions {
  std::filesystem::path directory;
  std::string family = "auto";       // or a component name
  std::string family_params = "{}";  // of that component, a JSON object
  std::string dtype =
      "float32";  // or "bfloat16", "float16": weights are converted to it; "auto": that of the files
  std::string compute_dtype;  // "bfloat16": autocast, see model/autocast.h; "" or the same as dtype: none
  bool as_int8 =
      false;  // hold the weights of linear layers, the head aside, in eight bits: frozen, see model/int8_weight.h
  bool random_init = false;  // do not read weights: seeded random ones of the configured shape
  // Parameters have sizes and no values (LibTorch's "meta" device): what a pass would take can be counted, nothing computed. Of
  // the weights' files only the headers are read.
  bool without_values = false;
  std::uint64_t seed = 0;
  std::optional<std::int64_t> min_pixels;  // override preprocessor_config.json
  std::optional<std::int64_t> max_pixels;
};

struct ModelCore;  // model/core.h

// A model family over a checkpoint directory: weights, tokenizer, prompts and forward passes. Forward passes
// may run on several threads; the rest is for the control thread. Throws UserError for bad directories,
// PluginError for plugin failures.
class Model {
 public:
  static std::unique_ptr<Model> open(plugin::Registry& registry, const OpenOptions& options);
  ~Model();

  [[nodiscard]] const std::filesystem::path& directory() const;
  [[nodiscard]] const std::string& family() const;
  [[nodiscard]] const text::Tokenizer& tokenizer() const;
  [[nodiscard]] std::vector<Param>& params();
  [[nodiscard]] const std::vector<Param>& params() const;
  [[nodiscard]] const std::vector<Site>& sites() const;
  [[nodiscard]] const std::vector<Segment>& segments() const;
  [[nodiscard]] std::uint32_t head_site() const;
  [[nodiscard]] std::int64_t vocab_size() const;
  [[nodiscard]] std::int64_t hidden_size() const;
  [[nodiscard]] std::uint32_t attention_layers() const;
  [[nodiscard]] std::uint32_t position_rank() const;
  [[nodiscard]] const std::vector<std::int64_t>& image_token_ids() const;
  // The ids that end a completion: eos_token_id of generation_config.json, else of config.json, else the
  // tokenizer's.
  [[nodiscard]] const std::vector<std::int64_t>& stop_ids() const;
  // The tokenizer's eos token, one of the stop ids as a rule.
  [[nodiscard]] std::int64_t eos_id() const;
  [[nodiscard]] std::int64_t pad_id() const;
  [[nodiscard]] std::int32_t grounding_space() const;
  [[nodiscard]] const std::string& grounding_format() const;
  [[nodiscard]] at::ScalarType dtype() const;          // of the base weights
  [[nodiscard]] at::ScalarType compute_dtype() const;  // of matrix products and attention

  void set_linear_hook(std::shared_ptr<LinearHook> hook);    // null: plain base layers
  void set_segment_hook(std::shared_ptr<SegmentHook> hook);  // null: keep everything

  // Renders, tokenises, preprocesses and expands one prompt.
  [[nodiscard]] Prompt prepare(const std::vector<Message>& messages, std::span<const image::Image> images,
                               std::span<const std::string> image_names,
                               bool add_generation_prompt = true) const;
  // Chat template alone.
  [[nodiscard]] std::string render(const std::vector<Message>& messages, bool add_generation_prompt) const;

  // Vision features of all images, in order: [sum of n_tokens, the family's image_value_size]. Runs without grad unless a vision or
  // projector parameter is trained (base or adapter).
  [[nodiscard]] at::Tensor encode_images(std::span<const PreparedImage* const> images,
                                         const PassOptions& options) const;
  // Hidden states after the final norm: [T, D].
  [[nodiscard]] at::Tensor decode(const DecoderInput& input, std::shared_ptr<SequenceAttention> attention,
                                  const PassOptions& options) const;
  // Logits [N, vocab_size] of hidden rows [N, D].
  [[nodiscard]] at::Tensor head(const at::Tensor& hidden, const PassOptions& options) const;

  // True if any trained tensor (base or adapter) belongs to the vision tower or the projector.
  [[nodiscard]] bool trains_vision() const;

  // Writes the weights and every file of the directory (tokenizer, configs) as a Hugging Face directory,
  // tensor names as in the file they came from. Atomic.
  // `instead` holds other tensors for some parameters, by index; what was tied to one of them and is not itself replaced alike
  // is stored on its own, and config.json says so.
  void save(const std::filesystem::path& directory,
            const std::map<std::uint32_t, at::Tensor>& instead = {}) const;

 private:
  explicit Model(std::shared_ptr<ModelCore> core);
  std::shared_ptr<ModelCore> core_;
};

// Vision features of each prompt [N, D], undefined where there is no image: one pass over all images. With autograd if grad
// mode is on and vision is trained.
[[nodiscard]] std::vector<at::Tensor> encode_prompt_images(const Model& model,
                                                           const std::vector<const Prompt*>& prompts,
                                                           const PassOptions& pass);

}  // namespace graft::model
