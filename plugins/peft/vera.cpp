// SPDX-License-Identifier: Apache-2.0
// VeRA (Kopiczko et al. 2023, arXiv:2310.11454): y = x Wᵀ + b + λ_b ⊙ (B (λ_d ⊙ (A drop(x)))), where A and B are random, frozen
// and the same for all layers: of one pair of the largest size needed, a layer uses the first rows and columns. Only the vectors λ_d
// [r] and λ_b [out] are trained. As in PEFT, A and B are drawn from a key, so that a file may leave them out.
#include <graft/sdk/peft.hpp>

#include <algorithm>
#include <vector>

#include "common/config.h"
#include "common/tensors.h"
#include "common/torch_random.h"

namespace {

namespace ops = graft::ops;
using graft::Json;
using graft::Tensor;

struct Vera : graft::Peft {
  static constexpr auto name = "vera";
  static constexpr auto summary = "trained scales of a random low-rank update that all layers share (VeRA)";
  static constexpr bool has_exclude_modules = false;

  static graft::Schema params() {
    return graft::Schema()
        .integer("r", 256, "rank of the shared matrices")
        .minimum(1)
        .number("d_initial", 0.1, "start of the scales inside; those outside start at 0")
        .number("dropout", 0, "probability of zeroing an input of the update, in training")
        .minimum(0)
        .exclusive_maximum(1)
        .integer("projection_prng_key", 0, "seed of the shared matrices")
        .boolean("save_projection", true,
                 "write the shared matrices; false: they are drawn again from the seed");
  }

  explicit Vera(const graft::Params& params)
      : rank_(params.integer("r")),
        d_initial_(params.number("d_initial")),
        dropout_(params.number("dropout")),
        key_(params.integer("projection_prng_key")),
        saves_projection_(params.boolean("save_projection")) {}

  std::vector<graft::PeftParam> plan_model(const std::vector<graft::Site>& sites) override {
    std::int64_t in = 0, out = 0;
    for (const graft::Site& site : sites) {
      in = std::max(in, site.in_features());
      out = std::max(out, site.out_features());
    }
    if (sites.empty()) return {};
    return {{"vera_A", {rank_, in}, graft::Init::zeros(), false, saves_projection_},
            {"vera_B", {out, rank_}, graft::Init::zeros(), false, saves_projection_}};
  }

  std::vector<graft::PeftParam> plan_site(const graft::Site& site) override {
    return {{"vera_lambda_b", {site.out_features()}}, {"vera_lambda_d", {rank_}}};
  }

  void initialize(const graft::ModelValues& model) override {
    static const graft::Op fill("aten::fill_", "Scalar");
    if (model.size() == 0) return;
    peft::TorchGenerator generator(key_);
    for (const std::size_t i : {0, 1}) {  // one generator, A before B
      const Tensor shared = model.shared(i);
      peft::assign(shared, peft::kaiming_uniform(generator, shared.size(0), shared.size(1)));
    }
    for (std::size_t i = 0; i < model.size(); ++i) fill({model[i].param(kScaleD), d_initial_});
  }

  Tensor linear(const graft::LinearCall& call) override {
    const Tensor scale_b = call.param(kScaleB), scale_d = call.param(kScaleD);
    const Tensor a = ops::narrow(call.shared(0), 1, 0, call.site().in_features());
    const Tensor b = ops::narrow(call.shared(1), 0, 0, call.site().out_features());
    const Tensor x = peft::adapter_input(call, scale_d.dtype(), dropout_);
    const Tensor update = ops::linear(ops::linear(x, a) * scale_d, b);
    const Tensor base = call.base(call.x());
    return peft::in_dtype(peft::add_elementwise(base, update, scale_b), base.dtype());
  }

  graft::Merged merge(const graft::SiteValues& values) override {
    const Tensor a = ops::narrow(values.shared(0), 1, 0, values.site().in_features());
    const Tensor b = ops::narrow(values.shared(1), 0, 0, values.site().out_features());
    const Tensor scaled = ops::unsqueeze(values.param(kScaleB), 1) * b;
    return {peft::add_product(values.weight(), scaled * values.param(kScaleD), a), {}};
  }

  Json export_config(const graft::ModelValues&) override {
    Json config = Json::object({{"peft_type", "VERA"},
                                {"r", rank_},
                                {"d_initial", d_initial_},
                                {"vera_dropout", dropout_},
                                {"projection_prng_key", key_},
                                {"save_projection", saves_projection_},
                                {"init_weights", true},
                                {"bias", "none"}});
    peft::set_false(config, {"fan_in_fan_out"});
    return config;
  }

  static Json import_config(const Json& config) {
    graft::require_peft_type(config, "VERA");
    graft::require_off(config, {"fan_in_fan_out"});
    peft::require_text(config, "bias", "none");
    return peft::read_fields(config, {{"r", "r"},
                                      {"d_initial", "d_initial"},
                                      {"vera_dropout", "dropout"},
                                      {"projection_prng_key", "projection_prng_key"},
                                      {"save_projection", "save_projection"}});
  }

 private:
  static constexpr std::size_t kScaleB = 0, kScaleD = 1;  // places in the plan of a site

  std::int64_t rank_;
  double d_initial_;
  double dropout_;
  std::int64_t key_;
  bool saves_projection_;
};

}  // namespace

GRAFT_PLUGIN(Vera);
