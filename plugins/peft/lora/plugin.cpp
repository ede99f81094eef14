// SPDX-License-Identifier: Apache-2.0
// LoRA (Hu et al. 2021, arXiv:2106.09685): y = x Wᵀ + b + s · drop(x) Aᵀ Bᵀ, with A [r, in], B [out, r] and s = alpha / r, or
// alpha / √r for rank-stabilised LoRA (Kalajdzievski 2023, arXiv:2312.03732); and what is a variation of it: DoRA (Liu et al.
// 2024, arXiv:2402.09353), LoRA+ (Hayou et al. 2024, arXiv:2402.12354), LoRA-FA (Zhang et al. 2023, arXiv:2308.03303), PiSSA and
// OLoRA. Names, initialisation and the float32 arithmetic beside a bfloat16 base are PEFT's, and so is bfloat16 under autocast,
// which casts A and B where they are used. EVA: eva.h.
//
// PEFT subtracts s B₀A₀ from W where A and B start as a part of it. Here W stays as it is and −s B₀A₀ is one more low-rank
// term, with frozen A₀ and B₀: the base model remains exact, whatever its dtype, and may be shared.
#include <graft/sdk/peft.hpp>

#include <algorithm>
#include <cmath>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/tensors.h"
#include "eva.h"
#include "initialization.h"
#include "settings.h"

namespace {

namespace ops = graft::ops;
using graft::Tensor;
using lora::Start;
using peft::add_product;
using peft::assign;
using peft::in_dtype;

Tensor row_sums(const Tensor& x) {
  return ops::sum(x, {1});
}

struct Lora : graft::Peft {
  static constexpr auto name = "lora";
  static constexpr auto summary =
      "low-rank update of linear layers (LoRA, rsLoRA, DoRA, LoRA+, LoRA-FA, PiSSA, OLoRA, EVA)";
  static constexpr bool takes_rank_pattern = true, takes_alpha_pattern = true;

  static graft::Schema params() { return lora::Settings::schema(); }
  explicit Lora(const graft::Params& params) : settings_(params) {}

  bool calibrate(const std::vector<graft::Site>& sites) override;
  void observe(const graft::Observation& seen) override { eva_->observe(seen); }
  bool allot(std::vector<graft::Allotment>& sites) override;
  std::vector<graft::PeftParam> plan_site(const graft::Site& site) override;
  bool trains(const graft::BaseParam& param) override;
  void initialize(const graft::ModelValues& model) override;
  Tensor linear(const graft::LinearCall& call) override;
  graft::Merged merge(const graft::SiteValues& values) override;
  void before_update(const graft::ModelValues& model) override;

  graft::Json export_config(const graft::ModelValues& model) override { return settings_.to_peft(model); }
  std::vector<std::pair<std::string, Tensor>> export_tensors(const graft::SiteValues& values) override;
  static graft::Json import_config(const graft::Json& config) { return lora::Settings::from_peft(config); }

 private:
  // Places in the plan of a site.
  static constexpr std::size_t kA = 0, kB = 1;
  [[nodiscard]] std::size_t bias_place() const { return 2; }
  [[nodiscard]] std::size_t dora_place() const { return settings_.lora_bias ? 3 : 2; }  // magnitude, ‖W‖²
  [[nodiscard]] std::size_t split_place() const {
    return dora_place() + (settings_.use_dora ? 2 : 0);
  }  // A₀, B₀

  // A and Bᵀ with the frozen part, if there is one.
  struct Factors {
    Tensor a;  // [A; A₀], [r, in]
    Tensor
        up;  // [Bᵀ; −B₀ᵀ], [r, out]: contiguous, since with a transposed view autograd forms the gradient of B by a product
             // that takes ten times as long (2048 × 1200 × 8 with MKL: 5.0 ms instead of 0.5)
  };
  template <typename Values>
  [[nodiscard]] Factors factors(const Values& values) const {
    if (!settings_.splits_weight()) return {values.param(kA), peft::transposed(values.param(kB))};
    return {ops::cat({values.param(kA), values.param(split_place())}, 0),
            ops::cat({ops::t(values.param(kB)), ops::neg(ops::t(values.param(split_place() + 1)))}, 0)};
  }

  [[nodiscard]] Tensor update(const graft::LinearCall& call, const Tensor& base, const Tensor& x,
                              double scale) const;
  [[nodiscard]] Tensor with_magnitude(const graft::LinearCall& call, const Tensor& base,
                                      const Tensor& updated, const Tensor& dropped, double scale) const;

  lora::Settings settings_;
  std::optional<lora::Eva> eva_;  // until initialize()
  std::vector<std::pair<std::int64_t, double>>
      wanted_;  // rank and alpha of the sites that it looks at, as the user said
};

bool Lora::calibrate(const std::vector<graft::Site>& sites) {
  if (settings_.start != Start::kEva) return false;
  std::vector<std::int64_t> ranks;
  for (const graft::Site& site : sites) {
    ranks.push_back(site.rank_or(settings_.rank));
    wanted_.emplace_back(ranks.back(), site.alpha_or(settings_.alpha));
  }
  eva_.emplace(settings_.eva, sites, std::move(ranks));
  return true;
}

bool Lora::allot(std::vector<graft::Allotment>& sites) {
  const bool is_done = eva_->finish_pass();
  for (std::size_t i = 0; i < sites.size(); ++i) {
    const auto [rank, alpha] = wanted_[i];
    const std::int64_t given = eva_->ranks()[i];
    sites[i].is_dropped = given == 0;
    if (given == rank) continue;
    sites[i].rank = given;
    if (settings_.eva.adjusts_scaling)
      sites[i].alpha = alpha * static_cast<double>(given) / static_cast<double>(rank);
  }
  return is_done;
}

std::vector<graft::PeftParam> Lora::plan_site(const graft::Site& site) {
  const std::int64_t in = site.in_features(), out = site.out_features(), rank = site.rank_or(settings_.rank);
  if (settings_.splits_weight() && rank > std::min(in, out)) {
    throw graft::Error(GRAFT_E_INVALID_ARGUMENT,
                       "r = " + std::to_string(rank) + " is more than the rank of the weight " +
                           std::to_string(out) + " × " + std::to_string(in) + ", of which init takes a part");
  }
  // torch's kaiming_uniform_(a = √5) of an [r, in] matrix; the computed starts use draws from N(0, 1) where they need any.
  const double bound = 1.0 / std::sqrt(static_cast<double>(in));
  const bool draws = settings_.start == Start::kOrthogonal || settings_.start == Start::kPissa;
  graft::PeftParam a{
      "lora_A.weight", {rank, in}, draws ? graft::Init::normal(1.0) : graft::Init::uniform(bound)};
  if (settings_.start == Start::kGaussian) a.init = graft::Init::normal(1.0 / static_cast<double>(rank));
  a.is_trained = !settings_.freeze_a;
  graft::PeftParam b{"lora_B.weight", {out, rank}};
  if (settings_.start == Start::kOrthogonal) b.init = graft::Init::normal(1.0);
  b.learning_rate_scale = settings_.lr_ratio;
  std::vector<graft::PeftParam> plan = {a, b};
  if (settings_.lora_bias) {
    plan.push_back({"lora_B.bias", {out}});
    plan.back().learning_rate_scale = settings_.lr_ratio;
  }
  if (settings_.use_dora) {
    plan.push_back({"lora_magnitude_vector", {out}});
    plan.back().learning_rate_scale = settings_.lr_ratio;
    plan.push_back({"base_norm_squared", {out}, graft::Init::zeros(), false, false});
  }
  if (settings_.splits_weight()) {
    plan.push_back({"lora_A_start", {rank, in}, graft::Init::zeros(), false, false});
    plan.push_back({"lora_B_start", {out, rank}, graft::Init::zeros(), false, false});
  }
  return plan;
}

bool Lora::trains(const graft::BaseParam& param) {
  constexpr std::string_view kBias = ".bias";
  const std::string_view path = param.name();
  if (path.size() < kBias.size() || path.substr(path.size() - kBias.size()) != kBias) return false;
  return settings_.bias == "all" || (settings_.bias == "lora_only" && param.is_selected());
}

void Lora::initialize(const graft::ModelValues& model) {
  for (std::size_t i = 0; i < model.size(); ++i) {
    const graft::SiteValues values = model[i];
    const Tensor a = values.param(kA), b = values.param(kB);
    lora::Factors start;
    if (settings_.start == Start::kOrthogonal) start = lora::orthogonal(a, b);
    if (settings_.start == Start::kOlora) start = lora::olora(values.weight(), a.size(0));
    if (settings_.start == Start::kPissa) {
      start = lora::pissa(values.weight(), a.size(0), settings_.scale(values.site()),
                          settings_.pissa_iterations, a);
    }
    if (start.a) {
      assign(a, start.a);
      assign(b, start.b);
    }
    if (eva_ && eva_->n_passes() > 0) {
      if (const auto site = eva_->find(values.site().name())) assign(a, eva_->start(*site));
    }
    if (settings_.splits_weight()) {
      assign(values.param(split_place()), a);
      assign(values.param(split_place() + 1), b);
    }
    if (!settings_.use_dora) continue;
    const Tensor weight = ops::to(values.weight(), graft::DType::kFloat32);
    const Tensor squared = row_sums(weight * weight);
    assign(values.param(dora_place() + 1), squared);
    // ‖W + s B A‖ of a start with B A = 0, and of one that took its part from W, is ‖W‖.
    assign(values.param(dora_place()), ops::sqrt(squared));
  }
  eva_.reset();
}

Tensor Lora::linear(const graft::LinearCall& call) {
  const double scale = settings_.scale(call.site());
  const bool drops = call.is_training() && settings_.dropout > 0.0;
  const Tensor x = peft::adapter_input(call, call.param(kA).dtype(), settings_.dropout);
  const Tensor base = call.base(call.x());  // [T, out]
  const Tensor updated = update(call, base, x, scale);
  const Tensor y =
      settings_.use_dora ? with_magnitude(call, base, updated, drops ? x : Tensor(), scale) : updated;
  return in_dtype(y, base.dtype());
}

// base + s · x Aᵀ Bᵀ and the terms beside it, for the input x after dropout.
Tensor Lora::update(const graft::LinearCall& call, const Tensor& base, const Tensor& x, double scale) const {
  const bool drops = call.is_training() && settings_.dropout > 0.0;
  Tensor y;
  if (settings_.splits_weight() && drops) {  // the frozen part stands for the base, which sees all of x
    const Tensor all = in_dtype(call.x(), x.dtype());
    const Tensor frozen = ops::linear(all, call.param(split_place()));
    y = add_product(base, frozen, ops::t(call.param(split_place() + 1)), -scale);
    y = add_product(y, ops::linear(x, call.param(kA)), peft::transposed(call.param(kB)), scale);
  } else {
    const Factors ab = factors(call);
    y = add_product(base, ops::linear(x, ab.a), ab.up, scale);
  }
  if (settings_.lora_bias) y = ops::add_scaled(y, in_dtype(call.param(bias_place()), y.dtype()), scale);
  return y;
}

// DoRA: the rows of W' = W + s B A divided by their norm, which counts as a constant (section 4.3 of the paper), times the trained
// magnitudes m. Without dropout y = b + m / ‖W'‖ · (updated − b); with it PEFT applies m / ‖W'‖ − 1 to the product of W with the
// dropped input. ‖W'‖² = ‖W‖² + 2 s Σ (W Aᵀ) ⊙ B + s² Σ (B A Aᵀ) ⊙ B needs no matrix of the size of W.
Tensor Lora::with_magnitude(const graft::LinearCall& call, const Tensor& base, const Tensor& updated,
                            const Tensor& dropped, double scale) const {
  Tensor norm;
  {
    const graft::GradMode no_grad(false);
    const Factors ab = factors(call);
    const Tensor b = ops::t(ab.up);  // [out, r]
    const Tensor weight = call.weight();
    const Tensor cross = ops::linear(weight, in_dtype(ab.a, weight.dtype()));  // [out, r]
    const Tensor gram = ops::matmul(b, ops::matmul(ab.a, ops::t(ab.a)));
    const Tensor inner = in_dtype(cross, b.dtype()) * (2.0 * scale) + gram * (scale * scale);
    norm = ops::sqrt(call.param(dora_place() + 1) + row_sums(inner * b));
  }
  const Tensor factor = in_dtype(call.param(dora_place()) / norm, updated.dtype());  // [out]
  const Tensor bias = call.bias();
  if (!dropped) {
    if (!bias) return updated * factor;
    const Tensor b = in_dtype(bias, updated.dtype());
    return (updated - b) * factor + b;
  }
  const Tensor added = updated - in_dtype(base, updated.dtype());
  Tensor product = in_dtype(call.base(in_dtype(dropped, call.x().dtype())), updated.dtype());
  if (bias) product = product - in_dtype(bias, updated.dtype());
  return in_dtype(base, updated.dtype()) + product * (factor - 1.0) + added * factor;
}

graft::Merged Lora::merge(const graft::SiteValues& values) {
  const double scale = settings_.scale(values.site());
  const Factors ab = factors(values);
  graft::Merged merged;
  merged.weight = add_product(values.weight(), ops::t(ab.up), ab.a, scale);
  if (settings_.use_dora) {
    const Tensor norm = ops::sqrt(row_sums(merged.weight * merged.weight));
    merged.weight = merged.weight * ops::unsqueeze(values.param(dora_place()) / norm, 1);
  }
  if (settings_.lora_bias) {
    const Tensor bias = values.bias();
    const Tensor own = values.param(bias_place()) * scale;
    merged.bias = bias ? bias + own : own;
  }
  return merged;
}

// LoRA-FA: the gradient of B whose product with A is nearest to the gradient of W, g ← g (A Aᵀ + δ)⁺ / s²
// (peft/optimizers/lorafa.py has the same δ).
void Lora::before_update(const graft::ModelValues& model) {
  if (!settings_.freeze_a) return;
  static const graft::Op eye("aten::eye"), pinv("aten::linalg_pinv", "atol_rtol_float");
  constexpr double kDelta = 1e-8;
  for (std::size_t i = 0; i < model.size(); ++i) {
    const graft::SiteValues values = model[i];
    const Tensor grad = values.grad(kB);
    if (!grad) continue;
    const double scale = settings_.scale(values.site());
    const Tensor a = values.param(kA);
    const Tensor ridge = ops::to_device_of(eye({a.size(0)}), a) * kDelta;
    const Tensor inverse = pinv({ops::matmul(a, ops::t(a)) + ridge});
    assign(grad, ops::matmul(grad, inverse) / (scale * scale));
  }
}

std::vector<std::pair<std::string, Tensor>> Lora::export_tensors(const graft::SiteValues& values) {
  const Factors ab = factors(values);
  std::vector<std::pair<std::string, Tensor>> tensors = {{"lora_A.weight", ab.a},
                                                         {"lora_B.weight", ops::t(ab.up)}};
  if (settings_.lora_bias) tensors.emplace_back("lora_B.bias", values.param(bias_place()));
  if (settings_.use_dora) tensors.emplace_back("lora_magnitude_vector", values.param(dora_place()));
  return tensors;
}

}  // namespace

GRAFT_PLUGIN(Lora);
