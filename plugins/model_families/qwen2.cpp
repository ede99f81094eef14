// SPDX-License-Identifier: Apache-2.0
// Qwen2 and Qwen2.5 (Yang et al. 2024, arXiv:2407.10671, arXiv:2412.15115), with the arithmetic of transformers'
// Qwen2ForCausalLM: grouped-query attention with biased queries, keys and values.
#include "common/text_family.h"

namespace {

class Qwen2 final : public families::TextFamily {
 public:
  static constexpr auto name = "qwen2";
  static constexpr auto summary = "Qwen2 and Qwen2.5: text only";
  static bool probe(const graft::Json& config) {
    return families::is_config_of(config, name, "Qwen2ForCausalLM");
  }

  void open(const graft::FamilyFiles& files) override {
    open_text(files, families::decoder_defaults(name), families::ChatMl{"You are a helpful assistant."});
  }
};

}  // namespace

GRAFT_PLUGIN(Qwen2);
