// SPDX-License-Identifier: Apache-2.0
// HiRA (Huang et al. 2025, https://openreview.net/forum?id=TwJrTz9cRS): y = x Wᵀ + b + drop(x) (W ⊙ B A)ᵀ with A [r, in] and
// B [out, r]: an update of high rank from factors of low rank. Names and initialisation are PEFT's; its files have a rank_pattern, which
// PEFT 0.21 ignores (hira/layer.py, dispatch_default), and so does this.
#include <graft/sdk/peft.hpp>

#include <cmath>
#include <string>
#include <vector>

#include "common/config.h"
#include "common/weight_update.h"

namespace {

namespace ops = graft::ops;
using graft::Json;
using graft::Tensor;

constexpr std::size_t kA = 0, kB = 1;  // places in the plan of a site

struct Hadamard : peft::WeightUpdate {
  [[nodiscard]] Tensor delta(const Tensor& weight, const peft::Tensors& params) const override {
    static const graft::Op multiply("aten::mul_", "Tensor");
    return multiply({ops::mm(params[kB], params[kA]), weight});
  }
  [[nodiscard]] peft::Tensors gradients(const Tensor& weight, const peft::Tensors& params,
                                        const Tensor& grad_delta) const override {
    const Tensor grad = grad_delta * weight;  // of B A
    return {ops::mm(ops::t(params[kB]), grad), ops::mm(grad, ops::t(params[kA]))};
  }
};

struct Hira : graft::Peft {
  static constexpr auto name = "hira";
  static constexpr auto summary = "the weight times a low-rank matrix, element by element (HiRA)";

  static graft::Schema params() {
    return graft::Schema()
        .integer("r", 32, "rank of the factor")
        .minimum(1)
        .number("dropout", 0, "probability of zeroing an input of the update, in training")
        .minimum(0)
        .exclusive_maximum(1)
        .choice("init", {"kaiming", "gaussian"}, "kaiming", "how A is drawn; B starts at 0");
  }

  explicit Hira(const graft::Params& params)
      : rank_(params.integer("r")),
        dropout_(params.number("dropout")),
        is_gaussian_(params.string("init") == "gaussian") {}

  std::vector<graft::PeftParam> plan_site(const graft::Site& site) override {
    // torch's kaiming_uniform_(a = √5) of an [r, in] matrix.
    const double bound = 1.0 / std::sqrt(static_cast<double>(site.in_features()));
    return {
        {"hira_A",
         {rank_, site.in_features()},
         is_gaussian_ ? graft::Init::normal(1.0 / static_cast<double>(rank_)) : graft::Init::uniform(bound)},
        {"hira_B", {site.out_features(), rank_}}};
  }

  Tensor linear(const graft::LinearCall& call) override {
    return peft::updated_linear(call, update_, dropout_);
  }

  graft::Merged merge(const graft::SiteValues& values) override {
    return {values.weight() + update_.delta(values.weight(), {values.param(kA), values.param(kB)}), {}};
  }

  Json export_config(const graft::ModelValues&) override {
    return Json::object({{"peft_type", "HIRA"},
                         {"r", rank_},
                         {"hira_dropout", dropout_},
                         {"init_weights", is_gaussian_ ? Json("gaussian") : Json(true)},
                         {"rank_pattern", Json::object()},
                         {"fan_in_fan_out", false}});
  }

  static Json import_config(const Json& config) {
    graft::require_peft_type(config, "HIRA");
    graft::require_off(config, {"fan_in_fan_out"});
    Json params = peft::read_fields(config, {{"r", "r"}, {"hira_dropout", "dropout"}});
    const Json* init = config.find("init_weights");
    if (init != nullptr && init->is_string()) params.set("init", *init);
    return params;
  }

 private:
  std::int64_t rank_;
  double dropout_;
  bool is_gaussian_;
  Hadamard update_;
};

}  // namespace

GRAFT_PLUGIN(Hira);
