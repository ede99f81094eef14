// SPDX-License-Identifier: Apache-2.0
// The decoder's part of config.json, in both layouts: flat, as published, and nested under text_config, as transformers 5
// writes multimodal models.
#pragma once

#include <cstdint>
#include <string_view>

#include "common/rotary.h"
#include "common/section.h"

namespace families {

// What differs between decoders of the Llama pattern. A family sets what its architecture fixes and what its files may leave
// out, read_text_config() the rest.
struct TextConfig {
  std::int64_t vocab_size = 0;
  std::int64_t hidden_size = 0;
  std::int64_t intermediate_size = 0;
  std::int64_t n_layers = 0;
  std::int64_t n_heads = 0;
  std::int64_t n_kv_heads = 0;
  std::int64_t head_dim = 0;  // preset: where the files may leave it out and it is not hidden_size / n_heads
  double rms_norm_eps = 1e-6;
  RopeConfig rope;
  bool has_qkv_bias = false;
  bool has_output_bias = false;  // of the attention's last projection
  bool has_mlp_bias = false;
  bool reads_biases = false;      // the three above are attention_bias and mlp_bias of config.json
  bool has_qk_norm = false;       // RMSNorm over each head of queries and keys (Qwen3)
  bool has_output_norms = false;  // RMSNorm over what attention and MLP add to the stream, too (GLM-4)
  bool joins_gate_up = false;     // one projection, gate_up_proj, for the two of the MLP (GLM-4)
  bool tie_word_embeddings = false;
  double initializer_range = 0.02;

  [[nodiscard]] std::int64_t q_width() const { return n_heads * head_dim; }
  [[nodiscard]] std::int64_t kv_width() const { return n_kv_heads * head_dim; }
};

// What an architecture fixes and what its files may leave out, by the model_type of a decoder of text: "llama", "qwen2", "qwen3".
// Throws graft::Error that begins with `where` for others.
[[nodiscard]] TextConfig decoder_defaults(std::string_view model_type, const std::string& where = {});

// The object that describes the decoder: text_config, or the whole file.
[[nodiscard]] Section text_section(const Section& root);

// Reads what `defaults` leaves open. Throws graft::Error that names the key for what is missing, does not fit together, or is
// not offered (sliding windows, other activations, RoPE scalings).
[[nodiscard]] TextConfig read_text_config(const Section& root, const TextConfig& defaults);

}  // namespace families
