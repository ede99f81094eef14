// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <unordered_set>
#include <vector>

namespace graft::model {

// What differs between passes over the same model. One per forward pass; recompute nodes keep it alive.
struct PassOptions {
  bool is_training = false;      // dropout applies
  bool adapters_enabled = true;  // false: the base model (reference of a fresh adapter)
  bool allow_recompute = true;   // the checkpoint policy applies; rollouts switch it off
};

// The base layer of a site, for the time of a call.
struct BaseLayer {
  std::function<at::Tensor(const at::Tensor&)> forward;  // of a given input
  std::function<at::Tensor()> weight;                    // [out, in]
  std::function<at::Tensor()> bias;                      // [out], undefined if there is none
};

// What a PEFT strategy does to linear layers; implemented by adapt/.
class LinearHook {
 public:
  virtual ~LinearHook() = default;
  // True if the strategy has parameters at this site.
  [[nodiscard]] virtual bool covers(std::uint32_t site) const = 0;
  // y [T, out] for x [T, in].
  virtual at::Tensor linear(std::uint32_t site, const at::Tensor& x, const BaseLayer& base,
                            const PassOptions& options) = 0;
  // The trained tensors that linear() uses at this site.
  [[nodiscard]] virtual std::vector<at::Tensor> trained_tensors(std::uint32_t site) const = 0;
  // What takes the place of base parameter `param` while adapters are on: a trained copy, of any floating dtype. Null: none.
  [[nodiscard]] virtual const at::Tensor* replacement(std::uint32_t param) const {
    static_cast<void>(param);
    return nullptr;
  }
};

using SegmentBody = std::function<std::vector<at::Tensor>(const std::vector<at::Tensor>&)>;

// How segments run; implemented by memory/. Without one, bodies simply run.
class SegmentHook {
 public:
  virtual ~SegmentHook() = default;
  // Runs `body` on `inputs`, now and perhaps again in backward. The weights that the body uses are found with
  // TouchedTensors while it runs.
  virtual std::vector<at::Tensor> run(std::uint32_t segment, const SegmentBody& body,
                                      const std::vector<at::Tensor>& inputs) = 0;
};

// Records which weights (base parameters and adapters) code on this thread uses: a recompute node must know the trained ones, and
// weights are no activations. Scopes nest; an inner scope reports to the outer ones too.
class TouchedTensors {
 public:
  TouchedTensors();
  ~TouchedTensors();
  TouchedTensors(const TouchedTensors&) = delete;
  TouchedTensors& operator=(const TouchedTensors&) = delete;
  static void note(const at::Tensor& tensor);  // a tensor that outlives the pass
  // Those that require a gradient, each once, in order of first use.
  [[nodiscard]] const std::vector<at::Tensor>& tensors() const;
  // True if `tensor` lies in the memory of one that was noted in this thread's innermost scope.
  [[nodiscard]] static bool holds(const at::Tensor& tensor);

 private:
  std::vector<at::Tensor> tensors_;
  std::unordered_set<const void*> seen_;      // addresses of what was noted
  std::unordered_set<const void*> storages_;  // and of its memory
  TouchedTensors* outer_;
};

// The decoder's attention over the sequences of one pass. Implementations: model/attention.h (training and
// scoring), model/kv_cache.h (prefill and decode).
class SequenceAttention {
 public:
  virtual ~SequenceAttention() = default;
  // q [T, H, d], k and v [T, Hkv, d] -> [T, H, d]. May be called again for a layer (recomputation) and from
  // autograd threads.
  virtual at::Tensor attend(std::int32_t layer, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                            double scale) = 0;
};

}  // namespace graft::model
