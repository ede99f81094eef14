// SPDX-License-Identifier: Apache-2.0
// graft/sdk/peft_values.hpp: what a PEFT strategy gets to see: sites, base parameters, and its own parameters' values. Views:
// valid during the call that received them. Included by peft.hpp.
#ifndef GRAFT_SDK_PEFT_VALUES_HPP
#define GRAFT_SDK_PEFT_VALUES_HPP

#include <graft/peft.h>
#include <graft/sdk/plugin.hpp>
#include <graft/sdk/tensor.hpp>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace graft {

namespace detail {
// An element of a list of borrowed handles.
inline Tensor planned(const graft_tensor* list, std::uint32_t n, std::size_t index) {
  if (index >= n) throw Error(GRAFT_E_INTERNAL, "parameter " + std::to_string(index) + " was not planned");
  return Tensor::share(list[index]);
}
}  // namespace detail

// A linear layer of the model.
class Site {
 public:
  explicit Site(const graft_site& raw) : raw_(&raw) {}
  [[nodiscard]] const graft_site& raw() const { return *raw_; }
  [[nodiscard]] std::string_view name() const { return to_view(raw_->name); }
  [[nodiscard]] std::int64_t in_features() const { return raw_->in_features; }
  [[nodiscard]] std::int64_t out_features() const { return raw_->out_features; }
  [[nodiscard]] std::int32_t component() const { return raw_->component; }  // GRAFT_COMPONENT_*
  [[nodiscard]] bool has_bias() const { return raw_->has_bias != 0; }
  // The user's rank_pattern or alpha_pattern for this site, else the strategy's own value.
  [[nodiscard]] std::int64_t rank_or(std::int64_t rank) const { return raw_->rank > 0 ? raw_->rank : rank; }
  [[nodiscard]] double alpha_or(double alpha) const { return raw_->alpha > 0.0 ? raw_->alpha : alpha; }

 private:
  const graft_site* raw_;
};

// A parameter of the base model.
class BaseParam {
 public:
  explicit BaseParam(const graft_base_param& raw) : raw_(&raw) {}
  [[nodiscard]] const graft_base_param& raw() const { return *raw_; }
  [[nodiscard]] std::string_view name() const { return to_view(raw_->name); }
  [[nodiscard]] Shape sizes() const { return {raw_->sizes, raw_->rank}; }
  [[nodiscard]] std::int32_t component() const { return raw_->component; }  // GRAFT_COMPONENT_*
  [[nodiscard]] bool belongs_to_site() const { return raw_->site >= 0; }
  // True if the user's target modules and components cover it.
  [[nodiscard]] bool is_selected() const { return raw_->is_selected != 0; }

 private:
  const graft_base_param* raw_;
};

// How the host fills a new parameter.
struct Init {
  std::int32_t kind = GRAFT_INIT_ZEROS;
  double scale = 0.0;
  static Init zeros() { return {GRAFT_INIT_ZEROS, 0.0}; }
  static Init ones() { return {GRAFT_INIT_ONES, 0.0}; }
  static Init uniform(double bound) { return {GRAFT_INIT_UNIFORM, bound}; }  // U(-bound, bound)
  static Init normal(double deviation) { return {GRAFT_INIT_NORMAL, deviation}; }
};

// A parameter that a strategy wants at a site, or once for the model: float32.
struct PeftParam {
  std::string name;  // as PEFT's files write it after the module path, such as "lora_A.weight"
  std::vector<std::int64_t> sizes;
  Init init = Init::zeros();
  bool is_trained = true;  // false: frozen
  bool is_saved = true;    // false: not in the adapter's file
  double learning_rate_scale = 1.0;
};

// One application of an adapted layer.
class LinearCall {
 public:
  explicit LinearCall(const graft_peft_call& raw) : raw_(&raw), site_(*raw.site), x_(Tensor::share(raw.x)) {}
  [[nodiscard]] const Site& site() const { return site_; }
  [[nodiscard]] const Tensor& x() const { return x_; }  // [T, in_features], in the model's dtype
  [[nodiscard]] std::size_t n_params() const { return raw_->n_params; }
  // In the order of plan_site().
  [[nodiscard]] Tensor param(std::size_t index) const {
    return detail::planned(raw_->params, raw_->n_params, index);
  }
  // In the order of plan_model().
  [[nodiscard]] Tensor shared(std::size_t index) const {
    return detail::planned(raw_->shared, raw_->n_shared, index);
  }
  [[nodiscard]] bool is_training() const { return raw_->is_training != 0; }  // dropout applies
  // The base layer: x Wᵀ + b of any x [..., in_features].
  [[nodiscard]] Tensor base(const Tensor& x) const {
    graft_tensor y = nullptr;
    check([&](graft_error* error) { return raw_->base->forward(raw_->base, x.get(), &y, error); });
    return Tensor::adopt(y);
  }
  // W [out_features, in_features].
  [[nodiscard]] Tensor weight() const {
    graft_tensor borrowed = nullptr;
    check([&](graft_error* error) { return raw_->base->weight(raw_->base, &borrowed, error); });
    return Tensor::share(borrowed);
  }
  // b [out_features], or no tensor.
  [[nodiscard]] Tensor bias() const {
    graft_tensor borrowed = nullptr;
    check([&](graft_error* error) { return raw_->base->bias(raw_->base, &borrowed, error); });
    return Tensor::share(borrowed);
  }

 private:
  const graft_peft_call* raw_;
  Site site_;
  Tensor x_;
};

// An adapted site with its tensors.
class SiteValues {
 public:
  explicit SiteValues(const graft_peft_values& raw) : raw_(&raw), site_(*raw.site) {}
  [[nodiscard]] const Site& site() const { return site_; }
  [[nodiscard]] Tensor weight() const { return Tensor::share(raw_->weight); }  // of the base [out, in]
  [[nodiscard]] Tensor bias() const { return Tensor::share(raw_->bias); }      // [out], or no tensor
  [[nodiscard]] std::size_t n_params() const { return raw_->n_params; }
  [[nodiscard]] Tensor param(std::size_t index) const {
    return detail::planned(raw_->params, raw_->n_params, index);
  }
  [[nodiscard]] Tensor shared(std::size_t index) const {
    return detail::planned(raw_->shared, raw_->n_shared, index);
  }
  // No tensor if that parameter has no gradient. In before_update() and after_update().
  [[nodiscard]] Tensor grad(std::size_t index) const {
    return raw_->grads == nullptr ? Tensor() : detail::planned(raw_->grads, raw_->n_params, index);
  }

 private:
  const graft_peft_values* raw_;
  Site site_;
};

// All adapted sites.
class ModelValues {
 public:
  explicit ModelValues(const graft_peft_model& raw) : raw_(&raw) {}
  [[nodiscard]] std::size_t size() const { return raw_->n_sites; }
  [[nodiscard]] SiteValues operator[](std::size_t index) const { return SiteValues(*raw_->sites[index]); }
  [[nodiscard]] Tensor shared(std::size_t index) const {
    return detail::planned(raw_->shared, raw_->n_shared, index);
  }
  [[nodiscard]] std::int64_t step() const { return raw_->step; }  // optimizer steps done before this one
  [[nodiscard]] std::int64_t total_steps() const { return raw_->total_steps; }  // of the run; 0 if unknown

 private:
  const graft_peft_model* raw_;
};

// What a selected site was given in one pass of a calibration.
class Observation {
 public:
  explicit Observation(const graft_peft_observation& raw) : raw_(&raw), site_(*raw.site) {}
  [[nodiscard]] const Site& site() const { return site_; }
  [[nodiscard]] std::size_t index() const { return raw_->index; }  // of the site in calibrate()'s list
  [[nodiscard]] std::int64_t pass() const { return raw_->pass; }   // from 0
  // [T, in_features], in the model's dtype; may be kept.
  [[nodiscard]] Tensor x() const { return Tensor::share(raw_->x); }
  // [A] int64: rows of x that belong to answers to be learnt; no tensor if there are none.
  [[nodiscard]] Tensor answer_rows() const { return Tensor::share(raw_->answer_rows); }

 private:
  const graft_peft_observation* raw_;
  Site site_;
};

// What a calibration makes of a selected site; 0: as the user said.
struct Allotment {
  std::int64_t rank = 0;
  double alpha = 0.0;
  bool is_dropped = false;  // the site is not adapted
};

// What a file holds for a site: tensors by name, such as "lora_A.weight".
using StoredTensors = std::vector<std::pair<std::string, Tensor>>;

// The plain linear layer that a merged one becomes.
struct Merged {
  Tensor weight;
  Tensor bias;  // no tensor: as it was
};

}  // namespace graft

#endif
