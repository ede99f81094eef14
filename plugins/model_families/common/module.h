// SPDX-License-Identifier: Apache-2.0
// Declaring a family's parameters, linear sites and segments under the module paths of transformers 5.
#pragma once

#include <graft/sdk/model_family.hpp>

#include <cstdint>
#include <string>
#include <vector>

namespace families {

using Cost = graft::FamilyDeclarations::SegmentCost;

// A module of the model: declares under `root`, its path in transformers 5, with a dot at the end; `published` are the paths
// that files of other versions use instead.
class Module {
 public:
  using Init = graft::FamilyDeclarations::Init;

  Module(graft::FamilyDeclarations& declare, std::string root, std::vector<std::string> published,
         std::int32_t component)
      : declare_(&declare), root_(std::move(root)), published_(std::move(published)), component_(component) {}

  [[nodiscard]] Module child(const std::string& path) const;
  // The same module with parameters that count as another component.
  [[nodiscard]] Module as(std::int32_t component) const { return {*declare_, root_, published_, component}; }

  [[nodiscard]] std::uint32_t param(const std::string& name, std::vector<std::int64_t> sizes,
                                    Init init = Init::kNormal) const;
  // The weight of an RMSNorm.
  [[nodiscard]] std::uint32_t norm(const std::string& name, std::int64_t size) const;
  // A linear layer [out, in] with its weight and bias.
  [[nodiscard]] std::uint32_t linear(const std::string& name, std::int64_t out, std::int64_t in,
                                     bool has_bias) const;
  [[nodiscard]] graft::FamilyDeclarations& declare() const { return *declare_; }

 private:
  graft::FamilyDeclarations* declare_;
  std::string root_;
  std::vector<std::string> published_;
  std::int32_t component_;
};

// Weight and bias of a LayerNorm.
struct LayerNorm {
  std::uint32_t weight, bias;
  [[nodiscard]] static LayerNorm declare(const Module& module, const std::string& name, std::int64_t size);
  [[nodiscard]] graft::Tensor operator()(const graft::Exec& exec, const graft::Tensor& x, double eps) const;
};

// ---- costs of segments: elements that autograd keeps for one token under LoRA on every layer, and multiply-adds · 2 of the
// projections. What is narrow aside: statistics of norms, log-sum-exps, a LoRA's own activations (tests/memory/policies_test.cpp
// measures it) ----

// Input, its normalisation, q and k (rotated), v, attention output; q and k before their norms, where they have norms.
[[nodiscard]] Cost attention_cost(std::int64_t width, std::int64_t q_width, std::int64_t kv_width,
                                  bool has_qk_norm);
// The same of a vision encoder with one projection for all three, whose result stays as a whole for v.
[[nodiscard]] Cost vision_attention_cost(std::int64_t width);
// Input, its normalisation, gate, up, activation, product.
[[nodiscard]] Cost swiglu_cost(std::int64_t width, std::int64_t intermediate);
// Input, its normalisation, and `n_saved` tensors of the hidden layer: that before the activation and that behind it, and what the
// activation keeps in between.
[[nodiscard]] Cost mlp_cost(std::int64_t width, std::int64_t intermediate, std::int64_t n_saved = 2);
// A norm over what a part gives: its input.
[[nodiscard]] Cost norm_cost(std::int64_t width);
[[nodiscard]] Cost both(const Cost& a, const Cost& b);

// A block and its two parts, which policies find by the ends of their names, ".attn" and ".mlp".
struct BlockSegments {
  std::uint32_t whole, attn, mlp;
  [[nodiscard]] static BlockSegments declare(graft::FamilyDeclarations& declare, const std::string& name,
                                             std::int32_t component, const Cost& attn, const Cost& mlp);
};

}  // namespace families
