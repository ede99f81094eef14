// SPDX-License-Identifier: Apache-2.0
#include "common/text_config.h"

namespace families {
namespace {

// Which tokens attend to which is the host's to decide, and it knows causal attention over whole sequences.
void refuse_windows(const Section& text) {
  text.require(!text.boolean("use_sliding_window", false), "use_sliding_window",
               "is true; sliding-window attention is not offered");
  const graft::Json* types = text.find("layer_types");
  if (types == nullptr) return;
  for (const graft::Json& type : types->items()) {
    text.require(type.as_string() == "full_attention", "layer_types",
                 "has \"" + type.as_string() + "\", expected \"full_attention\" only");
  }
}

}  // namespace

TextConfig decoder_defaults(std::string_view model_type, const std::string& where) {
  TextConfig out;
  if (model_type == "qwen2") {
    out.has_qkv_bias = true;
  } else if (model_type == "qwen3") {
    out.head_dim = 128;
    out.has_qk_norm = true;
    out.reads_biases = true;
  } else if (model_type == "llama") {
    out.reads_biases = true;
  } else {
    throw graft::Error(GRAFT_E_UNSUPPORTED,
                       where + ": model_type is \"" + std::string(model_type) +
                           "\"; the decoders offered are \"llama\", \"qwen2\" and \"qwen3\"");
  }
  return out;
}

Section text_section(const Section& root) {
  return root.child("text_config").value_or(root);
}

TextConfig read_text_config(const Section& root, const TextConfig& defaults) {
  const Section text = text_section(root);
  TextConfig out = defaults;
  out.vocab_size = text.count("vocab_size");
  out.hidden_size = text.count("hidden_size");
  out.intermediate_size = text.count("intermediate_size");
  out.n_layers = text.count("num_hidden_layers");
  out.n_heads = text.count("num_attention_heads");
  out.n_kv_heads = text.count("num_key_value_heads", out.n_heads);
  out.rms_norm_eps = text.number("rms_norm_eps", out.rms_norm_eps);
  out.initializer_range = text.number("initializer_range", out.initializer_range);
  if (text.find("head_dim") != nullptr) out.head_dim = text.count("head_dim");
  if (out.head_dim == 0) {
    text.require(out.hidden_size % out.n_heads == 0, "hidden_size", "is no multiple of num_attention_heads");
    out.head_dim = out.hidden_size / out.n_heads;
  }
  text.require(out.head_dim % 2 == 0, "head_dim", "is odd");
  text.require(out.n_heads % out.n_kv_heads == 0, "num_attention_heads",
               "is no multiple of num_key_value_heads");
  text.expect("hidden_act", "silu");
  refuse_windows(text);
  if (defaults.reads_biases) {
    out.has_qkv_bias = out.has_output_bias = text.boolean("attention_bias", false);
    out.has_mlp_bias = text.boolean("mlp_bias", false);
  }
  out.rope = read_rope(text, defaults.rope, out.head_dim);
  out.tie_word_embeddings = root.boolean("tie_word_embeddings", defaults.tie_word_embeddings) ||
                            text.boolean("tie_word_embeddings", false);
  return out;
}

}  // namespace families
