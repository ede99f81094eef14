// SPDX-License-Identifier: Apache-2.0
#include "adapt/strategy.h"

#include <ATen/ops/empty.h>

#include <algorithm>

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

PlannedParam checked_plan(const std::string& who, const model::Site& site, const graft_peft_param* raw) {
  constexpr auto kSmallest = offsetof(graft_peft_param, init_scale) + sizeof(double);
  if (raw == nullptr || raw->hdr.struct_size < kSmallest)
    misbehaves(who, "planned a parameter without content");
  PlannedParam plan;
  plan.name = plugin::view(raw->name);
  const auto where = support::cat("planned \"", plan.name, "\" at ", site.name);
  if (plan.name.empty()) misbehaves(who, support::cat("planned a parameter without a name at ", site.name));
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
  plan.is_trained = raw->is_trained != 0;
  if (plan.init < GRAFT_INIT_ZEROS || plan.init > GRAFT_INIT_NORMAL) {
    misbehaves(who, support::cat(where, " with the unknown initialisation ", plan.init));
  }
  if (plan.is_trained && plan.dtype != at::kFloat)
    misbehaves(who, where + " as a trained parameter that is not float32");
  if (plan.dtype != at::kFloat && plan.init > GRAFT_INIT_ONES)
    misbehaves(who, where + ": only float32 can be drawn at random");
  return plan;
}

// Checks what the plugin wrote as JSON.
nlohmann::json parse_object(const std::string& who, const std::string& slot, const std::string& text) {
  auto object = nlohmann::json::parse(text, nullptr, false);
  if (!object.is_object())
    misbehaves(who, support::cat("returned no JSON object from ", slot, ", but: ", text));
  return object;
}

}  // namespace

graft_site site_view(const model::Site& site) {
  return {.hdr = GRAFT_HDR(graft_site),
          .name = plugin::view(site.name),
          .in_features = site.in_features,
          .out_features = site.out_features,
          .component = site.component,
          .has_bias = site.bias >= 0 ? 1 : 0};
}

Strategy::Strategy(plugin::Registry& registry, const std::string& name, const nlohmann::json& params)
    : name_(name), who_(support::cat("PEFT strategy \"", name, '"')) {
  instance_ = registry.create(registry.find(GRAFT_KIND_PEFT, name), params, "peft.params", &params_);
  table_ = &instance_->interface<graft_peft>(GRAFT_INTERFACE_PEFT);
}

std::vector<PlannedParam> Strategy::plan_site(const model::Site& site) const {
  if (table_->plan_site == nullptr) return {};
  const auto view = site_view(site);
  const graft_peft_param* const* params = nullptr;
  std::uint32_t n = 0;
  plugin::call(who_, [&](graft_error* error) {
    return table_->plan_site(instance_->raw(), &view, &params, &n, error);
  });
  std::vector<PlannedParam> plans;
  for (std::uint32_t i = 0; i < n; ++i) plans.push_back(checked_plan(who_, site, params[i]));
  return plans;
}

bool Strategy::trains(const model::Param& param, std::int32_t site, bool is_selected) const {
  if (table_->plan_base_param == nullptr) return false;
  const graft_base_param view{.hdr = GRAFT_HDR(graft_base_param),
                              .name = plugin::view(param.name),
                              .sizes = param.sizes.data(),
                              .rank = static_cast<std::uint32_t>(param.sizes.size()),
                              .component = param.component,
                              .site = site,
                              .is_selected = is_selected ? 1 : 0};
  std::int32_t is_trained = 0;
  plugin::call(who_, [&](graft_error* error) {
    return table_->plan_base_param(instance_->raw(), &view, &is_trained, error);
  });
  return is_trained != 0;
}

std::optional<nlohmann::json> Strategy::export_config() const {
  if (table_->export_config == nullptr) return std::nullopt;
  std::string text;
  const auto sink = plugin::string_sink(text);
  plugin::call(who_,
               [&](graft_error* error) { return table_->export_config(instance_->raw(), &sink, error); });
  return parse_object(who_, "export_config", text);
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
