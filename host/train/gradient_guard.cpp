// SPDX-License-Identifier: Apache-2.0
#include "train/gradient_guard.h"

#include <algorithm>

#include "support/error.h"
#include "support/log.h"
#include "support/strings.h"

namespace graft::train {

using adapt::AdapterTensor;
using support::cat;

namespace {

constexpr std::size_t kShownNames = 6;

}  // namespace

GradientGuard::GradientGuard(const model::Model& model, const adapt::Adapter& adapter, bool data_has_images)
    : model_(model), adapter_(adapter), data_has_images_(data_has_images) {}

void GradientGuard::note_used(const std::vector<at::Tensor>& tensors) {
  for (const at::Tensor& tensor : tensors) {
    if (!order_of(tensor)) used_.push_back(tensor);
  }
}

std::optional<std::size_t> GradientGuard::order_of(const at::Tensor& tensor) const {
  const auto at = std::find_if(used_.begin(), used_.end(),
                               [&](const at::Tensor& other) { return other.is_same(tensor); });
  if (at == used_.end()) return std::nullopt;
  return static_cast<std::size_t>(at - used_.begin());
}

std::string GradientGuard::name_of(const AdapterTensor& tensor) const {
  return tensor.site < 0 ? tensor.name : model_.sites()[static_cast<std::size_t>(tensor.site)].name;
}

std::string GradientGuard::list(const Tensors& tensors) const {
  std::vector<std::string> names;
  for (const AdapterTensor* tensor : tensors) {
    std::string name = name_of(*tensor);
    if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(std::move(name));
  }
  const std::size_t count = names.size();
  if (count > kShownNames) {
    names.resize(kShownNames);
    names.push_back(cat("and ", count - kShownNames, " more"));
  }
  return cat(tensors.size(), " trained tensor", tensors.size() == 1 ? "" : "s", " of ", count, " layer",
             count == 1 ? "" : "s", " (", support::join(names, ", "), ")");
}

bool GradientGuard::needs_images(const Tensors& unused) const {
  return !saw_images_ && std::all_of(unused.begin(), unused.end(),
                                     [](const auto* t) { return model::is_vision(t->component); });
}

std::string GradientGuard::why_unused(const Tensors& unused) const {
  if (needs_images(unused)) {
    return cat(list(unused),
               " took no part in the forward pass, because they belong to the vision encoder and no sample "
               "has an image; "
               "leave \"vision\" and \"projector\" out of peft.components, or train on samples with images");
  }
  return cat(list(unused), " took no part in the forward pass: the model family ", model_.family(),
             " declares these layers but its forward pass never calls them; take them out with "
             "peft.exclude_modules, or correct the family (exec.linear or exec.param for each of them)");
}

std::string GradientGuard::why_cut(const Tensors& cut, const Tensors& alive) const {
  const auto order = [&](const AdapterTensor* tensor) { return *order_of(tensor->tensor); };
  const auto by_order = [&](const auto* a, const auto* b) { return order(a) < order(b); };
  const AdapterTensor* const last_cut = *std::max_element(cut.begin(), cut.end(), by_order);
  Tensors used_alive;  // a strategy's own loss term may give a gradient to a tensor that no pass used
  for (const AdapterTensor* tensor : alive) {
    if (order_of(tensor->tensor)) used_alive.push_back(tensor);
  }
  const std::string remedy =
      cat("likely cause: the model family ", model_.family(), " (or the PEFT strategy ", adapter_.strategy(),
          ") detaches a tensor there, or computes it from raw values or without gradients; remedy: compute "
          "it with "
          "operators on the tensors that exec gave, or take these layers out with peft.exclude_modules");
  if (used_alive.empty()) {
    return cat(list(cut), " took part in the forward pass, but what it returned has no history; ", remedy);
  }
  const AdapterTensor* const first_alive = *std::min_element(used_alive.begin(), used_alive.end(), by_order);
  if (order(first_alive) > order(last_cut)) {
    return cat(list(cut), " took part in the forward pass, but all history up to ", name_of(*last_cut),
               " is lost before ", name_of(*first_alive), ", the first layer with a gradient; ", remedy);
  }
  return cat(list(cut),
             " took part in the forward pass, but what they gave reaches the loss without its history, while "
             "the layers before and behind have gradients; ",
             remedy);
}

void GradientGuard::fail(std::string message, const Tensors& unused, const Tensors& cut,
                         const Tensors& alive) const {
  std::vector<std::string> reasons;
  if (!unused.empty()) reasons.push_back(why_unused(unused));
  if (!cut.empty()) reasons.push_back(why_cut(cut, alive));
  message += support::join(reasons, "; and ");
  if (cut.empty() && needs_images(unused)) throw support::UserError(message);
  throw support::PluginError(message);
}

void GradientGuard::backward(const at::Tensor& loss) const {
  if (loss.requires_grad()) {
    loss.backward();
    return;
  }
  const auto is_vision_or_frozen = [](const AdapterTensor& t) {
    return !t.is_trained || model::is_vision(t.component);
  };
  const std::vector<AdapterTensor>& all = adapter_.tensors();
  if (!pass_has_images_ && data_has_images_ && std::all_of(all.begin(), all.end(), is_vision_or_frozen))
    return;
  Tensors unused, cut;
  for (const AdapterTensor& tensor : all) {
    if (tensor.is_trained) (order_of(tensor.tensor) ? cut : unused).push_back(&tensor);
  }
  fail("the loss has no grad_fn, so no gradient can be computed from it: ", unused, cut, {});
}

void GradientGuard::check() {
  if (!is_armed_) return;
  Tensors unused, cut, alive;
  for (const AdapterTensor& tensor : adapter_.tensors()) {
    if (!tensor.is_trained) continue;
    if (tensor.tensor.grad().defined()) {
      alive.push_back(&tensor);
    } else {
      (order_of(tensor.tensor) ? cut : unused).push_back(&tensor);
    }
  }
  if (cut.empty() && !unused.empty() && needs_images(unused) && data_has_images_) {
    support::log_info(
        "no sample so far has an image: the gradients of the vision encoder are checked on the first step "
        "that does");
    return;
  }
  if (!unused.empty() || !cut.empty()) {
    fail(cat("after the first backward pass ", unused.size() + cut.size(), " of ",
             unused.size() + cut.size() + alive.size(),
             " trained tensors have no gradient and would never change: "),
         unused, cut, alive);
  }
  is_armed_ = false;
}

}  // namespace graft::train
