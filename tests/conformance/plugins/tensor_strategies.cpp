// SPDX-License-Identifier: Apache-2.0
// PEFT strategies whose tables are sound but whose tensors are not. Only a host with tensors finds out.
#include <graft/sdk/peft.hpp>

namespace {

struct WrongMerge : graft::Peft {
  static constexpr auto name = "wrong_merge";
  std::vector<graft::PeftParam> plan_site(const graft::Site& site) override {
    return {{"scale", {site.out_features()}, graft::Init::ones()}};
  }
  graft::Tensor linear(const graft::LinearCall& call) override { return call.base(call.x()) * call.param(0); }
  graft::Merged merge(const graft::SiteValues& values) override { return {values.weight(), {}}; }
};

struct StartsElsewhere : graft::Peft {
  static constexpr auto name = "starts_elsewhere";
  std::vector<graft::PeftParam> plan_site(const graft::Site& site) override {
    return {{"scale", {site.out_features()}, graft::Init::zeros()}};
  }
  graft::Tensor linear(const graft::LinearCall& call) override { return call.base(call.x()) * call.param(0); }
};

struct AllotsNonsense : graft::Peft {
  static constexpr auto name = "allots_nonsense";
  bool calibrate(const std::vector<graft::Site>&) override { return true; }
  void observe(const graft::Observation& seen) override { n_seen_ += seen.x().size(0); }
  bool allot(std::vector<graft::Allotment>& sites) override {
    sites[0].rank = -n_seen_;
    return false;
  }
  std::vector<graft::PeftParam> plan_site(const graft::Site& site) override {
    return {{"scale", {site.out_features()}, graft::Init::ones()}};
  }
  graft::Tensor linear(const graft::LinearCall& call) override { return call.base(call.x()) * call.param(0); }

 private:
  std::int64_t n_seen_ = 0;
};

}  // namespace

GRAFT_PLUGIN(WrongMerge, StartsElsewhere, AllotsNonsense);
