// SPDX-License-Identifier: Apache-2.0
// Qwen3, dense (Yang et al. 2025, arXiv:2505.09388), with the arithmetic of transformers' Qwen3ForCausalLM: queries and keys
// are normalised head by head, and heads need not add up to the hidden size.
#include "common/text_family.h"

namespace {

class Qwen3 final : public families::TextFamily {
 public:
  static constexpr auto name = "qwen3";
  static constexpr auto summary = "Qwen3, dense: text only";
  static bool probe(const graft::Json& config) {
    return families::is_config_of(config, name, "Qwen3ForCausalLM");
  }

  void open(const graft::FamilyFiles& files) override {
    open_text(files, families::decoder_defaults(name), families::ChatMl{});
  }
};

}  // namespace

GRAFT_PLUGIN(Qwen3);
