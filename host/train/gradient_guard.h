// SPDX-License-Identifier: Apache-2.0
// The guard on the first step: whatever is trained must be reached by the loss, or training stops and says why. Elsewhere an
// adapter that lost its gradients trains on in part, with a loss and a grad_norm that look normal.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "adapt/adapter.h"
#include "model/hooks.h"
#include "model/model.h"

namespace graft::train {

// Watches the passes of an optimizer step until every trained tensor has had a gradient once, then does nothing more. Control
// thread; model and adapter must outlive it.
//
// What a tensor lacks its gradient for is told apart by whether the forward pass used it at all, and by the order of use: tensors
// that lost theirs up to some layer point to the place where the graph is cut.
class GradientGuard {
 public:
  // `data_has_images`: whether any sample of the run has an image. If one does, adapted vision layers may wait for it.
  GradientGuard(const model::Model& model, const adapt::Adapter& adapter, bool data_has_images);

  // Runs a forward pass of the step, `has_images` telling whether a prompt in it has an image; returns what `body` returns.
  template <typename Body>
  auto watch(bool has_images, Body&& body) {
    pass_has_images_ = has_images;
    if (!is_armed_) return std::forward<Body>(body)();
    saw_images_ = saw_images_ || has_images;
    const model::TouchedTensors touched;
    auto result = std::forward<Body>(body)();
    note_used(touched.tensors());
    return result;
  }

  // loss.backward(), for the scalar loss of the pass that was watched last. Throws instead if the loss has no history: PluginError
  // if the model family (or the strategy) lost it, UserError if nothing that is trained can take part: vision layers alone, and
  // no sample has an image. If others have, there is nothing to do for this one.
  void backward(const at::Tensor& loss) const;

  // Once the gradients of a step are there. Throws as backward() does if a trained tensor has none, naming sites, cause and remedy.
  void check();

 private:
  void note_used(const std::vector<at::Tensor>& tensors);
  // Position in the order of first use; nothing for a tensor that no pass used.
  [[nodiscard]] std::optional<std::size_t> order_of(const at::Tensor& tensor) const;
  [[nodiscard]] std::string name_of(const adapt::AdapterTensor& tensor) const;
  using Tensors = std::vector<const adapt::AdapterTensor*>;
  [[nodiscard]] std::string list(const Tensors& tensors) const;  // "6 tensors of 3 layers (a, b, c)"
  [[nodiscard]] bool needs_images(const Tensors& unused) const;
  [[nodiscard]] std::string why_unused(const Tensors& unused) const;
  [[nodiscard]] std::string why_cut(const Tensors& cut, const Tensors& alive) const;
  [[noreturn]] void fail(std::string message, const Tensors& unused, const Tensors& cut,
                         const Tensors& alive) const;

  const model::Model& model_;
  const adapt::Adapter& adapter_;
  bool data_has_images_;
  bool is_armed_ = true;
  bool saw_images_ = false, pass_has_images_ = false;
  std::vector<at::Tensor> used_;  // trained tensors in the order of their first use
};

}  // namespace graft::train
