// SPDX-License-Identifier: Apache-2.0
// Strategies for the tests: `scale`, a method without a counterpart in PEFT, and `faulty`, which breaks one rule of the ABI at a
// time.
#include <graft/sdk/peft.hpp>

namespace {

namespace ops = graft::ops;

// (IA)³ on the output (Liu et al. 2022, arXiv:2205.05638) with a frozen companion: y = l ⊙ (x Wᵀ + b) + 0 · frozen.
struct Scale : graft::Peft {
  static constexpr auto name = "scale";
  static constexpr auto summary = "one trained factor per output feature";

  std::vector<graft::PeftParam> plan_site(const graft::Site& site) override {
    return {{"scale", {site.out_features()}, graft::Init::ones()},
            {"frozen", {2}, graft::Init::normal(3.0), /*is_trained=*/false}};
  }
  graft::Tensor linear(const graft::LinearCall& call) override { return call.base(call.x()) * call.param(0); }
};

struct Faulty : graft::Peft {
  static constexpr auto name = "faulty";
  static constexpr auto summary = "breaks one rule";
  static graft::Schema params() {
    return graft::Schema().choice(
        "fault",
        {"none", "shape", "dtype", "nothing", "throw", "grad_mode", "name", "size", "both", "export"}, "none",
        "what it does wrong");
  }
  explicit Faulty(const graft::Params& params) : fault_(params.string("fault")) {}

  std::vector<graft::PeftParam> plan_site(const graft::Site& site) override {
    return {
        {fault_ == "name" ? "" : "scale", {fault_ == "size" ? 0 : site.out_features()}, graft::Init::ones()}};
  }
  bool trains(const graft::BaseParam&) override { return fault_ == "both"; }
  graft::Tensor linear(const graft::LinearCall& call) override {
    if (fault_ == "nothing") return {};
    if (fault_ == "shape") return call.x();
    if (fault_ == "throw") throw graft::Error("no reason at all");
    if (fault_ == "grad_mode") {
      const auto* service = graft::host().find_service<graft_autograd>(GRAFT_SERVICE_AUTOGRAD);
      service->set_grad_mode(service, 0);
    }
    const graft::Tensor y = call.base(call.x());
    return fault_ == "dtype" ? ops::to(y, graft::DType::kFloat64) : y;
  }
  graft::Json export_config(const graft::ModelValues&) override {
    return fault_ == "export" ? graft::Json("text") : graft::Json::object();
  }

 private:
  std::string fault_;
};

}  // namespace

GRAFT_PLUGIN(Scale, Faulty);
