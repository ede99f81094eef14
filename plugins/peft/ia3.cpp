// SPDX-License-Identifier: Apache-2.0
// (IA)³ (Liu et al. 2022, arXiv:2205.05638): one trained factor per output feature, y = l ⊙ (x Wᵀ + b), or per input feature of
// feed-forward layers, y = (l ⊙ x) Wᵀ + b. Names and shapes, [out, 1] and [1, in], are PEFT's.
#include <graft/sdk/peft.hpp>

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "common/config.h"
#include "common/tensors.h"

namespace {

namespace ops = graft::ops;
using graft::Json;
using graft::Tensor;
using Names = std::vector<std::string>;

bool ends_with(std::string_view name, std::string_view ending) {
  return name.size() >= ending.size() && name.substr(name.size() - ending.size()) == ending;
}

bool is_plain(std::string_view name) {  // no character with a meaning in an expression but the dot
  return !name.empty() && name.find_first_of("\\^$*+?()[]{}|") == std::string_view::npos;
}

// PEFT wants a list of feedforward_modules to be part of target_modules, which the host may have to write as longer endings.
// An expression has no such condition.
constexpr std::string_view kOpen = ".*(", kClose = ")";

std::string to_pattern(const Names& endings) {
  std::string text;
  for (const std::string& ending : endings) {
    if (!text.empty()) text += '|';
    for (const char c : ending) text += c == '.' ? std::string("\\.") : std::string(1, c);
  }
  return std::string(kOpen) + text + std::string(kClose);
}

// The endings of an expression that to_pattern() made.
Json from_pattern(const std::string& pattern) {
  Names endings(1);
  const bool is_framed = pattern.size() > kOpen.size() + kClose.size() &&
                         pattern.compare(0, kOpen.size(), kOpen) == 0 && ends_with(pattern, kClose);
  for (std::size_t i = kOpen.size(); is_framed && i + kClose.size() < pattern.size(); ++i) {
    if (pattern[i] == '|') {
      endings.emplace_back();
    } else {
      if (pattern.compare(i, 2, "\\.") == 0) ++i;
      endings.back() += pattern[i];
    }
  }
  if (!is_framed || !std::all_of(endings.begin(), endings.end(), is_plain) ||
      to_pattern(endings) != pattern) {
    throw graft::Error(GRAFT_E_UNSUPPORTED,
                       "feedforward_modules = " + Json(pattern).dump() +
                           " is an expression; only a list of endings of names is offered");
  }
  Json list = Json::array();
  for (const std::string& ending : endings) list.push(ending);
  return list;
}

struct Ia3 : graft::Peft {
  static constexpr auto name = "ia3";
  static constexpr auto summary =
      "one trained factor per output feature, or input feature of feed-forward layers ((IA)³)";

  static graft::Schema params() {
    return graft::Schema()
        .strings("feedforward_modules", {"down_proj"},
                 "endings of the names of layers whose input is scaled instead of the output")
        .boolean("init_ia3_weights", true, "start at 1; false: at random, which changes the model at once");
  }

  explicit Ia3(const graft::Params& params)
      : feedforward_(params.strings("feedforward_modules")),
        starts_at_one_(params.boolean("init_ia3_weights")) {
    for (const std::string& ending : feedforward_) {
      if (is_plain(ending)) continue;
      throw graft::Error(GRAFT_E_INVALID_ARGUMENT,
                         "feedforward_modules has \"" + ending + "\", expected the end of a layer's name");
    }
  }

  std::vector<graft::PeftParam> plan_site(const graft::Site& site) override {
    const graft::Init init = starts_at_one_ ? graft::Init::ones() : graft::Init::normal(1.0);
    if (is_feedforward(site)) return {{"ia3_l", {1, site.in_features()}, init}};
    return {{"ia3_l", {site.out_features(), 1}, init}};
  }

  Tensor linear(const graft::LinearCall& call) override {
    const Tensor factors = call.param(0);
    const Tensor& x = call.x();
    if (is_feedforward(call.site())) return call.base(peft::in_dtype(x * factors, x.dtype()));
    const Tensor y = call.base(x);
    return peft::in_dtype(y * ops::t(factors), y.dtype());
  }

  graft::Merged merge(const graft::SiteValues& values) override {
    const Tensor factors = values.param(0), bias = values.bias();
    const bool scales_bias = bias && !is_feedforward(values.site());
    return {values.weight() * factors, scales_bias ? bias * ops::flatten(factors, 0, -1) : Tensor()};
  }

  Json export_config(const graft::ModelValues&) override {
    return Json::object(
        {{"peft_type", "IA3"},
         {"feedforward_modules", feedforward_.empty() ? Json::array() : to_pattern(feedforward_)},
         {"init_ia3_weights", starts_at_one_},
         {"fan_in_fan_out", false}});
  }

  static Json import_config(const Json& config) {
    graft::require_peft_type(config, "IA3");
    graft::require_off(config, {"fan_in_fan_out"});
    Json params = peft::read_fields(
        config, {{"feedforward_modules", "feedforward_modules"}, {"init_ia3_weights", "init_ia3_weights"}});
    const Json* given = params.find("feedforward_modules");
    if (given == nullptr) {
      throw graft::Error(GRAFT_E_UNSUPPORTED,
                         "feedforward_modules is missing; which layers have their input scaled "
                         "is not known");
    }
    if (given->is_string()) params.set("feedforward_modules", from_pattern(given->as_string()));
    return params;
  }

 private:
  // As PEFT: any ending, not only whole parts of the name.
  [[nodiscard]] bool is_feedforward(const graft::Site& site) const {
    return std::any_of(feedforward_.begin(), feedforward_.end(),
                       [&](const std::string& ending) { return ends_with(site.name(), ending); });
  }

  Names feedforward_;
  bool starts_at_one_;
};

}  // namespace

GRAFT_PLUGIN(Ia3);
