// SPDX-License-Identifier: Apache-2.0
#include "memory/recompute.h"

#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/functions/utils.h>
#include <torch/csrc/autograd/saved_variable.h>

#include <algorithm>
#include <mutex>
#include <stdexcept>
#include <utility>

#include "memory/random_state.h"

namespace graft::memory {

namespace {

using model::SegmentBody;
using model::TouchedTensors;
using torch::autograd::SavedVariable;
using torch::autograd::variable_list;

// The backward of a segment whose activations were not kept. Its inputs, in the order of the edges, are the
// segment's inputs and the trained tensors that the body used.
class RecomputeNode : public torch::autograd::Node {
 public:
  RecomputeNode(SegmentBody body, const variable_list& inputs, const variable_list& trained,
                RandomState random)
      : body_(std::move(body)), n_inputs_(inputs.size()), random_(std::move(random)) {
    variable_list all = inputs;
    all.insert(all.end(), trained.begin(), trained.end());
    set_next_edges(torch::autograd::collect_next_edges(all));
    // SavedVariable notices when one of them is changed in place before backward.
    for (const at::Tensor& tensor : all) saved_.emplace_back(tensor, /*is_output=*/false);
  }

  std::string name() const override { return "RecomputeBackward"; }

  variable_list apply(variable_list&& grads) override {
    const std::lock_guard lock(mutex_);
    if (c10::GradMode::is_enabled()) {
      throw std::runtime_error(
          "a recomputed segment has no second derivative; use the checkpoint policy \"none\" with "
          "create_graph");
    }
    variable_list targets = leaves();
    variable_list roots, root_grads;
    {
      const c10::AutoGradMode record(true);
      const RandomState::Scope replay(random_);
      const variable_list inputs(targets.begin(), targets.begin() + static_cast<std::ptrdiff_t>(n_inputs_));
      variable_list outputs = body_(inputs);
      for (std::size_t i = 0; i < grads.size() && i < outputs.size(); ++i) {
        if (!grads[i].defined() || !outputs[i].defined() || !outputs[i].requires_grad()) continue;
        roots.push_back(std::move(outputs[i]));
        root_grads.push_back(std::move(grads[i]));
      }
    }
    return gradients(roots, root_grads, targets);
  }

  void release_variables() override {
    const std::lock_guard lock(mutex_);
    for (SavedVariable& variable : saved_) variable.reset_data();
  }

 private:
  // What to differentiate with respect to: the inputs cut off from the graph before the segment, and the
  // trained tensors themselves.
  variable_list leaves() const {
    variable_list out;
    out.reserve(saved_.size());
    for (std::size_t i = 0; i < saved_.size(); ++i) {
      const at::Tensor tensor = saved_[i].unpack();
      if (i >= n_inputs_ || !tensor.defined()) {
        out.push_back(tensor);
      } else {
        out.push_back(tensor.detach());
        if (tensor.requires_grad()) out.back().requires_grad_();
      }
    }
    return out;
  }

  variable_list gradients(const variable_list& roots, const variable_list& root_grads,
                          const variable_list& targets) const {
    variable_list out(targets.size());
    variable_list wanted;
    std::vector<std::size_t> places;
    for (std::size_t i = 0; i < targets.size(); ++i) {
      if (!targets[i].defined() || !targets[i].requires_grad() || !task_should_compute_output(i)) continue;
      wanted.push_back(targets[i]);
      places.push_back(i);
    }
    if (roots.empty() || wanted.empty()) return out;
    variable_list found = torch::autograd::grad(roots, wanted, root_grads, /*retain_graph=*/false,
                                                /*create_graph=*/false, /*allow_unused=*/true);
    for (std::size_t i = 0; i < places.size(); ++i) out[places[i]] = std::move(found[i]);
    return out;
  }

  SegmentBody body_;
  std::size_t n_inputs_;
  RandomState random_;
  std::vector<SavedVariable> saved_;  // inputs, then trained tensors
};

// Outputs that carry `node`, each behind a tensor of its own: a body may give back one of its inputs.
variable_list connect(const variable_list& outputs, const std::shared_ptr<RecomputeNode>& node) {
  variable_list results;
  results.reserve(outputs.size());
  for (const at::Tensor& output : outputs) {
    if (!output.defined() || !torch::autograd::isDifferentiableType(output.scalar_type())) {
      node->add_input_metadata(torch::autograd::Node::undefined_input());
      results.push_back(output);
      continue;
    }
    results.push_back(output.detach());
    torch::autograd::set_history(results.back(), node);
  }
  return results;
}

variable_list run_recomputed(const SegmentBody& body, const variable_list& inputs) {
  RandomState random = RandomState::capture(inputs);
  variable_list outputs, trained;
  {
    const c10::AutoGradMode off(false);
    const TouchedTensors touched;
    outputs = body(inputs);
    trained = touched.tensors();
  }
  if (trained.empty() && !torch::autograd::any_variable_requires_grad(inputs)) return outputs;
  const std::shared_ptr<RecomputeNode> node(new RecomputeNode(body, inputs, trained, std::move(random)),
                                            torch::autograd::deleteNode);
  return connect(outputs, node);
}

class RecomputeHook : public model::SegmentHook {
 public:
  explicit RecomputeHook(std::vector<Decision> decisions) : decisions_(std::move(decisions)) {}

  std::vector<at::Tensor> run(std::uint32_t segment, const SegmentBody& body,
                              const std::vector<at::Tensor>& inputs) override {
    const bool recompute = segment < decisions_.size() && decisions_[segment] == Decision::kRecompute;
    return recompute && c10::GradMode::is_enabled() ? run_recomputed(body, inputs) : body(inputs);
  }

 private:
  std::vector<Decision> decisions_;
};

}  // namespace

std::shared_ptr<model::SegmentHook> recompute_hook(std::vector<Decision> decisions) {
  return std::make_shared<RecomputeHook>(std::move(decisions));
}

}  // namespace graft::memory
