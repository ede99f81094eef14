// SPDX-License-Identifier: Apache-2.0
// graft.autograd/1: a backward of the plugin's own.
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/functions/utils.h>
#include <torch/csrc/autograd/saved_variable.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <vector>

#include "model/slot_errors.h"
#include "model/tensor_handle.h"
#include "model/tensor_services.h"
#include "plugin/host_services.h"
#include "support/strings.h"

namespace graft::model {

namespace {

using torch::autograd::SavedVariable;
using torch::autograd::variable_list;

std::vector<graft_tensor> lend_all(const variable_list& tensors) {
  std::vector<graft_tensor> handles(tensors.size());
  std::transform(tensors.begin(), tensors.end(), handles.begin(), lend);
  return handles;
}

class PluginNode : public torch::autograd::Node {
 public:
  PluginNode(torch::autograd::edge_list&& edges, const graft_backward& table)
      : Node(std::move(edges)), table_(table) {}

  ~PluginNode() override {
    if (is_armed_ && table_.drop != nullptr) table_.drop(table_.user);
  }

  // From here on the node owns table_.user.
  void arm() noexcept { is_armed_ = true; }

  void save(const at::Tensor& tensor, bool is_output) { saved_.emplace_back(tensor, is_output); }

  std::string name() const override { return "PluginBackward"; }

  variable_list apply(variable_list&& grads) override {
    const std::lock_guard lock(mutex_);
    variable_list saved;
    saved.reserve(saved_.size());
    for (const SavedVariable& variable : saved_) saved.push_back(variable.unpack(getptr()));
    const std::vector<graft_tensor> saved_handles = lend_all(saved);
    const std::vector<graft_tensor> grad_out = lend_all(grads);
    std::vector<graft_tensor> grad_in(num_outputs(), nullptr);
    plugin::call("a plugin's backward function", [&](graft_error* error) {
      const c10::AutoGradMode restore(c10::GradMode::is_enabled());
      return table_.backward(table_.user, saved_handles.data(),
                             static_cast<std::uint32_t>(saved_handles.size()), grad_out.data(),
                             static_cast<std::uint32_t>(grad_out.size()), grad_in.data(),
                             static_cast<std::uint32_t>(grad_in.size()), error);
    });
    variable_list out;
    out.reserve(grad_in.size());
    for (const graft_tensor handle : grad_in) out.push_back(take(handle));
    return out;
  }

  void release_variables() override {
    const std::lock_guard lock(mutex_);
    for (SavedVariable& variable : saved_) variable.reset_data();
  }

 private:
  graft_backward table_;
  bool is_armed_ = false;
  std::vector<SavedVariable> saved_;
};

variable_list share_all(const graft_tensor* handles, std::uint32_t n, const char* what) {
  if (handles == nullptr && n > 0) throw std::invalid_argument(support::cat(what, " must not be NULL"));
  variable_list tensors;
  tensors.reserve(n);
  for (std::uint32_t i = 0; i < n; ++i) tensors.push_back(share(handles[i]));
  return tensors;
}

graft_backward checked_copy(const graft_backward* backward) {
  if (!GRAFT_HAS(backward, graft_backward, backward))
    throw std::invalid_argument("the slot backward is missing");
  graft_backward table{};
  std::memcpy(&table, backward, std::min<std::size_t>(backward->hdr.struct_size, sizeof(table)));
  return table;
}

void check_outputs(const variable_list& outputs) {
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    if (!outputs[i].defined()) throw std::invalid_argument(support::cat("output ", i, " is NULL"));
    if (!torch::autograd::isDifferentiableType(outputs[i].scalar_type())) {
      throw std::invalid_argument(support::cat("output ", i, " is of dtype ",
                                               name_of_dtype(outputs[i].scalar_type()),
                                               ", which has no gradient; leave it out"));
    }
    if (outputs[i].requires_grad()) {
      throw std::invalid_argument(
          support::cat("output ", i, " has a graph already; compute it with grad mode off"));
    }
  }
}

// The results of the node: each output behind a tensor of its own, so that an output that is one of the
// inputs, or that the plugin still holds elsewhere, is not changed.
variable_list connect(const variable_list& outputs, const variable_list& saved,
                      const std::shared_ptr<PluginNode>& node) {
  variable_list results;
  results.reserve(outputs.size());
  for (const at::Tensor& output : outputs) results.push_back(output.detach());
  torch::autograd::set_history(results, node);
  for (const at::Tensor& tensor : saved) {
    // A saved output is kept without its graph, which would refer back to the node.
    const auto output = std::find_if(outputs.begin(), outputs.end(), [&](const at::Tensor& other) {
      return tensor.defined() && other.is_same(tensor);
    });
    if (output == outputs.end()) {
      node->save(tensor, false);
    } else {
      node->save(results[static_cast<std::size_t>(output - outputs.begin())], true);
    }
  }
  return results;
}

graft_status attach(const graft_autograd*, const graft_tensor* in, std::uint32_t n_in,
                    const graft_tensor* to_save, std::uint32_t n_saved, graft_tensor* out,
                    std::uint32_t n_out, const graft_backward* backward, graft_error* error) {
  try {
    const graft_backward table = checked_copy(backward);
    const variable_list inputs = share_all(in, n_in, "inputs");
    const variable_list saved = share_all(to_save, n_saved, "saved");
    const variable_list outputs = share_all(out, n_out, "outputs");
    check_outputs(outputs);
    if (!c10::GradMode::is_enabled() || !torch::autograd::any_variable_requires_grad(inputs)) {
      if (table.drop != nullptr) table.drop(table.user);
      return GRAFT_OK;
    }
    const std::shared_ptr<PluginNode> node(new PluginNode(torch::autograd::collect_next_edges(inputs), table),
                                           torch::autograd::deleteNode);
    const variable_list results = connect(outputs, saved, node);
    node->arm();
    for (std::uint32_t i = 0; i < n_out; ++i) {
      take(out[i]);
      out[i] = give(results[i]);
    }
    return GRAFT_OK;
  } catch (...) {
    return report_exception(error, "attach");
  }
}

std::int32_t set_grad_mode(const graft_autograd*, std::int32_t enabled) {
  const bool old = c10::GradMode::is_enabled();
  c10::GradMode::set_enabled(enabled != 0);
  return old ? 1 : 0;
}

}  // namespace

const graft_autograd* autograd_service() {
  static const graft_autograd table = {GRAFT_HDR(graft_autograd), plugin::host_table(), attach,
                                       set_grad_mode};
  return &table;
}

}  // namespace graft::model
