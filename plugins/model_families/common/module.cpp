// SPDX-License-Identifier: Apache-2.0
#include "common/module.h"

#include "common/layers.h"

namespace families {
namespace {

std::uint64_t elements(std::int64_t n) {
  return static_cast<std::uint64_t>(n);
}

}  // namespace

Module Module::child(const std::string& path) const {
  std::vector<std::string> published;
  for (const std::string& root : published_) published.push_back(root + path + ".");
  return {*declare_, root_ + path + ".", std::move(published), component_};
}

std::uint32_t Module::param(const std::string& name, std::vector<std::int64_t> sizes, Init init) const {
  std::vector<std::string> aliases;
  for (const std::string& root : published_) aliases.push_back(root + name);
  return declare_->param(root_ + name, std::move(sizes), component_, std::move(aliases), init);
}

std::uint32_t Module::norm(const std::string& name, std::int64_t size) const {
  return param(name + ".weight", {size}, Init::kOnes);
}

std::uint32_t Module::linear(const std::string& name, std::int64_t out, std::int64_t in,
                             bool has_bias) const {
  const std::uint32_t weight = param(name + ".weight", {out, in});
  std::int32_t bias = -1;
  if (has_bias) bias = static_cast<std::int32_t>(param(name + ".bias", {out}, Init::kZeros));
  return declare_->site(root_ + name, weight, bias, component_);
}

LayerNorm LayerNorm::declare(const Module& module, const std::string& name, std::int64_t size) {
  const std::uint32_t weight = module.param(name + ".weight", {size}, Module::Init::kOnes);
  return {weight, module.param(name + ".bias", {size}, Module::Init::kZeros)};
}

graft::Tensor LayerNorm::operator()(const graft::Exec& exec, const graft::Tensor& x, double eps) const {
  return layer_norm(x, exec.param(weight), exec.param(bias), eps);
}

Cost attention_cost(std::int64_t width, std::int64_t q_width, std::int64_t kv_width, bool has_qk_norm) {
  const std::int64_t before_norms = has_qk_norm ? q_width + kv_width : 0;
  return {elements(2 * width + 2 * q_width + 2 * kv_width + before_norms), elements(width),
          elements(2 * (2 * width * q_width + 2 * width * kv_width))};
}

Cost vision_attention_cost(std::int64_t width) {
  return {elements(8 * width), elements(width), elements(2 * 4 * width * width)};
}

Cost swiglu_cost(std::int64_t width, std::int64_t intermediate) {
  return {elements(2 * width + 4 * intermediate), elements(width), elements(2 * 3 * width * intermediate)};
}

Cost mlp_cost(std::int64_t width, std::int64_t intermediate, std::int64_t n_saved) {
  return {elements(2 * width + n_saved * intermediate), elements(width),
          elements(2 * 2 * width * intermediate)};
}

Cost norm_cost(std::int64_t width) {
  return {elements(width), elements(width), 0};
}

Cost both(const Cost& a, const Cost& b) {
  return {a.activation_values_per_token + b.activation_values_per_token, a.input_values_per_token,
          a.flops_per_token + b.flops_per_token};
}

BlockSegments BlockSegments::declare(graft::FamilyDeclarations& declare, const std::string& name,
                                     std::int32_t component, const Cost& attn, const Cost& mlp) {
  const std::uint32_t whole = declare.segment(name, -1, component, both(attn, mlp));
  const auto parent = static_cast<std::int32_t>(whole);
  const std::uint32_t first = declare.segment(name + ".attn", parent, component, attn);
  return {whole, first, declare.segment(name + ".mlp", parent, component, mlp)};
}

}  // namespace families
