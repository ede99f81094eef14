// SPDX-License-Identifier: Apache-2.0
// Parameters of the strategy, and their form in PEFT's adapter_config.json.
#pragma once

#include <graft/sdk/peft.hpp>

#include <cstdint>
#include <string>

#include "eva.h"

namespace lora {

// How A and B start. PiSSA and OLoRA take a part of the base weight over, W = (W − s B₀A₀) + s B A.
enum class Start { kKaiming, kGaussian, kOrthogonal, kPissa, kOlora, kEva };

struct Settings {
  static graft::Schema schema();
  explicit Settings(const graft::Params& params);

  // s of a site: alpha / r, or alpha / √r if rank-stabilised.
  [[nodiscard]] double scale(const graft::Site& site) const;
  // True if B A starts as a part of W.
  [[nodiscard]] bool splits_weight() const { return start == Start::kPissa || start == Start::kOlora; }

  // The fields that PEFT 0.21 writes for LoRA. An adapter that splits W is written as the plain one of twice the rank that
  // does the same to the unchanged W (peft/utils/save_and_load.py; LoraModel.subtract_mutated_init), so a rank for each of `model`'s
  // sites with a value of its own comes along.
  [[nodiscard]] graft::Json to_peft(const graft::ModelValues& model) const;
  // Parameters that stand for such a file; refuses what is not offered.
  static graft::Json from_peft(const graft::Json& config);

  std::int64_t rank;
  double alpha;
  double dropout;
  bool use_rslora;
  std::string bias;  // "none", "lora_only", "all": which biases of the base are trained too
  bool lora_bias;    // B has a bias
  Start start;
  std::int64_t pissa_iterations;  // of the randomised SVD; 0: exact
  EvaSettings eva;
  bool use_dora;
  double lr_ratio;  // LoRA+: learning rate of B over that of A
  bool freeze_a;    // LoRA-FA
};

}  // namespace lora
