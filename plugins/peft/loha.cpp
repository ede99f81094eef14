// SPDX-License-Identifier: Apache-2.0
// LoHa (Hyeon-Woo et al. 2022, FedPara, arXiv:2108.06098): ΔW = s · (A₁B₁) ⊙ (A₂B₂) with Aᵢ [out, r] and Bᵢ [r, in]. The
// elementwise product of two matrices of rank r has rank r²: its factors are the products of all pairs of columns of A₁ and A₂, and
// of rows of B₁ and B₂. While these are the smaller ones, ΔW itself is never made.
#include <graft/sdk/peft.hpp>

#include <string>
#include <vector>

#include "common/lycoris.h"
#include "common/tensors.h"

namespace {

namespace ops = graft::ops;
using graft::Json;
using graft::Tensor;

struct Loha : graft::Peft {
  static constexpr auto name = "loha";
  static constexpr auto summary = "elementwise product of two low-rank updates (LoHa)";
  static constexpr bool takes_rank_pattern = true, takes_alpha_pattern = true;

  static graft::Schema params() { return peft::LycorisSettings::schema({"default", "random"}); }
  explicit Loha(const graft::Params& params) : settings_(params) {}

  std::vector<graft::PeftParam> plan_site(const graft::Site& site) override {
    const std::int64_t in = site.in_features(), out = site.out_features(), r = site.rank_or(settings_.rank);
    const graft::Init last = settings_.init == "random" ? peft::kaiming(in) : graft::Init::zeros();
    return {{"hada_w1_a", {out, r}, peft::kaiming(r)},
            {"hada_w1_b", {r, in}, peft::kaiming(in)},
            {"hada_w2_a", {out, r}, peft::kaiming(r)},
            {"hada_w2_b", {r, in}, last}};
  }

  Tensor linear(const graft::LinearCall& call) override {
    const Tensor a1 = call.param(0), b1 = call.param(1), a2 = call.param(2), b2 = call.param(3);
    const std::int64_t in = call.site().in_features(), out = call.site().out_features(), r = b1.size(0);
    const Tensor x = peft::in_dtype(call.x(), a1.dtype());
    const double scale = settings_.scale(call.site());
    const Tensor kept = settings_.kept(call, /*rescales=*/true);
    if (r * r * (in + out) >= in * out) {
      const Tensor delta = ops::matmul(a1, b1) * ops::matmul(a2, b2);
      return peft::add_update(call.base(call.x()), ops::linear(x, delta), scale, kept);
    }
    const Tensor down = ops::reshape(ops::unsqueeze(b1, 1) * ops::unsqueeze(b2, 0), {r * r, in});
    const Tensor up = ops::reshape(ops::unsqueeze(a1, 2) * ops::unsqueeze(a2, 1), {out, r * r});
    const Tensor z = ops::linear(x, down), base = call.base(call.x());
    if (kept) return peft::add_update(base, ops::linear(z, up), scale, kept);
    return peft::in_dtype(peft::add_product(base, z, ops::t(up), scale), base.dtype());
  }

  graft::Merged merge(const graft::SiteValues& values) override {
    static const graft::Op addcmul("aten::addcmul");
    const Tensor first = ops::matmul(values.param(0), values.param(1));
    const Tensor second = ops::matmul(values.param(2), values.param(3));
    return {addcmul({values.weight(), first, second, settings_.scale(values.site())}), {}};
  }

  Json export_config(const graft::ModelValues&) override { return settings_.to_peft("LOHA"); }
  static Json import_config(const Json& config) { return peft::LycorisSettings::from_peft(config, "LOHA"); }

 private:
  peft::LycorisSettings settings_;
};

}  // namespace

GRAFT_PLUGIN(Loha);
