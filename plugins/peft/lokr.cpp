// SPDX-License-Identifier: Apache-2.0
// LoKr (Yeh et al. 2023, arXiv:2309.14859): ΔW = s · W₁ ⊗ W₂ with W₁ [l, m] and W₂ [k, n], l k = out and m n = in, each the product
// of two low-rank factors where these are smaller. ΔW is never made: with x as an m × n matrix, (W₁ ⊗ W₂) x = W₁ x W₂ᵀ.
#include <graft/sdk/peft.hpp>

#include <algorithm>
#include <cstdint>
#include <tuple>
#include <utility>
#include <vector>

#include "common/config.h"
#include "common/lycoris.h"
#include "common/tensors.h"

namespace {

namespace ops = graft::ops;
using graft::Init;
using graft::Json;
using graft::Tensor;

// Two factors of `dimension`, the smaller first: `factor` and the rest if it divides, else those whose sum is least among
// the first ones of at most `factor`; −1 sets no limit (peft/tuners/lokr/layer.py, factorization()).
std::pair<std::int64_t, std::int64_t> factorize(std::int64_t dimension, std::int64_t factor) {
  if (factor > 0 && dimension % factor == 0) return {factor, dimension / factor};
  const std::int64_t most = factor == -1 ? dimension : factor;
  std::int64_t first = 1, second = dimension;
  while (first < second) {
    std::int64_t next = first + 1;
    while (dimension % next != 0) ++next;
    if (next + dimension / next > dimension + 1 || next > most) break;
    first = next;
    second = dimension / next;
  }
  return std::minmax(first, second);
}

struct Lokr : graft::Peft {
  static constexpr auto name = "lokr";
  static constexpr auto summary = "Kronecker product of two small matrices as the update (LoKr)";
  static constexpr bool takes_rank_pattern = true, takes_alpha_pattern = true;

  static graft::Schema params() {
    return peft::LycorisSettings::schema({"default", "lycoris", "random"})
        .boolean("decompose_both", false, "low-rank factors for the first matrix too, where they are smaller")
        .integer("decompose_factor", -1, "size of the first matrix in each dimension; -1: near the root")
        .minimum(-1)
        .boolean("rank_dropout_scale", false, "divide what rank_dropout keeps by its share");
  }

  explicit Lokr(const graft::Params& params)
      : settings_(params),
        decomposes_both_(params.boolean("decompose_both")),
        factor_(params.integer("decompose_factor")),
        rescales_(params.boolean("rank_dropout_scale")) {
    if (factor_ == 0)
      throw graft::Error(GRAFT_E_INVALID_ARGUMENT, "decompose_factor is 0, expected -1 or a positive number");
  }

  std::vector<graft::PeftParam> plan_site(const graft::Site& site) override {
    const Sizes sizes = sizes_of(site);
    std::vector<graft::PeftParam> plan;
    if (sizes.splits_first) {
      plan.push_back({"lokr_w1_a", {sizes.l, sizes.r}, starts_first(peft::kaiming(sizes.r))});
      plan.push_back({"lokr_w1_b", {sizes.r, sizes.m}, peft::kaiming(sizes.m)});
    } else {
      plan.push_back({"lokr_w1", {sizes.l, sizes.m}, starts_first(peft::kaiming(sizes.m))});
    }
    const Init last = settings_.init == "lycoris" ? Init::zeros() : peft::kaiming(sizes.n);
    if (sizes.splits_second) {
      plan.push_back({"lokr_w2_a", {sizes.k, sizes.r}, peft::kaiming(sizes.r)});
      plan.push_back({"lokr_w2_b", {sizes.r, sizes.n}, last});
    } else {
      plan.push_back({"lokr_w2", {sizes.k, sizes.n}, last});
    }
    return plan;
  }

  Tensor linear(const graft::LinearCall& call) override {
    const Sizes sizes = sizes_of(call.site());
    const std::int64_t rows = call.x().size(0), out = call.site().out_features();
    const double scale = settings_.scale(call.site());
    const Tensor kept = settings_.kept(call, rescales_);
    const Tensor base = call.base(call.x());
    Tensor z = ops::reshape(peft::in_dtype(call.x(), call.param(0).dtype()), {rows * sizes.m, sizes.n});
    const std::size_t second = sizes.splits_first ? 2 : 1;
    if (sizes.splits_second && sizes.r * (sizes.k + sizes.n) < sizes.k * sizes.n) {
      z = ops::linear(ops::linear(z, call.param(second + 1)), call.param(second));
    } else {
      z = ops::linear(z, matrix(call, second, sizes.splits_second));
    }
    const Tensor update =
        ops::matmul(matrix(call, 0, sizes.splits_first), ops::reshape(z, {rows, sizes.m, sizes.k}));
    if (kept) return peft::add_update(base, ops::reshape(update, {rows, out}), scale, kept);
    const Tensor y = peft::add_update(ops::reshape(base, {rows, sizes.l, sizes.k}), update, scale, {});
    return ops::reshape(y, {rows, out});
  }

  graft::Merged merge(const graft::SiteValues& values) override {
    static const graft::Op kron("aten::kron");
    const Sizes sizes = sizes_of(values.site());
    const Tensor first = matrix(values, 0, sizes.splits_first);
    const Tensor second = matrix(values, sizes.splits_first ? 2 : 1, sizes.splits_second);
    return {ops::add_scaled(values.weight(), kron({first, second}), settings_.scale(values.site())), {}};
  }

  Json export_config(const graft::ModelValues&) override {
    Json config = settings_.to_peft("LOKR");
    config.set("decompose_both", decomposes_both_);
    config.set("decompose_factor", factor_);
    config.set("rank_dropout_scale", rescales_);
    return config;
  }

  static Json import_config(const Json& config) {
    Json params = peft::LycorisSettings::from_peft(config, "LOKR");
    const Json own = peft::read_fields(config, {{"decompose_both", "decompose_both"},
                                                {"decompose_factor", "decompose_factor"},
                                                {"rank_dropout_scale", "rank_dropout_scale"}});
    for (const auto& [key, value] : own.members()) params.set(key, value);
    return params;
  }

 private:
  struct Sizes {
    std::int64_t l, m, k, n, r;  // W₁ [l, m], W₂ [k, n]
    bool splits_first, splits_second;
  };

  [[nodiscard]] Sizes sizes_of(const graft::Site& site) const {
    Sizes sizes{};
    std::tie(sizes.l, sizes.k) = factorize(site.out_features(), factor_);
    std::tie(sizes.m, sizes.n) = factorize(site.in_features(), factor_);
    sizes.r = site.rank_or(settings_.rank);
    sizes.splits_first = decomposes_both_ && 2 * sizes.r < std::max(sizes.l, sizes.m);
    sizes.splits_second = 2 * sizes.r < std::max(sizes.k, sizes.n);
    return sizes;
  }

  [[nodiscard]] Init starts_first(const Init& random) const {
    return settings_.init == "default" ? Init::zeros() : random;
  }

  template <typename Values>
  static Tensor matrix(const Values& values, std::size_t place, bool is_split) {
    return is_split ? ops::matmul(values.param(place), values.param(place + 1)) : values.param(place);
  }

  peft::LycorisSettings settings_;
  bool decomposes_both_;
  std::int64_t factor_;
  bool rescales_;
};

}  // namespace

GRAFT_PLUGIN(Lokr);
