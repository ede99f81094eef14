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

#include <graft/sdk/peft_values.hpp>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace graft {

template <typename T>
struct PeftKind;

// Base class of strategies. linear() and merge() may run on several threads at once, so they must not change
// the object. A class whose plans use Site::rank_or() or Site::alpha_or() says so:
//   static constexpr bool takes_rank_pattern = true, takes_alpha_pattern = true;
class Peft : public Component {
 public:
  template <typename T>
  using Kind = PeftKind<T>;

  static constexpr std::uint32_t thread_class = GRAFT_THREAD_CONCURRENT;
  static constexpr bool takes_rank_pattern = false, takes_alpha_pattern = false;
  static constexpr bool has_exclude_modules = true;  // PEFT's class of this method's settings has that field

  // Given all selected sites of a fresh adapter, before anything is planned: true asks for passes of the model over training
  // data, in which observe() sees what the sites are given.
  virtual bool calibrate(const std::vector<Site>& sites) {
    static_cast<void>(sites);
    return false;
  }
  // Once for each site in each pass. What is kept of it belongs to the object until initialize(), which should let it go.
  virtual void observe(const Observation& seen) { static_cast<void>(seen); }
  // After each pass: what becomes of the sites, of which the last call's values hold; true ends the calibration.
  virtual bool allot(std::vector<Allotment>& sites) {
    static_cast<void>(sites);
    return true;
  }
  // The parameters wanted once for the whole model, given all selected sites. Called before plan_site().
  virtual std::vector<PeftParam> plan_model(const std::vector<Site>& sites) {
    static_cast<void>(sites);
    return {};
  }
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
  // The same for all of them, in their order, where one depends on others. Error with GRAFT_E_INVALID_ARGUMENT: the user's
  // parameters do not fit this model.
  virtual std::vector<bool> plan_base(const std::vector<BaseParam>& params) {
    std::vector<bool> trained;
    for (const BaseParam& param : params) trained.push_back(trains(param));
    return trained;
  }
  // Writes in place what Init cannot express. Without gradients; a saved adapter is read afterwards.
  virtual void initialize(const ModelValues& model) { static_cast<void>(model); }
  // y [T, out_features] of a site with parameters, in the dtype of x or of call.base(). Equal to the base layer's at
  // initialisation, unless the strategy's summary says otherwise.
  virtual Tensor linear(const LinearCall& call) { return call.base(call.x()); }
  // The plain layer that equals linear() in evaluation mode. All float32.
  virtual Merged merge(const SiteValues& values) { return {values.weight(), {}}; }
  // A scalar added to the loss once in each optimizer step; no tensor: nothing.
  virtual Tensor regularize(const ModelValues& model) {
    static_cast<void>(model);
    return {};
  }
  // Around the optimizer's step, without gradients being recorded: the first may change gradients in place, the second
  // parameters.
  virtual void before_update(const ModelValues& model) { static_cast<void>(model); }
  virtual void after_update(const ModelValues& model) { static_cast<void>(model); }
  // The strategy's own fields of PEFT's adapter_config.json, "peft_type" among them.
  virtual Json export_config(const ModelValues& model) {
    static_cast<void>(model);
    return Json::object();
  }
  // The tensors of a site in PEFT's file, if they are not the saved parameters as they are.
  virtual std::vector<std::pair<std::string, Tensor>> export_tensors(const SiteValues& values) {
    static_cast<void>(values);
    return {};
  }
  // Its inverse, if export_tensors() is not the parameters as they are: fills the site's parameters in place. Throws Error
  // with GRAFT_E_INVALID_ARGUMENT if the tensors do not fit.
  virtual void import_tensors(const SiteValues& values, const StoredTensors& tensors) {
    static_cast<void>(values);
    static_cast<void>(tensors);
  }
  // The inverse of export_config(), as parameters of this component. Throws Error with GRAFT_E_UNSUPPORTED for files of
  // other methods; see require_peft_type() and require_off().
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
  // Keeps a plan for as long as the instance lives, and lends it to the host.
  void hand_out(std::vector<PeftParam> plan, const graft_peft_param* const** params, std::uint32_t* n) {
    std::vector<const graft_peft_param*> list;
    for (PeftParam& param : plan) {
      Planned& planned = planned_.emplace_back();
      planned.param = std::move(param);
      const PeftParam& kept = planned.param;
      planned.raw.hdr = GRAFT_HDR(graft_peft_param);
      planned.raw.name = to_str(kept.name);
      planned.raw.sizes = kept.sizes.data();
      planned.raw.rank = static_cast<std::uint32_t>(kept.sizes.size());
      planned.raw.dtype = GRAFT_DTYPE_DEFAULT;
      planned.raw.init = kept.init.kind;
      planned.raw.properties =
          (kept.is_trained ? 0U : GRAFT_PEFT_PARAM_FROZEN) | (kept.is_saved ? 0U : GRAFT_PEFT_PARAM_UNSAVED);
      planned.raw.init_scale = kept.init.scale;
      planned.raw.learning_rate_scale = kept.learning_rate_scale;
      list.push_back(&planned.raw);
    }
    const auto& stored = lists_.emplace_back(std::move(list));
    *params = stored.data();
    *n = static_cast<std::uint32_t>(stored.size());
  }

  std::deque<Planned> planned_;
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
  static graft_status plan_model(graft_instance* instance, const graft_site* const* sites,
                                 std::uint32_t n_sites, const graft_peft_param* const** params,
                                 std::uint32_t* n, graft_error* error) noexcept {
    return guard(error, [&] {
      std::vector<Site> list;
      for (std::uint32_t i = 0; i < n_sites; ++i) list.emplace_back(*sites[i]);
      Peft& base = self<T>(instance);
      base.hand_out(base.plan_model(list), params, n);
    });
  }

  static graft_status plan_site(graft_instance* instance, const graft_site* site,
                                const graft_peft_param* const** params, std::uint32_t* n,
                                graft_error* error) noexcept {
    return guard(error, [&] {
      Peft& base = self<T>(instance);
      base.hand_out(base.plan_site(Site(*site)), params, n);
    });
  }

  static graft_status plan_base(graft_instance* instance, const graft_base_param* const* params,
                                std::uint32_t n, std::int32_t* trained, graft_error* error) noexcept {
    return guard(error, [&] {
      std::vector<BaseParam> list;
      for (std::uint32_t i = 0; i < n; ++i) list.emplace_back(*params[i]);
      const std::vector<bool> chosen = self<T>(instance).plan_base(list);
      for (std::uint32_t i = 0; i < n; ++i) trained[i] = chosen.at(i) ? 1 : 0;
    });
  }

  static graft_status initialize(graft_instance* instance, const graft_peft_model* model,
                                 graft_error* error) noexcept {
    return guard(error, [&] { self<T>(instance).initialize(ModelValues(*model)); });
  }

  static graft_status linear(graft_instance* instance, const graft_peft_call* call, graft_tensor* y,
                             graft_error* error) noexcept {
    return guard(error, [&] { *y = self<T>(instance).linear(LinearCall(*call)).release(); });
  }

  static graft_status merge(graft_instance* instance, const graft_peft_values* values, graft_tensor* weight,
                            graft_tensor* bias, graft_error* error) noexcept {
    return guard(error, [&] {
      Merged merged = self<T>(instance).merge(SiteValues(*values));
      *weight = merged.weight.release();
      *bias = merged.bias.release();
    });
  }

  static graft_status regularize(graft_instance* instance, const graft_peft_model* model, graft_tensor* loss,
                                 graft_error* error) noexcept {
    return guard(error, [&] { *loss = self<T>(instance).regularize(ModelValues(*model)).release(); });
  }

  static graft_status before_update(graft_instance* instance, const graft_peft_model* model,
                                    graft_error* error) noexcept {
    return guard(error, [&] { self<T>(instance).before_update(ModelValues(*model)); });
  }

  static graft_status after_update(graft_instance* instance, const graft_peft_model* model,
                                   graft_error* error) noexcept {
    return guard(error, [&] { self<T>(instance).after_update(ModelValues(*model)); });
  }

  static graft_status export_config(graft_instance* instance, const graft_peft_model* model,
                                    const graft_sink* json, graft_error* error) noexcept {
    return guard(error, [&] { write(json, self<T>(instance).export_config(ModelValues(*model)).dump()); });
  }

  static graft_status export_tensors(graft_instance* instance, const graft_peft_values* values,
                                     const graft_tensor_sink* tensors, graft_error* error) noexcept {
    return guard(error, [&] {
      for (const auto& item : self<T>(instance).export_tensors(SiteValues(*values))) {
        check([&](graft_error* inner) {
          return tensors->write(tensors->context, to_str(item.first), item.second.get(), inner);
        });
      }
    });
  }

  static graft_status import_tensors(graft_instance* instance, const graft_peft_values* values,
                                     const graft_str* names, const graft_tensor* tensors, std::uint32_t n,
                                     graft_error* error) noexcept {
    return guard(error, [&] {
      StoredTensors stored;
      for (std::uint32_t i = 0; i < n; ++i)
        stored.emplace_back(std::string(to_view(names[i])), Tensor::share(tensors[i]));
      self<T>(instance).import_tensors(SiteValues(*values), stored);
    });
  }

  static graft_status import_config(graft_str config, const graft_sink* params_json,
                                    graft_error* error) noexcept {
    return guard(error, [&] { write(params_json, T::import_config(Json::parse(to_view(config))).dump()); });
  }

  static graft_status calibrate(graft_instance* instance, const graft_site* const* sites,
                                std::uint32_t n_sites, std::int32_t* is_wanted, graft_error* error) noexcept {
    return guard(error, [&] {
      std::vector<Site> list;
      for (std::uint32_t i = 0; i < n_sites; ++i) list.emplace_back(*sites[i]);
      *is_wanted = self<T>(instance).calibrate(list) ? 1 : 0;
    });
  }

  static graft_status observe(graft_instance* instance, const graft_peft_observation* observation,
                              graft_error* error) noexcept {
    return guard(error, [&] { self<T>(instance).observe(Observation(*observation)); });
  }

  static graft_status allot(graft_instance* instance, graft_peft_allotment* const* allotments,
                            std::uint32_t n, std::int32_t* is_done, graft_error* error) noexcept {
    return guard(error, [&] {
      std::vector<Allotment> sites(n);
      *is_done = self<T>(instance).allot(sites) ? 1 : 0;
      for (std::uint32_t i = 0; i < n; ++i) {
        const Allotment& site = sites.at(i);
        allotments[i]->rank = site.rank;
        allotments[i]->alpha = site.alpha;
        allotments[i]->is_dropped = site.is_dropped ? 1 : 0;
      }
    });
  }

  // The slot, or NULL if T did not override the function behind it.
  template <typename Mine, typename Base, typename Slot>
  static constexpr Slot slot_if(Slot slot) {
    return overrides<Mine, Base> ? slot : nullptr;
  }
  static constexpr bool exports = overrides<decltype(&T::export_config), decltype(&Peft::export_config)>;

  static constexpr bool calibrates = overrides<decltype(&T::calibrate), decltype(&Peft::calibrate)>;
  static constexpr bool plans_base = overrides<decltype(&T::trains), decltype(&Peft::trains)> ||
                                     overrides<decltype(&T::plan_base), decltype(&Peft::plan_base)>;

// NOLINTNEXTLINE(bugprone-macro-parentheses): the arguments are names of members
#define GRAFT_SDK_PEFT_SLOT(function, slot) slot_if<decltype(&T::function), decltype(&Peft::function)>(&slot)
  static constexpr graft_peft vtable = {
      GRAFT_HDR(graft_peft),
      (T::takes_rank_pattern ? GRAFT_PEFT_TAKES_RANK : 0U) |
          (T::takes_alpha_pattern ? GRAFT_PEFT_TAKES_ALPHA : 0U) |
          (T::has_exclude_modules ? 0U : GRAFT_PEFT_NO_EXCLUSION),
      GRAFT_SDK_PEFT_SLOT(plan_model, plan_model),
      GRAFT_SDK_PEFT_SLOT(plan_site, plan_site),
      plans_base ? &plan_base : nullptr,
      GRAFT_SDK_PEFT_SLOT(initialize, initialize),
      &linear,
      GRAFT_SDK_PEFT_SLOT(merge, merge),
      GRAFT_SDK_PEFT_SLOT(regularize, regularize),
      GRAFT_SDK_PEFT_SLOT(before_update, before_update),
      GRAFT_SDK_PEFT_SLOT(after_update, after_update),
      exports ? &export_config : nullptr,
      GRAFT_SDK_PEFT_SLOT(export_tensors, export_tensors),
      GRAFT_SDK_PEFT_SLOT(import_tensors, import_tensors),
      exports ? &import_config : nullptr,
      calibrates ? &calibrate : nullptr,
      calibrates ? &observe : nullptr,
      calibrates ? &allot : nullptr,
  };
#undef GRAFT_SDK_PEFT_SLOT
};

}  // namespace graft

#endif
