// SPDX-License-Identifier: Apache-2.0
#include "model/exec.h"

#include <ATen/ops/linear.h>
#include <c10/core/GradMode.h>

#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "model/attention.h"
#include "model/int8_weight.h"
#include "model/slot_errors.h"
#include "model/tensor_handle.h"
#include "plugin/host_services.h"
#include "support/error.h"
#include "support/strings.h"

namespace graft::model {

namespace {

using support::cat;

// What graft_exec.context points to: one per slot call, on the caller's stack.
struct Frame {
  explicit Frame(std::shared_ptr<const Pass> of);
  graft_exec table;
  std::shared_ptr<const Pass> pass;
  std::exception_ptr failure;    // graft's own error of the last callback that failed
  std::vector<at::Tensor> lent;  // trained copies that the family holds until the end of the call
};

Frame& frame_of(const graft_exec* exec) {
  return *static_cast<Frame*>(exec->context);
}

// Runs the body of a callback; its exception becomes a status, and is kept if it says more than its text.
template <typename Body>
graft_status callback(const graft_exec* exec, const char* who, graft_error* error, Body body) noexcept {
  try {
    body();
    return GRAFT_OK;
  } catch (const support::Error&) {
    frame_of(exec).failure = std::current_exception();
    return report_exception(error, "");
  } catch (...) {
    return report_exception(error, who);
  }
}

template <typename List>
const auto& element(const List& list, std::uint32_t index, const char* what) {
  if (index < list.size()) return list[index];
  throw std::invalid_argument(cat(what, " ", index, " does not exist, ", list.size(), " were declared"));
}

void require_output(const void* out) {
  if (out == nullptr) throw std::invalid_argument("the output must not be NULL");
}

// ---- param and linear -------------------------------------------------------------------------------------

// The strategy's trained copy of a base parameter; null: it has none, or adapters are off.
const at::Tensor* trained_copy(const Pass& pass, std::uint32_t index) {
  if (pass.linear_hook == nullptr || !pass.options.adapters_enabled) return nullptr;
  return pass.linear_hook->replacement(index);
}

// A base parameter, or the strategy's trained copy of it, in the dtype of the model.
at::Tensor parameter(const Pass& pass, std::uint32_t index) {
  const Param& param = pass.core->declared.params[index];
  const at::Tensor* copy = trained_copy(pass, index);
  TouchedTensors::note(copy == nullptr ? param.tensor : *copy);
  return copy == nullptr ? param.dense(pass.core->dtype) : copy->to(pass.core->dtype);
}

// The linear layer of a site as the base model has it, trained copies included.
class BaseLinear {
 public:
  BaseLinear(const Pass& pass, const Site& site)
      : pass_(pass), weight_index_(static_cast<std::uint32_t>(site.weight)) {
    const Param& param = pass.core->declared.params[weight_index_];
    if (param.scales.defined() && trained_copy(pass, weight_index_) == nullptr) {
      int8_ = Int8Weight{param.tensor, param.scales};
      TouchedTensors::note(param.tensor);
    } else {
      weight_ = parameter(pass, weight_index_);
    }
    if (site.bias >= 0) bias_ = parameter(pass, static_cast<std::uint32_t>(site.bias));
  }

  at::Tensor operator()(const at::Tensor& x) const {
    if (int8_) return int8_linear(x, *int8_, bias_);
    return at::linear(x, weight_, bias_.defined() ? std::optional<at::Tensor>(bias_) : std::nullopt);
  }
  [[nodiscard]] at::Tensor weight() const { return int8_ ? from_int8(*int8_, pass_.core->dtype) : weight_; }
  [[nodiscard]] const at::Tensor& bias() const { return bias_; }

 private:
  const Pass& pass_;
  std::uint32_t weight_index_;
  std::optional<Int8Weight> int8_;
  at::Tensor weight_;
  at::Tensor bias_;  // undefined if the site has none
};

graft_status exec_param(const graft_exec* exec, std::uint32_t index, graft_tensor* borrowed,
                        graft_error* error) {
  return callback(exec, "exec.param", error, [&] {
    require_output(borrowed);
    Frame& frame = frame_of(exec);
    const Param& param = element(frame.pass->core->declared.params, index, "parameter");
    at::Tensor used = parameter(*frame.pass, index);
    *borrowed = lend(used);
    if (!used.is_same(param.tensor)) frame.lent.push_back(std::move(used));
  });
}

graft_status exec_linear(const graft_exec* exec, std::uint32_t site, graft_tensor x, graft_tensor* y,
                         graft_error* error) {
  return callback(exec, "exec.linear", error, [&] {
    require_output(y);
    if (x == nullptr) throw std::invalid_argument("x is NULL");
    *y = give(apply_linear(*frame_of(exec).pass, site, share(x)));
  });
}

// ---- segment ----------------------------------------------------------------------------------------------

struct Body {
  graft_segment_body function;
  std::uint64_t tag;
  std::uint32_t n_out;
};

std::vector<at::Tensor> take_all(const std::vector<graft_tensor>& handles) {
  std::vector<at::Tensor> tensors;
  tensors.reserve(handles.size());
  for (const graft_tensor handle : handles) tensors.push_back(take(handle));
  return tensors;
}

std::vector<at::Tensor> run_body(const std::shared_ptr<const Pass>& pass, const Body& body,
                                 const std::vector<at::Tensor>& inputs) {
  std::vector<graft_tensor> in, out(body.n_out, nullptr);
  in.reserve(inputs.size());
  for (const at::Tensor& input : inputs) in.push_back(lend(input));
  call_with_exec(pass, "segment", [&](const graft_exec* exec, graft_error* error) {
    return body.function(pass->core->family->instance(), exec, body.tag, in.data(),
                         static_cast<std::uint32_t>(in.size()), out.data(), body.n_out, error);
  });
  return take_all(out);
}

std::vector<at::Tensor> run_segment(const std::shared_ptr<const Pass>& pass, std::uint32_t index,
                                    const Body& body, const std::vector<at::Tensor>& inputs) {
  element(pass->core->declared.segments, index, "segment");
  if (pass->segment_hook == nullptr || !pass->options.allow_recompute) return run_body(pass, body, inputs);
  const SegmentBody again = [pass, body](const std::vector<at::Tensor>& in) {
    return run_body(pass, body, in);
  };
  std::vector<at::Tensor> outputs = pass->segment_hook->run(index, again, inputs);
  if (outputs.size() != body.n_out) {
    throw std::logic_error(cat("a segment hook gave ", outputs.size(), " outputs, expected ", body.n_out));
  }
  return outputs;
}

graft_status exec_segment(const graft_exec* exec, std::uint32_t index, graft_segment_body function,
                          std::uint64_t tag, const graft_tensor* in, std::uint32_t n_in, graft_tensor* out,
                          std::uint32_t n_out, graft_error* error) {
  return callback(exec, "exec.segment", error, [&] {
    require_output(out);
    if (function == nullptr) throw std::invalid_argument("the body is NULL");
    std::vector<at::Tensor> inputs;
    inputs.reserve(n_in);
    for (std::uint32_t i = 0; i < n_in; ++i) inputs.push_back(share(in[i]));
    std::vector<at::Tensor> outputs = run_segment(frame_of(exec).pass, index, {function, tag, n_out}, inputs);
    for (std::uint32_t i = 0; i < n_out; ++i) out[i] = give(std::move(outputs[i]));
  });
}

// ---- attention --------------------------------------------------------------------------------------------

// Under autocast, attention takes its operands as matrix products do; torch lists scaled_dot_product_attention so.
at::Tensor attention_operand(const Pass& pass, graft_tensor handle) {
  const at::Tensor x = share(handle);
  const std::optional<at::ScalarType>& dtype = pass.core->autocast;
  if (!x.defined() || !dtype.has_value() || x.scalar_type() == at::kDouble) return x;
  return x.to(*dtype);
}

at::Tensor attend(const Pass& pass, const graft_attention& args) {
  const at::Tensor q = attention_operand(pass, args.q), k = attention_operand(pass, args.k),
                   v = attention_operand(pass, args.v);
  // From here on dtypes are chosen one by one: scores and sums are float32 whatever the operands are.
  const AutocastScope exactly_as_written(q.defined() ? q.device().type() : c10::kCPU, std::nullopt);
  for (const at::Tensor* tensor : {&q, &k, &v}) {
    if (!tensor->defined() || tensor->dim() != 3)
      throw std::invalid_argument("q, k and v must have three dimensions");
  }
  if (args.mode == GRAFT_ATTEND_BLOCKS) {
    if (args.block_ends == nullptr || args.n_blocks == 0) throw std::invalid_argument("block_ends is empty");
    return block_attention(q, k, v, args.scale, {args.block_ends, args.block_ends + args.n_blocks});
  }
  if (args.mode != GRAFT_ATTEND_SEQUENCE) throw std::invalid_argument(cat("unknown mode ", args.mode));
  if (args.layer < 0 || static_cast<std::uint32_t>(args.layer) >= pass.core->declared.n_attention_layers) {
    throw std::invalid_argument(cat("layer ", args.layer, " does not exist, ",
                                    pass.core->declared.n_attention_layers, " were declared"));
  }
  if (pass.attention == nullptr)
    throw std::invalid_argument("this pass has no sequences; use GRAFT_ATTEND_BLOCKS");
  return pass.attention->attend(args.layer, q, k, v, args.scale);
}

graft_status exec_attention(const graft_exec* exec, const graft_attention* args, graft_tensor* out,
                            graft_error* error) {
  return callback(exec, "exec.attention", error, [&] {
    require_output(out);
    if (args == nullptr) throw std::invalid_argument("args is NULL");
    *out = give(attend(*frame_of(exec).pass, *args));
  });
}

Frame::Frame(std::shared_ptr<const Pass> of)
    : table{GRAFT_HDR(graft_exec), this, exec_param, exec_linear, exec_segment, exec_attention},
      pass(std::move(of)) {}

}  // namespace

std::shared_ptr<const Pass> make_pass(std::shared_ptr<const ModelCore> core, const PassOptions& options,
                                      std::shared_ptr<SequenceAttention> attention) {
  auto pass = std::make_shared<Pass>();
  pass->options = options;
  pass->attention = std::move(attention);
  pass->linear_hook = core->linear_hook;
  pass->segment_hook = core->segment_hook;
  pass->core = std::move(core);
  return pass;
}

at::Tensor apply_linear(const Pass& pass, std::uint32_t index, const at::Tensor& x) {
  const Site& site = element(pass.core->declared.sites, index, "site");
  const BaseLinear base(pass, site);
  if (x.dim() == 0 || x.size(-1) != site.in_features) {
    throw std::invalid_argument(cat("site ", site.name, ": x has ", x.dim() == 0 ? 1 : x.size(-1),
                                    " columns, expected ", site.in_features));
  }
  LinearHook* const hook = pass.linear_hook.get();
  if (hook == nullptr || !pass.options.adapters_enabled || !hook->covers(index)) return base(x);
  for (const at::Tensor& tensor : hook->trained_tensors(index)) TouchedTensors::note(tensor);
  const BaseLayer layer{[&base](const at::Tensor& in) { return base(in); }, [&base] { return base.weight(); },
                        [&base] { return base.bias(); }};
  return hook->linear(index, x, layer, pass.options);
}

AutocastScope precision_of(const ModelCore& core) {
  return {core.declared.params.front().tensor.device().type(), core.autocast};
}

void call_with_exec(const std::shared_ptr<const Pass>& pass, const char* what,
                    const std::function<graft_status(const graft_exec*, graft_error*)>& slot) {
  const AutocastScope precision = precision_of(*pass->core);
  Frame frame(pass);
  pass->core->family->call(what, [&](graft_error* error) {
    const graft_status status = slot(&frame.table, error);
    if (status != GRAFT_OK && frame.failure != nullptr) std::rethrow_exception(frame.failure);
    return status;
  });
}

}  // namespace graft::model
