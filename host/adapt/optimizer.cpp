// SPDX-License-Identifier: Apache-2.0
#include "adapt/optimizer.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/_foreach_add.h>
#include <ATen/ops/_foreach_mul.h>
#include <ATen/ops/_foreach_norm.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <cmath>
#include <map>
#include <utility>

#include "model/safetensors.h"
#include "support/error.h"
#include "support/strings.h"

namespace graft::adapt {
namespace {

// As a gradient-descent step sees it: matrices decay, biases and norm weights of the base model do not.
bool decays(const AdapterTensor& tensor) {
  return !tensor.is_base || tensor.tensor.dim() >= 2;
}

}  // namespace

AdamW::AdamW(std::vector<AdapterTensor> trained, OptimizerOptions options)
    : trained_(std::move(trained)), options_(options) {
  for (const auto& item : trained_) {
    first_.push_back(at::zeros_like(item.tensor));
    second_.push_back(at::zeros_like(item.tensor));
    steps_.push_back(at::zeros({}, item.tensor.options()));
  }
}

double AdamW::clip_grad_norm(double max_norm) {
  const at::NoGradGuard no_grad;
  std::vector<at::Tensor> grads;
  for (const auto& item : trained_) {
    if (item.tensor.grad().defined()) grads.push_back(item.tensor.grad());
  }
  if (grads.empty()) return 0.0;
  const auto total = at::linalg_vector_norm(at::stack(at::_foreach_norm(grads, 2)));
  const double norm = total.item<double>();
  if (max_norm <= 0.0 || !std::isfinite(norm)) return norm;
  const auto scale = total.add(1e-6).reciprocal().mul(max_norm).clamp_max(1.0);
  at::_foreach_mul_(grads, scale);
  return norm;
}

void AdamW::step(double learning_rate) {
  // Tensors with the same rates go through one fused call.
  std::map<std::pair<double, double>, std::vector<std::size_t>> groups;
  for (std::size_t i = 0; i < trained_.size(); ++i) {
    if (!trained_[i].tensor.grad().defined()) continue;
    const double decay = decays(trained_[i]) ? options_.weight_decay : 0.0;
    groups[{learning_rate * trained_[i].learning_rate_scale, decay}].push_back(i);
  }
  for (const auto& [rates, which] : groups) update(which, rates.first, rates.second);
}

void AdamW::update(const std::vector<std::size_t>& which, double learning_rate, double weight_decay) {
  if (which.empty()) return;
  const at::NoGradGuard no_grad;
  std::vector<at::Tensor> values, grads, first, second, steps;
  for (const auto i : which) {
    values.push_back(trained_[i].tensor);
    grads.push_back(trained_[i].tensor.grad());
    first.push_back(first_[i]);
    second.push_back(second_[i]);
    steps.push_back(steps_[i]);
  }
  at::_foreach_add_(steps, 1);
  at::_fused_adamw_(values, grads, first, second, /*max_exp_avg_sqs=*/{}, steps, learning_rate,
                    options_.beta1, options_.beta2, weight_decay, options_.eps, /*amsgrad=*/false,
                    /*maximize=*/false);
}

void AdamW::zero_grad() {
  for (auto& item : trained_) item.tensor.mutable_grad().reset();
}

void AdamW::save(const std::filesystem::path& file) const {
  model::NamedTensors tensors;
  for (std::size_t i = 0; i < trained_.size(); ++i) {
    tensors.emplace_back(trained_[i].name + ".exp_avg", first_[i]);
    tensors.emplace_back(trained_[i].name + ".exp_avg_sq", second_[i]);
    tensors.emplace_back(trained_[i].name + ".step", steps_[i]);
  }
  model::write_safetensors(file, tensors);
}

void AdamW::load(const std::filesystem::path& file) {
  const model::SafetensorsFile stored(file);
  std::vector<std::pair<at::Tensor, const model::TensorEntry*>> found;
  const auto look_up = [&](const std::string& name, const at::Tensor& target) {
    const auto* entry = stored.find(name);
    if (entry == nullptr || entry->sizes != target.sizes().vec() || entry->dtype != at::kFloat) {
      throw support::UserError(support::cat(
          file, " belongs to another run: ", name,
          entry == nullptr ? " is missing" : " has the shape " + entry->shape() + " or a dtype that differs",
          "; resume with the "
          "same model and the same peft settings, or start anew"));
    }
    found.emplace_back(target, entry);
  };
  for (std::size_t i = 0; i < trained_.size(); ++i) {
    look_up(trained_[i].name + ".exp_avg", first_[i]);
    look_up(trained_[i].name + ".exp_avg_sq", second_[i]);
    look_up(trained_[i].name + ".step", steps_[i]);
  }
  if (stored.entries().size() != found.size()) {
    throw support::UserError(support::cat(file, " belongs to another run: it holds ",
                                          stored.entries().size() / 3, " trained tensors, this run has ",
                                          trained_.size()));
  }
  const at::NoGradGuard no_grad;
  for (const auto& [target, entry] : found) target.copy_(stored.view(*entry));
}

}  // namespace graft::adapt
