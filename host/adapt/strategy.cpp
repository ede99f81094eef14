// SPDX-License-Identifier: Apache-2.0
#include "adapt/strategy.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "model/slot_errors.h"
#include "model/tensor_handle.h"
#include "plugin/host_services.h"
#include "support/error.h"
#include "support/random.h"
#include "support/strings.h"

namespace graft::adapt {
namespace {

[[noreturn]] void misbehaves(const std::string& who, const std::string& what) {
  throw support::PluginError(support::cat(who, " ", what));
}

PlannedParam checked_param(const std::string& who, const std::string& place, const graft_peft_param* raw) {
  constexpr auto kSmallest = offsetof(graft_peft_param, learning_rate_scale) + sizeof(double);
  if (raw == nullptr || raw->hdr.struct_size < kSmallest)
    misbehaves(who, "planned a parameter without content");
  PlannedParam plan;
  plan.name = plugin::view(raw->name);
  const auto where = support::cat("planned \"", plan.name, "\" ", place);
  if (plan.name.empty()) misbehaves(who, support::cat("planned a parameter without a name ", place));
  plan.sizes.assign(raw->sizes, raw->sizes + raw->rank);
  if (std::any_of(plan.sizes.begin(), plan.sizes.end(), [](std::int64_t size) { return size <= 0; })) {
    misbehaves(who, where + " with a size below 1");
  }
  try {
    plan.dtype = model::dtype_of_code(raw->dtype);
  } catch (const std::invalid_argument& e) {
    misbehaves(who, support::cat(where, ": ", e.what()));
  }
  plan.init = raw->init;
  plan.init_scale = raw->init_scale;
  plan.is_trained = (raw->properties & GRAFT_PEFT_PARAM_FROZEN) == 0;
  plan.is_saved = (raw->properties & GRAFT_PEFT_PARAM_UNSAVED) == 0;
  plan.learning_rate_scale = raw->learning_rate_scale == 0.0 ? 1.0 : raw->learning_rate_scale;
  if (!std::isfinite(plan.learning_rate_scale) || plan.learning_rate_scale < 0.0) {
    misbehaves(who, support::cat(where, " with the learning rate scale ", plan.learning_rate_scale));
  }
  if (plan.init < GRAFT_INIT_ZEROS || plan.init > GRAFT_INIT_NORMAL) {
    misbehaves(who, support::cat(where, " with the unknown initialisation ", plan.init));
  }
  if (plan.is_trained && plan.dtype != at::kFloat)
    misbehaves(who, where + " as a trained parameter that is not float32");
  if (plan.dtype != at::kFloat && plan.init > GRAFT_INIT_ONES)
    misbehaves(who, where + ": only float32 can be drawn at random");
  return plan;
}

std::vector<PlannedParam> checked_params(const std::string& who, const std::string& place,
                                         const graft_peft_param* const* params, std::uint32_t n) {
  std::vector<PlannedParam> plans;
  for (std::uint32_t i = 0; i < n; ++i) plans.push_back(checked_param(who, place, params[i]));
  return plans;
}

// Sites as plugins see them.
class SiteViews {
 public:
  explicit SiteViews(const std::vector<SelectedSite>& sites) {
    for (const SelectedSite& site : sites) views_.push_back(site_view(*site.site, site.overrides));
    for (const graft_site& view : views_) list_.push_back(&view);
  }
  SiteViews(const SiteViews&) = delete;
  SiteViews& operator=(const SiteViews&) = delete;
  [[nodiscard]] const graft_site* const* list() const { return list_.data(); }
  [[nodiscard]] std::uint32_t count() const { return static_cast<std::uint32_t>(list_.size()); }

 private:
  std::vector<graft_site> views_;
  std::vector<const graft_site*> list_;
};

// Takes over what merge() gave and checks it. `sizes`: the expected ones.
at::Tensor checked_part(const std::string& who, const char* what, graft_tensor raw, at::IntArrayRef sizes) {
  at::Tensor part = model::take(raw);
  if (!part.defined() || part.sizes() != sizes || part.scalar_type() != at::kFloat)
    misbehaves(who, support::cat("merged to a ", what, " that has another shape or is not float32"));
  return part;
}

struct TensorCollector {
  model::NamedTensors tensors;
  static graft_status write(void* context, graft_str name, graft_tensor tensor, graft_error* error) {
    try {
      if (tensor == nullptr) throw std::invalid_argument("the tensor is NULL");
      static_cast<TensorCollector*>(context)->tensors.emplace_back(std::string(plugin::view(name)),
                                                                   model::share(tensor).detach());
      return GRAFT_OK;
    } catch (...) {
      return model::report_exception(error, "export_tensors");
    }
  }
};

// Checks what the plugin wrote as JSON.
nlohmann::json parse_object(const std::string& who, const std::string& slot, const std::string& text) {
  auto object = nlohmann::json::parse(text, nullptr, false);
  if (!object.is_object())
    misbehaves(who, support::cat("returned no JSON object from ", slot, ", but: ", text));
  return object;
}

}  // namespace

graft_site site_view(const model::Site& site, const SiteOverrides& overrides) {
  return {.hdr = GRAFT_HDR(graft_site),
          .name = plugin::view(site.name),
          .in_features = site.in_features,
          .out_features = site.out_features,
          .component = site.component,
          .has_bias = site.bias >= 0 ? 1 : 0,
          .rank = overrides.rank,
          .alpha = overrides.alpha};
}

Strategy::Strategy(plugin::Registry& registry, const std::string& name, const nlohmann::json& params)
    : name_(name), who_(support::cat("PEFT strategy \"", name, '"')) {
  instance_ = registry.create(registry.find(GRAFT_KIND_PEFT, name), params, "peft.params", &params_);
  table_ = &instance_->interface<graft_peft>(GRAFT_INTERFACE_PEFT);
}

void Strategy::call_on_user_data(const std::function<graft_status(graft_error*)>& slot) const {
  graft_status status = GRAFT_OK;
  try {
    plugin::call(who_, [&](graft_error* error) { return status = slot(error); });
  } catch (const support::PluginError& error) {
    if (status == GRAFT_E_INVALID_ARGUMENT) throw support::UserError(error.what());
    throw;
  }
}

bool Strategy::calibrate(const std::vector<SelectedSite>& sites) const {
  if (table_->calibrate == nullptr) return false;
  const SiteViews views(sites);
  std::int32_t is_wanted = 0;
  call_on_user_data([&](graft_error* error) {
    return table_->calibrate(instance_->raw(), views.list(), views.count(), &is_wanted, error);
  });
  return is_wanted != 0;
}

void Strategy::observe(const Observation& observation) const {
  const graft_site view = site_view(*observation.site.site, observation.site.overrides);
  const graft_peft_observation raw{
      .hdr = GRAFT_HDR(graft_peft_observation),
      .site = &view,
      .index = observation.index,
      .reserved = 0,
      .pass = observation.pass,
      .x = model::lend(observation.x),
      .answer_rows = observation.answer_rows.defined() ? model::lend(observation.answer_rows) : nullptr};
  call_on_user_data([&](graft_error* error) { return table_->observe(instance_->raw(), &raw, error); });
}

bool Strategy::allot(const std::vector<SelectedSite>& sites, std::vector<Allotment>& allotments) const {
  std::vector<graft_peft_allotment> raw(sites.size());
  std::vector<graft_peft_allotment*> list;
  for (graft_peft_allotment& site : raw) {
    site.hdr = GRAFT_HDR(graft_peft_allotment);
    list.push_back(&site);
  }
  std::int32_t is_done = 0;
  call_on_user_data([&](graft_error* error) {
    return table_->allot(instance_->raw(), list.data(), static_cast<std::uint32_t>(list.size()), &is_done,
                         error);
  });
  allotments.clear();
  for (std::size_t i = 0; i < raw.size(); ++i) {
    const auto refuse = [&](const char* what, double value) {
      misbehaves(who_, support::cat("allotted ", sites[i].site->name, " the ", what, ' ', value));
    };
    if (raw[i].rank < 0 || (raw[i].rank > 0 && !takes_rank()))
      refuse("rank", static_cast<double>(raw[i].rank));
    if (!std::isfinite(raw[i].alpha) || raw[i].alpha < 0.0 || (raw[i].alpha > 0.0 && !takes_alpha()))
      refuse("alpha", raw[i].alpha);
    allotments.push_back({raw[i].rank, raw[i].alpha, raw[i].is_dropped != 0});
  }
  return is_done != 0;
}

std::vector<PlannedParam> Strategy::plan_model(const std::vector<SelectedSite>& sites) const {
  if (table_->plan_model == nullptr) return {};
  const SiteViews views(sites);
  const graft_peft_param* const* params = nullptr;
  std::uint32_t n = 0;
  call_on_user_data([&](graft_error* error) {
    return table_->plan_model(instance_->raw(), views.list(), views.count(), &params, &n, error);
  });
  return checked_params(who_, "for the model", params, n);
}

std::vector<PlannedParam> Strategy::plan_site(const SelectedSite& site) const {
  if (table_->plan_site == nullptr) return {};
  const auto view = site_view(*site.site, site.overrides);
  const graft_peft_param* const* params = nullptr;
  std::uint32_t n = 0;
  call_on_user_data(
      [&](graft_error* error) { return table_->plan_site(instance_->raw(), &view, &params, &n, error); });
  return checked_params(who_, support::cat("at ", site.site->name), params, n);
}

std::vector<bool> Strategy::plan_base(const std::vector<model::Param>& params,
                                      const std::vector<std::int32_t>& sites,
                                      const std::vector<bool>& selected) const {
  std::vector<bool> trains(params.size(), false);
  if (table_->plan_base == nullptr) return trains;
  std::vector<graft_base_param> views;
  for (std::size_t i = 0; i < params.size(); ++i) {
    const auto owner = params[i].tied_to >= 0 ? static_cast<std::size_t>(params[i].tied_to) : i;
    views.push_back({.hdr = GRAFT_HDR(graft_base_param),
                     .name = plugin::view(params[i].name),
                     .sizes = params[i].sizes.data(),
                     .rank = static_cast<std::uint32_t>(params[i].sizes.size()),
                     .component = params[i].component,
                     .site = sites[i],
                     .is_selected = selected[i] || selected[owner] ? 1 : 0});
  }
  std::vector<const graft_base_param*> list;
  for (const graft_base_param& view : views) list.push_back(&view);
  std::vector<std::int32_t> chosen(params.size(), 0);
  graft_status status = GRAFT_OK;
  try {
    plugin::call(who_, [&](graft_error* error) {
      status = table_->plan_base(instance_->raw(), list.data(), static_cast<std::uint32_t>(list.size()),
                                 chosen.data(), error);
      return status;
    });
  } catch (const support::PluginError& error) {
    if (status == GRAFT_E_INVALID_ARGUMENT) throw support::UserError(error.what());
    throw;
  }
  for (std::size_t i = 0; i < params.size(); ++i) {  // a tied parameter is trained as its owner
    if (chosen[i] != 0)
      trains[params[i].tied_to >= 0 ? static_cast<std::size_t>(params[i].tied_to) : i] = true;
  }
  return trains;
}

void Strategy::initialize(const graft_peft_model& model) const {
  if (table_->initialize == nullptr) return;
  call_on_user_data([&](graft_error* error) { return table_->initialize(instance_->raw(), &model, error); });
}

at::Tensor Strategy::regularize(const graft_peft_model& model) const {
  if (table_->regularize == nullptr) return {};
  graft_tensor raw = nullptr;
  plugin::call(who_,
               [&](graft_error* error) { return table_->regularize(instance_->raw(), &model, &raw, error); });
  if (raw == nullptr) return {};
  at::Tensor loss = model::take(raw);
  if (loss.numel() != 1) misbehaves(who_, "returned a regularization that is no scalar");
  return loss;
}

void Strategy::before_update(const graft_peft_model& model) const {
  if (table_->before_update == nullptr) return;
  plugin::call(who_,
               [&](graft_error* error) { return table_->before_update(instance_->raw(), &model, error); });
}

void Strategy::after_update(const graft_peft_model& model) const {
  if (table_->after_update == nullptr) return;
  plugin::call(who_,
               [&](graft_error* error) { return table_->after_update(instance_->raw(), &model, error); });
}

std::pair<at::Tensor, at::Tensor> Strategy::merge(const graft_peft_values& values) const {
  if (table_->merge == nullptr) {
    throw support::UserError(
        support::cat(who_, " cannot be merged into the base weights; use its adapter as it is"));
  }
  graft_tensor weight = nullptr, bias = nullptr;
  plugin::call(who_, [&](graft_error* error) {
    return table_->merge(instance_->raw(), &values, &weight, &bias, error);
  });
  const graft_site& site = *values.site;
  std::pair<at::Tensor, at::Tensor> merged;
  merged.first = checked_part(who_, "weight", weight, {site.out_features, site.in_features});
  if (bias != nullptr) merged.second = checked_part(who_, "bias", bias, {site.out_features});
  return merged;
}

std::optional<nlohmann::json> Strategy::export_config(const graft_peft_model& model) const {
  if (table_->export_config == nullptr) return std::nullopt;
  std::string text;
  const auto sink = plugin::string_sink(text);
  plugin::call(who_, [&](graft_error* error) {
    return table_->export_config(instance_->raw(), &model, &sink, error);
  });
  return parse_object(who_, "export_config", text);
}

std::optional<model::NamedTensors> Strategy::export_tensors(const graft_peft_values& values) const {
  if (table_->export_tensors == nullptr) return std::nullopt;
  TensorCollector collector;
  const graft_tensor_sink sink{&collector, &TensorCollector::write};
  plugin::call(who_, [&](graft_error* error) {
    return table_->export_tensors(instance_->raw(), &values, &sink, error);
  });
  return std::move(collector.tensors);
}

void Strategy::import_tensors(const graft_peft_values& values, const model::NamedTensors& stored) const {
  std::vector<graft_str> names;
  std::vector<graft_tensor> tensors;
  for (const auto& [name, tensor] : stored) {
    names.push_back(plugin::view(name));
    tensors.push_back(model::lend(tensor));
  }
  call_on_user_data([&](graft_error* error) {
    return table_->import_tensors(instance_->raw(), &values, names.data(), tensors.data(),
                                  static_cast<std::uint32_t>(names.size()), error);
  });
}

std::optional<nlohmann::json> import_config(const plugin::Component& component,
                                            const std::string& config_text, std::string* refusal) {
  const auto& table = component.interface<graft_peft>(GRAFT_INTERFACE_PEFT);
  if (table.import_config == nullptr) {
    *refusal = "does not read PEFT's files";
    return std::nullopt;
  }
  std::string text;
  const auto sink = plugin::string_sink(text);
  std::array<char, 1024> message{};
  graft_error error{message.data(), static_cast<std::uint32_t>(message.size()), 0};
  if (table.import_config(plugin::view(config_text), &sink, &error) != GRAFT_OK) {
    *refusal = error.length > 0 ? std::string(message.data(), error.length) : "refuses without a reason";
    return std::nullopt;
  }
  return parse_object(support::cat("PEFT strategy \"", component.name, '"'), "import_config", text);
}

at::Tensor make_param(const PlannedParam& plan, const std::string& full_name, std::uint64_t seed,
                      const at::Tensor& like) {
  if (like.is_meta()) return at::empty(plan.sizes, like.options().dtype(plan.dtype));
  auto tensor = at::empty(plan.sizes, at::TensorOptions().dtype(plan.dtype));
  if (plan.init <= GRAFT_INIT_ONES) {
    tensor.fill_(plan.init == GRAFT_INIT_ONES ? 1 : 0);
  } else {
    support::KeyedRandom random(seed, {support::hash_string("adapter"), support::hash_string(full_name)});
    auto* values = tensor.data_ptr<float>();
    for (std::int64_t i = 0; i < tensor.numel(); ++i) {
      const double draw = plan.init == GRAFT_INIT_UNIFORM ? 2.0 * random.uniform() - 1.0 : random.normal();
      values[i] = static_cast<float>(plan.init_scale * draw);
    }
  }
  return tensor.to(like.device());
}

}  // namespace graft::adapt
