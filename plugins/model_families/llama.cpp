// SPDX-License-Identifier: Apache-2.0
// Llama 2, 3, 3.1 and 3.2 (Touvron et al. 2023, arXiv:2307.09288; Grattafiori et al. 2024, arXiv:2407.21783), and models of
// their architecture, with the arithmetic of transformers' LlamaForCausalLM.
#include "common/text_family.h"

namespace {

class Llama final : public families::TextFamily {
 public:
  static constexpr auto name = "llama";
  static constexpr auto summary = "Llama 2 and 3 and models of their architecture: text only";
  static bool probe(const graft::Json& config) {
    return families::is_config_of(config, name, "LlamaForCausalLM");
  }

  static graft::Schema params() {
    return graft::Schema().string(
        "date", "26 Jul 2024",
        "the \"Today Date\" in prompts of Llama 3.1 and 3.2; fixed, so that runs can be repeated");
  }

  explicit Llama(const graft::Params& params) : date_(params.string("date")) {}

  void open(const graft::FamilyFiles& files) override {
    open_text(files, families::decoder_defaults(name), families::Llama3Chat{}, date_);
  }

 private:
  std::string date_;
};

}  // namespace

GRAFT_PLUGIN(Llama);
