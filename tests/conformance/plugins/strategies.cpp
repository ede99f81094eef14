// SPDX-License-Identifier: Apache-2.0
// PEFT strategies that break their contract, one way each. No tensor is touched.
#include <graft/sdk/peft.hpp>

namespace {

struct EmptySize : graft::Peft {
  static constexpr auto name = "empty_size";
  std::vector<graft::PeftParam> plan_site(const graft::Site&) override { return {{"scale", {0}}}; }
};

struct SameName : graft::Peft {
  static constexpr auto name = "same_name";
  std::vector<graft::PeftParam> plan_site(const graft::Site& site) override {
    return {{"scale", {site.in_features()}}, {"scale", {site.out_features()}}};
  }
};

struct ForgetsAlpha : graft::Peft {
  static constexpr auto name = "forgets_alpha";
  static graft::Schema params() { return graft::Schema().number("alpha", 16, ""); }
  explicit ForgetsAlpha(const graft::Params& params) : alpha_(params.number("alpha") * 2) {}
  std::vector<graft::PeftParam> plan_site(const graft::Site& site) override {
    return {{"scale", {site.out_features()}}};
  }
  graft::Json export_config(const graft::ModelValues&) override {
    graft::Json json = graft::Json::object();
    json.set("peft_type", "SCALE");
    json.set("alpha", alpha_);
    return json;
  }
  static graft::Json import_config(const graft::Json& config) {
    graft::Json params = graft::Json::object();
    params.set("alpha", config.at("alpha").as_number());
    return params;
  }
  double alpha_;
};

}  // namespace

GRAFT_PLUGIN(EmptySize, SameName, ForgetsAlpha);
