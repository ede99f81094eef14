// SPDX-License-Identifier: Apache-2.0
// RandLoRA (Albert et al. 2025, arXiv:2502.00987): ΔW = s · Σₙ Bₙ (Λₙ A Γₙ), as many random bases of rank r as give full rank, with
// trained diagonal Λₙ [r] and Γₙ [min(in, out)]. A [r, 1, d] and B [D, N, r] are frozen and the same for all layers, which use the
// first rows, bases and columns of them; A is on the smaller side. As in PEFT they are drawn from a key, and written once more for
// each layer. The product of full rank is the cost: it is made once in forward and once in backward, whatever the number of tokens.
#include <graft/sdk/peft.hpp>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "common/config.h"
#include "common/tensors.h"
#include "common/torch_random.h"
#include "common/weight_update.h"

namespace {

namespace ops = graft::ops;
using graft::DType;
using graft::Json;
using graft::Op;
using graft::Tensor;

std::int64_t bases(std::int64_t smaller, std::int64_t rank) {
  return (smaller + rank - 1) / rank;
}

Tensor over_deviation(const Tensor& x) {
  static const Op deviation("aten::std");
  return x / deviation({x, true});
}

// Elements −1 or 1 with probability 1 / (2 s) each, else 0.
Tensor ternary(const Tensor& uniform, double sparsity) {
  static const Op lt("aten::lt", "Scalar"), gt("aten::gt", "Scalar");
  const double share = 1.0 / (2.0 * sparsity);
  const Tensor high = ops::to(gt({uniform, 1.0 - share}), DType::kFloat32);
  return high - ops::to(lt({uniform, share}), DType::kFloat32);
}

// s · B A′ or its transpose, with A′[k n, j] = λ[k, n] A[k, j] γ[n, j]. Parameters: λ [r, n], γ [n, min], A, B. PEFT numbers the rows
// of A′ by (k, n) and the columns of B by (n, k).
class FullRankUpdate : public peft::WeightUpdate {
 public:
  explicit FullRankUpdate(double scale) : scale_(scale) {}

  [[nodiscard]] Tensor delta(const Tensor& weight, const peft::Tensors& params) const override {
    const Factors f(weight, params);
    const Tensor down =
        ops::reshape(ops::unsqueeze(f.lambda, 2) * f.a * f.gamma, {f.rank * f.count, f.smaller});
    static const Op scaled("aten::mul_", "Scalar");
    return scaled({f.is_tall ? ops::mm(f.b, down) : ops::mm(ops::t(down), ops::t(f.b)), scale_});
  }

  [[nodiscard]] peft::Tensors gradients(const Tensor& weight, const peft::Tensors& params,
                                        const Tensor& grad_delta) const override {
    const Factors f(weight, params);
    const Tensor tall = f.is_tall ? grad_delta : ops::t(grad_delta);  // [D, d]
    const Tensor down = ops::reshape(ops::mm(ops::t(f.b), tall), {f.rank, f.count, f.smaller});
    const Tensor common = down * f.a * scale_;
    const Tensor lambda = ops::sum(common * f.gamma, {2});
    return {lambda, ops::sum(common * ops::unsqueeze(f.lambda, 2), {0}), Tensor(), Tensor()};
  }

 private:
  struct Factors {
    Factors(const Tensor& weight, const peft::Tensors& params) : lambda(params[0]), gamma(params[1]) {
      const std::int64_t out = weight.size(0), in = weight.size(1), larger = std::max(in, out);
      is_tall = in <= out;
      smaller = std::min(in, out);
      rank = lambda.size(0);
      count = lambda.size(1);
      a = ops::narrow(params[2], 2, 0, smaller);
      b = ops::narrow(ops::narrow(params[3], 0, 0, larger), 1, 0, count);
      b = ops::reshape(b, {larger, count * rank});
    }
    Tensor lambda, gamma, a, b;  // a [r, 1, min], b [max, n r]
    std::int64_t smaller, rank, count;
    bool is_tall;  // out ≥ in
  };
  double scale_;
};

struct RandLora : graft::Peft {
  static constexpr auto name = "randlora";
  static constexpr auto summary =
      "trained scales of full-rank random updates that all layers share (RandLoRA)";
  static constexpr bool has_exclude_modules = false;

  static graft::Schema params() {
    return graft::Schema()
        .integer("r", 32, "rank of each random basis; fewer parameters are trained with a larger one")
        .minimum(1)
        .number("alpha", 640, "the update is scaled by alpha / r")
        .exclusive_minimum(0)
        .number("dropout", 0, "probability of zeroing an input of the update, in training")
        .minimum(0)
        .exclusive_maximum(1)
        .integer("projection_prng_key", 0, "seed of the bases")
        .boolean("save_projection", true, "write the bases; false: they are drawn again from the seed")
        .boolean("sparse", false, "bases of -1, 0 and 1, two thirds of them 0")
        .boolean("very_sparse", false, "likewise, with a share of non-zero elements of 1 / sqrt(d)");
  }

  explicit RandLora(const graft::Params& params)
      : rank_(params.integer("r")),
        alpha_(params.number("alpha")),
        dropout_(params.number("dropout")),
        key_(params.integer("projection_prng_key")),
        saves_projection_(params.boolean("save_projection")),
        is_sparse_(params.boolean("sparse")),
        is_very_sparse_(params.boolean("very_sparse")),
        update_(alpha_ / static_cast<double>(rank_)) {}

  std::vector<graft::PeftParam> plan_model(const std::vector<graft::Site>& sites) override {
    std::int64_t in = 0, out = 0;
    for (const graft::Site& site : sites) {
      in = std::max(in, site.in_features());
      out = std::max(out, site.out_features());
    }
    if (sites.empty()) return {};
    const std::int64_t smaller = std::min(in, out), larger = std::max(in, out);
    const graft::Init init = graft::Init::zeros();
    return {{"randlora_A", {rank_, 1, smaller}, init, false, saves_projection_},
            {"randlora_B", {larger, bases(smaller, rank_), rank_}, init, false, saves_projection_}};
  }

  std::vector<graft::PeftParam> plan_site(const graft::Site& site) override {
    const std::int64_t smaller = std::min(site.in_features(), site.out_features());
    const std::int64_t n = bases(smaller, rank_);
    return {{"randlora_lambda", {rank_, n}}, {"randlora_gamma", {n, smaller}}};
  }

  void initialize(const graft::ModelValues& model) override {
    static const Op fill("aten::fill_", "Scalar");
    if (model.size() == 0) return;
    draw_bases(model.shared(0), model.shared(1));
    for (std::size_t i = 0; i < model.size(); ++i) {
      const Tensor gamma = model[i].param(1);
      fill({gamma, 1.0 / static_cast<double>(std::max(gamma.size(0), gamma.size(1)))});
    }
  }

  Tensor linear(const graft::LinearCall& call) override {
    return peft::updated_linear(call, update_, dropout_, {call.shared(0), call.shared(1)});
  }

  graft::Merged merge(const graft::SiteValues& values) override {
    const peft::Tensors params = {values.param(0), values.param(1), values.shared(0), values.shared(1)};
    return {values.weight() + update_.delta(values.weight(), params), {}};
  }

  std::vector<std::pair<std::string, Tensor>> export_tensors(const graft::SiteValues& values) override {
    std::vector<std::pair<std::string, Tensor>> tensors = {{"randlora_lambda", values.param(0)},
                                                           {"randlora_gamma", values.param(1)}};
    if (saves_projection_) {
      tensors.emplace_back("randlora_A", values.shared(0));
      tensors.emplace_back("randlora_B", values.shared(1));
    }
    return tensors;
  }

  Json export_config(const graft::ModelValues&) override {
    Json config = Json::object({{"peft_type", "RANDLORA"},
                                {"r", rank_},
                                {"randlora_alpha", peft::number(alpha_)},
                                {"randlora_dropout", dropout_},
                                {"projection_prng_key", key_},
                                {"save_projection", saves_projection_},
                                {"sparse", is_sparse_},
                                {"very_sparse", is_very_sparse_},
                                {"init_weights", true},
                                {"bias", "none"}});
    peft::set_false(config, {"fan_in_fan_out"});
    return config;
  }

  static Json import_config(const Json& config) {
    graft::require_peft_type(config, "RANDLORA");
    graft::require_off(config, {"fan_in_fan_out"});
    peft::require_text(config, "bias", "none");
    return peft::read_fields(config, {{"r", "r"},
                                      {"randlora_alpha", "alpha"},
                                      {"randlora_dropout", "dropout"},
                                      {"projection_prng_key", "projection_prng_key"},
                                      {"save_projection", "save_projection"},
                                      {"sparse", "sparse"},
                                      {"very_sparse", "very_sparse"}});
  }

 private:
  // As PEFT does on a machine with bfloat16: A, then B basis by basis, drawn and divided in that dtype; sparse ones in float32.
  void draw_bases(const Tensor& a, const Tensor& b) const {
    peft::TorchGenerator generator(key_);
    const std::int64_t larger = b.size(0), n = b.size(1);
    if (is_sparse_ || is_very_sparse_) {
      const double sparsity = is_very_sparse_ ? std::sqrt(static_cast<double>(a.size(2))) : 3.0;
      peft::assign(a, over_deviation(ternary(generator.unit({rank_, 1, a.size(2)}), sparsity)));
      peft::assign(b, over_deviation(ternary(generator.unit({larger, n, rank_}), sparsity)));
      return;
    }
    const auto draw = [&](std::int64_t rows,
                          std::int64_t columns) {  // kaiming_uniform_(a = √5) of [rows, 1, columns]
      const double bound = 1.0 / std::sqrt(static_cast<double>(columns));
      return generator.uniform_bfloat16({rows, 1, columns}, bound);
    };
    peft::assign(a, over_deviation(draw(rank_, a.size(2))));
    std::vector<Tensor> parts;
    for (std::int64_t i = 0; i < n; ++i) parts.push_back(draw(larger, rank_));
    peft::assign(b, over_deviation(ops::cat(parts, 1)));
  }

  std::int64_t rank_;
  double alpha_, dropout_;
  std::int64_t key_;
  bool saves_projection_, is_sparse_, is_very_sparse_;
  FullRankUpdate update_;
};

}  // namespace

GRAFT_PLUGIN(RandLora);
