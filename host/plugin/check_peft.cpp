// SPDX-License-Identifier: Apache-2.0
#include <graft/peft.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "config/schema.h"
#include "plugin/check_context.h"
#include "plugin/host_services.h"
#include "support/strings.h"

namespace graft::plugin {
namespace {

using support::cat;

const graft_peft& vtable(const Component& component) {
  return component.interface<graft_peft>(GRAFT_INTERFACE_PEFT);
}

std::string check_param(const graft_peft_param& param) {
  const std::string_view name = view(param.name);
  if (name.empty() || !support::is_utf8(name)) return "has no name in UTF-8";
  if (param.rank > 8 || (param.rank > 0 && param.sizes == nullptr))
    return cat(name, " has rank ", param.rank);
  for (std::uint32_t i = 0; i < param.rank; ++i) {
    if (param.sizes[i] <= 0) return cat(name, ".sizes[", i, "] is ", param.sizes[i], ", expected at least 1");
  }
  if (param.dtype < GRAFT_DTYPE_DEFAULT || param.dtype > GRAFT_BOOL)
    return cat(name, ".dtype is ", param.dtype);
  if (param.init < GRAFT_INIT_ZEROS || param.init > GRAFT_INIT_NORMAL) {
    return cat(name, ".init is ", param.init, ", expected GRAFT_INIT_*");
  }
  if (!std::isfinite(param.init_scale) || param.init_scale < 0)
    return cat(name, ".init_scale is ", param.init_scale);
  if ((param.properties & ~(GRAFT_PEFT_PARAM_FROZEN | GRAFT_PEFT_PARAM_UNSAVED)) != 0) {
    return cat(name, ".properties is ", param.properties, ", expected GRAFT_PEFT_PARAM_*");
  }
  if (!std::isfinite(param.learning_rate_scale) || param.learning_rate_scale < 0) {
    return cat(name, ".learning_rate_scale is ", param.learning_rate_scale);
  }
  return {};
}

// Names and sizes as text: what must not change while the instance lives.
std::string summary(const graft_peft_param* const* params, std::uint32_t n) {
  std::string text;
  for (std::uint32_t i = 0; i < n; ++i) {
    text += cat(view(params[i]->name), " [");
    for (std::uint32_t k = 0; k < params[i]->rank; ++k) text += cat(params[i]->sizes[k], ",");
    text += "] ";
  }
  return text;
}

struct Plan {
  const graft_peft_param* const* params = nullptr;
  std::uint32_t n = 0;
  std::string text;
};

std::string check_plan_site(const CheckContext& context, const Instance& peft) {
  const graft_peft& table = vtable(context.component);
  support::KeyedRandom random = context.random("sites");
  std::vector<Plan> plans;
  std::vector<std::string> names;
  for (int i = 0; i < 50; ++i) names.push_back(cat("model.layers.", i, ".self_attn.q_proj"));
  for (const std::string& name : names) {
    graft_site site{};
    site.hdr = GRAFT_HDR(graft_site);
    site.name = view(name);
    site.in_features = random.between(1, 8192);
    site.out_features = random.between(1, 8192);
    site.component = GRAFT_COMPONENT_LANGUAGE;
    site.has_bias = static_cast<std::int32_t>(random.below(2));
    Plan plan;
    if (table.plan_model != nullptr) {
      const graft_site* const sites[] = {&site};
      call("plan_model()", [&](graft_error* error) {
        return table.plan_model(peft.raw(), sites, 1, &plan.params, &plan.n, error);
      });
      for (std::uint32_t i = 0; i < plan.n; ++i) {
        const std::string problem = check_param(*plan.params[i]);
        if (!problem.empty()) return cat("parameter ", i, " of the model ", problem);
      }
    }
    call("plan_site()", [&](graft_error* error) {
      const graft_status status = table.plan_site(peft.raw(), &site, &plan.params, &plan.n, error);
      return status == GRAFT_E_INVALID_ARGUMENT ? GRAFT_OK
                                                : status;  // these parameters do not fit that layer
    });
    std::set<std::string_view> seen;
    for (std::uint32_t i = 0; i < plan.n; ++i) {
      const std::string problem = check_param(*plan.params[i]);
      if (!problem.empty()) return cat("parameter ", i, " of ", name, " ", problem);
      if (!seen.insert(view(plan.params[i]->name)).second)
        return cat("parameter ", i, " has the name of another one");
    }
    plan.text = summary(plan.params, plan.n);
    plans.push_back(plan);
  }
  for (std::size_t i = 0; i < plans.size(); ++i) {
    if (summary(plans[i].params, plans[i].n) != plans[i].text) {
      return cat("the plan of ", names[i],
                 " changed when later sites were planned; expected it to stay valid until "
                 "the instance is destroyed");
    }
  }
  return {};
}

// A strategy may find that its default parameters do not fit these, which it then says.
std::string check_plan_base(const CheckContext& context, const Instance& peft) {
  const std::array<std::int64_t, 2> sizes = {64, 32};
  const std::array<std::string_view, 2> names = {"model.layers.0.input_layernorm.weight",
                                                 "model.layers.0.self_attn.q_proj.weight"};
  std::array<graft_base_param, 2> params{};
  std::array<const graft_base_param*, 2> list{};
  for (std::size_t i = 0; i < params.size(); ++i) {
    params[i] = {.hdr = GRAFT_HDR(graft_base_param),
                 .name = view(names[i]),
                 .sizes = sizes.data(),
                 .rank = 2,
                 .component = GRAFT_COMPONENT_LANGUAGE,
                 .site = -1,
                 .is_selected = static_cast<std::int32_t>(i)};
    list[i] = &params[i];
  }
  std::array<std::int32_t, 2> trained = {-1, -1};
  std::array<char, 1024> text{};
  graft_error error{text.data(), static_cast<std::uint32_t>(text.size()), 0};
  const graft_status status = vtable(context.component)
                                  .plan_base(peft.raw(), list.data(), static_cast<std::uint32_t>(list.size()),
                                             trained.data(), &error);
  const std::string_view reason(text.data(), error.length);
  if (status == GRAFT_E_INVALID_ARGUMENT && !reason.empty()) return {};
  if (status != GRAFT_OK) return cat("plan_base() failed with status ", status, ": ", reason);
  for (const std::int32_t value : trained) {
    if (value != 0 && value != 1) return cat("plan_base() wrote ", value, ", expected 0 or 1");
  }
  return {};
}

std::string import(const CheckContext& context, std::string_view adapter_config) {
  std::string params;
  const graft_sink sink = string_sink(params);
  call("import_config()", [&](graft_error* error) {
    return vtable(context.component).import_config(view(adapter_config), &sink, error);
  });
  return params;
}

// What is exported is imported to parameters that make the same configuration again.
std::string check_config(const CheckContext& context, const Instance& peft) {
  const graft_peft& table = vtable(context.component);
  const auto exported = [&](const Instance& instance) {
    std::string text;
    const graft_sink sink = string_sink(text);
    graft_peft_model model{};  // without sites: the parameters alone decide
    model.hdr = GRAFT_HDR(graft_peft_model);
    call("export_config()",
         [&](graft_error* error) { return table.export_config(instance.raw(), &model, &sink, error); });
    return nlohmann::json::parse(text);
  };
  const nlohmann::json first = exported(peft);
  if (!first.is_object() || !first.contains("peft_type")) {
    return cat("export_config() wrote ", first.dump(), ", expected an object with \"peft_type\"");
  }
  if (table.import_config == nullptr) return {};
  const nlohmann::json params = nlohmann::json::parse(import(context, first.dump()));
  Registry registry(context.host);
  const auto again = registry.create(context.component, params, "imported");
  if (exported(*again) != first) {
    return cat("exported ", first.dump(), ", but after importing it ", exported(*again).dump());
  }
  return {};
}

std::string check_hostile_import(const CheckContext& context) {
  std::vector<std::string> texts = hostile_texts(context.random("adapter_config"));
  texts.insert(texts.end(), {"{}", "[]", R"({"peft_type": 7})", R"({"peft_type": "NO_SUCH_METHOD"})"});
  for (const std::string& text : texts) {
    std::string params;
    try {
      params = import(context, text);
    } catch (const std::exception&) {
      continue;  // a refusal, as expected
    }
    if (!nlohmann::json::parse(params, nullptr, false).is_object()) {
      return cat("import_config(`", text.substr(0, 80), "`) succeeded with `", params.substr(0, 80),
                 "`, expected a refusal or a JSON object");
    }
  }
  return {};
}

}  // namespace

void check_peft(CheckContext& context) {
  const std::shared_ptr<Instance> peft = default_instance(context);
  if (peft == nullptr) return;
  const graft_peft& table = vtable(context.component);
  if (table.plan_site != nullptr) {
    context.check("sites", [&] { return check_plan_site(context, *peft); });
    check_peft_tensors(context, *peft);
  }
  if (table.plan_base != nullptr) {
    context.check("base parameters", [&] { return check_plan_base(context, *peft); });
  }
  if (table.export_config != nullptr)
    context.check("adapter_config", [&] { return check_config(context, *peft); });
  if (table.import_config != nullptr)
    context.check("hostile import", [&] { return check_hostile_import(context); });
}

}  // namespace graft::plugin
