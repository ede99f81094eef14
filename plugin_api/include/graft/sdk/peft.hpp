// SPDX-License-Identifier: Apache-2.0
// graft/sdk/peft.hpp: a PEFT strategy as a class.
//
//   #include <graft/sdk/peft.hpp>
//   namespace {
//   struct Scale : graft::Peft {  // (IA)³ on the output: y = l ⊙ (x Wᵀ + b)
//     static constexpr auto name = "scale";
//     static constexpr auto summary = "one trained factor per output feature";
//     std::vector<graft::PeftParam> plan_site(const graft::Site& site) override {
//       return {{"scale", {site.out_features()}, graft::Init::ones()}};
//     }
//     graft::Tensor linear(const graft::LinearCall& call) override {
//       return call.base(call.x()) * call.param(0);
//     }
//   };
//   }  // namespace
//   GRAFT_PLUGIN(Scale);
//
// The host selects the sites, owns the parameters, trains, saves and loads them. What a strategy does not
// override it does not offer: without merge() it cannot be merged, without export_config() its files are
// graft's own.
#ifndef GRAFT_SDK_PEFT_HPP
#define GRAFT_SDK_PEFT_HPP

#include <graft/peft.h>
#include <graft/sdk/plugin.hpp>
#include <graft/sdk/tensor.hpp>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace graft {

// A linear layer of the model. A view: valid during the call.
class Site {
 public:
  explicit Site(const graft_site& raw) : raw_(&raw) {}
  [[nodiscard]] const graft_site& raw() const { return *raw_; }
  [[nodiscard]] std::string_view name() const { return to_view(raw_->name); }
  [[nodiscard]] std::int64_t in_features() const { return raw_->in_features; }
  [[nodiscard]] std::int64_t out_features() const { return raw_->out_features; }
  [[nodiscard]] std::int32_t component() const { return raw_->component; }  // GRAFT_COMPONENT_*
  [[nodiscard]] bool has_bias() const { return raw_->has_bias != 0; }

 private:
  const graft_site* raw_;
};

// A parameter of the base model. A view: valid during the call.
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

// A parameter that a strategy wants at a site: float32.
struct PeftParam {
  std::string name;  // as PEFT's files write it after the module path, such as "lora_A.weight"
  std::vector<std::int64_t> sizes;
  Init init = Init::zeros();
  bool is_trained = true;  // false: saved with the adapter but frozen
};

// One application of an adapted layer. Valid during the call.
class LinearCall {
 public:
  explicit LinearCall(const graft_peft_call& raw) : raw_(&raw), site_(*raw.site), x_(Tensor::share(raw.x)) {}
  [[nodiscard]] const Site& site() const { return site_; }
  [[nodiscard]] const Tensor& x() const { return x_; }  // [T, in_features], in the model's dtype
  // In the order of plan_site().
  [[nodiscard]] Tensor param(std::size_t index) const {
    if (index >= raw_->n_params)
      throw Error(GRAFT_E_INTERNAL, "parameter " + std::to_string(index) + " was not planned");
    return Tensor::share(raw_->params[index]);
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

 private:
  const graft_peft_call* raw_;
  Site site_;
  Tensor x_;
};

template <typename T>
struct PeftKind;

// Base class of strategies. linear() and merge() may run on several threads at once, so they must not change
// the object.
class Peft : public Component {
 public:
  template <typename T>
  using Kind = PeftKind<T>;

  static constexpr std::uint32_t thread_class = GRAFT_THREAD_CONCURRENT;

  // The parameters wanted at a selected site; none leaves the site alone.
  virtual std::vector<PeftParam> plan_site(const Site& site) {
    static_cast<void>(site);
    return {};
  }
  // True for a base parameter that is trained itself.
  virtual bool trains(const BaseParam& param) {
    static_cast<void>(param);
    return false;
  }
  // y [T, out_features] of a site with parameters, in the dtype of x or of call.base(). Equal to the base layer's at
  // initialisation, unless the strategy's summary says otherwise.
  virtual Tensor linear(const LinearCall& call) { return call.base(call.x()); }
  // The weight of the plain layer that equals linear() in evaluation mode. All float32.
  virtual Tensor merge(const Site& site, const Tensor& weight, const std::vector<Tensor>& params) {
    static_cast<void>(site);
    static_cast<void>(params);
    return weight;
  }
  // The strategy's own fields of PEFT's adapter_config.json, "peft_type" among them.
  virtual Json export_config() { return Json::object(); }
  // The inverse, as parameters of this component. Throws Error with GRAFT_E_UNSUPPORTED for files of other
  // methods; see require_peft_type() and require_off().
  static Json import_config(const Json& config) {
    static_cast<void>(config);
    throw Error(GRAFT_E_UNSUPPORTED, "this strategy has no counterpart in PEFT");
  }

 private:
  template <typename T>
  friend struct PeftKind;

  struct Planned {
    PeftParam param;
    graft_peft_param raw;
  };
  std::deque<Planned> planned_;  // what plan_site() handed out: stays valid with the instance
  std::deque<std::vector<const graft_peft_param*>> lists_;
};

// Fails unless an adapter_config.json is of this method, such as "LORA".
inline void require_peft_type(const Json& config, std::string_view type) {
  const Json* given = config.find("peft_type");
  if (given != nullptr && given->is_string() && given->as_string() == type) return;
  throw Error(GRAFT_E_UNSUPPORTED, "peft_type is " +
                                       (given == nullptr ? std::string("missing") : given->dump()) +
                                       ", expected \"" + std::string(type) + '"');
}

// Fails, naming the field, if one of these options is used: anything but absent, null, false, 0, or empty.
inline void require_off(const Json& config, std::initializer_list<std::string_view> fields) {
  for (const std::string_view field : fields) {
    const Json* value = config.find(field);
    if (value == nullptr || value->is_null()) continue;
    const bool is_off =
        (value->is_bool() && !value->as_bool()) || (value->is_number() && value->as_number() == 0.0) ||
        (value->is_string() && value->as_string().empty()) || (value->is_array() && value->items().empty()) ||
        (value->is_object() && value->members().empty());
    if (!is_off)
      throw Error(GRAFT_E_UNSUPPORTED, std::string(field) + " = " + value->dump() + " is not offered");
  }
}

// How graft.peft/1 reaches a class T.
template <typename T>
struct PeftKind {
  static constexpr std::string_view kind = GRAFT_KIND_PEFT;
  static const void* interface(std::string_view id) { return id == GRAFT_INTERFACE_PEFT ? &vtable : nullptr; }

 private:
  static graft_status plan_site(graft_instance* instance, const graft_site* site,
                                const graft_peft_param* const** params, std::uint32_t* n,
                                graft_error* error) noexcept {
    return guard(error, [&] {
      Peft& base = self<T>(instance);
      std::vector<const graft_peft_param*> list;
      for (PeftParam& param : base.plan_site(Site(*site))) {
        Peft::Planned& planned = base.planned_.emplace_back();
        planned.param = std::move(param);
        const PeftParam& kept = planned.param;
        planned.raw = {GRAFT_HDR(graft_peft_param), to_str(kept.name),
                       kept.sizes.data(),           static_cast<std::uint32_t>(kept.sizes.size()),
                       GRAFT_DTYPE_DEFAULT,         kept.init.kind,
                       kept.is_trained ? 1 : 0,     kept.init.scale};
        list.push_back(&planned.raw);
      }
      const auto& stored = base.lists_.emplace_back(std::move(list));
      *params = stored.data();
      *n = static_cast<std::uint32_t>(stored.size());
    });
  }

  static graft_status plan_base_param(graft_instance* instance, const graft_base_param* param,
                                      std::int32_t* is_trained, graft_error* error) noexcept {
    return guard(error, [&] { *is_trained = self<T>(instance).trains(BaseParam(*param)) ? 1 : 0; });
  }

  static graft_status linear(graft_instance* instance, const graft_peft_call* call, graft_tensor* y,
                             graft_error* error) noexcept {
    return guard(error, [&] { *y = self<T>(instance).linear(LinearCall(*call)).release(); });
  }

  static graft_status merge(graft_instance* instance, const graft_site* site, graft_tensor weight,
                            const graft_tensor* params, std::uint32_t n_params, graft_tensor* merged,
                            graft_error* error) noexcept {
    return guard(error, [&] {
      std::vector<Tensor> shared;
      for (std::uint32_t i = 0; i < n_params; ++i) shared.push_back(Tensor::share(params[i]));
      *merged = self<T>(instance).merge(Site(*site), Tensor::share(weight), shared).release();
    });
  }

  static graft_status export_config(graft_instance* instance, const graft_sink* json,
                                    graft_error* error) noexcept {
    return guard(error, [&] { write(json, self<T>(instance).export_config().dump()); });
  }

  static graft_status import_config(graft_str config, const graft_sink* params_json,
                                    graft_error* error) noexcept {
    return guard(error, [&] { write(params_json, T::import_config(Json::parse(to_view(config))).dump()); });
  }

  // The slot, or NULL if T did not override the function behind it.
  template <typename Mine, typename Base, typename Slot>
  static constexpr Slot slot_if(Slot slot) {
    return overrides<Mine, Base> ? slot : nullptr;
  }
  static constexpr bool exports = overrides<decltype(&T::export_config), decltype(&Peft::export_config)>;

  static constexpr graft_peft vtable = {
      GRAFT_HDR(graft_peft),
      slot_if<decltype(&T::plan_site), decltype(&Peft::plan_site)>(&plan_site),
      slot_if<decltype(&T::trains), decltype(&Peft::trains)>(&plan_base_param),
      &linear,
      slot_if<decltype(&T::merge), decltype(&Peft::merge)>(&merge),
      exports ? &export_config : nullptr,
      exports ? &import_config : nullptr,
  };
};

}  // namespace graft

#endif
