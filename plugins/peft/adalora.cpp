// SPDX-License-Identifier: Apache-2.0
// AdaLoRA (Zhang et al. 2023, arXiv:2303.10512): y = x Wᵀ + b + s · drop(x) (A ⊙ E)ᵀ Bᵀ with A [r, in], E [r, 1], B [out, r] and
// s = alpha / (r + 1e-5), as in PEFT. Each row of A with its element of E and column of B is a triplet; in the course of training E
// of the least important triplets of the whole model is set to 0, until target_r of each layer are left on average. PEFT's files
// hold the triplets that remain.
#include <graft/sdk/peft.hpp>

#include <cmath>
#include <string>
#include <vector>

#include "common/config.h"
#include "common/rank_allocation.h"
#include "common/tensors.h"

namespace {

namespace ops = graft::ops;
using graft::Json;
using graft::Tensor;

// Places in the plan of a site; behind them, for each of the first three, the averages of its importance.
constexpr std::size_t kA = 0, kE = 1, kB = 2, kMask = 3, kAverages = 4;
constexpr const char* kNames[] = {"lora_A", "lora_E", "lora_B"};

[[noreturn]] void refuse(const std::string& text) {
  throw graft::Error(GRAFT_E_INVALID_ARGUMENT, text);
}

// ‖P Pᵀ − I‖
Tensor distance_from_orthogonal(const Tensor& p) {
  static const graft::Op eye("aten::eye"), norm("aten::linalg_vector_norm");
  const graft_tensor_info info = p.info();
  const Tensor identity =
      eye({p.size(0), graft::DType::kFloat32, nullptr, graft::Value::device(info.device, info.device_index)});
  return norm({ops::mm(p, ops::t(p)) - identity});
}

struct AdaLora : graft::Peft {
  static constexpr auto name = "adalora";
  static constexpr auto summary =
      "low-rank update whose rank is shared out among the layers during training (AdaLoRA)";

  static graft::Schema params() {
    return graft::Schema()
        .integer("init_r", 12, "rank of each layer at the start")
        .minimum(1)
        .integer("target_r", 8, "rank that is left, on average over the layers")
        .minimum(1)
        .number("alpha", 16, "the update is scaled by alpha / init_r")
        .exclusive_minimum(0)
        .number("dropout", 0, "probability of zeroing an input of the update, in training")
        .minimum(0)
        .exclusive_maximum(1)
        .integer("tinit", 0, "optimizer steps before the rank begins to fall")
        .minimum(0)
        .integer("tfinal", 0, "optimizer steps at the end with the ranks as they are")
        .minimum(0)
        .integer("deltaT", 1, "optimizer steps from one allocation to the next")
        .minimum(1)
        .number("beta1", 0.85, "decay of the average of importance")
        .exclusive_minimum(0)
        .exclusive_maximum(1)
        .number("beta2", 0.85, "decay of the average of its uncertainty")
        .exclusive_minimum(0)
        .exclusive_maximum(1)
        .number("orth_reg_weight", 0.5, "weight of the term that keeps A and B orthogonal")
        .minimum(0)
        .integer("total_step", 0, "optimizer steps that the schedule is for; 0: those of the run")
        .minimum(0);
  }

  explicit AdaLora(const graft::Params& params)
      : rank_(params.integer("init_r")),
        target_(params.integer("target_r")),
        alpha_(params.number("alpha")),
        dropout_(params.number("dropout")),
        regularization_(params.number("orth_reg_weight")),
        beta1_(params.number("beta1")),
        beta2_(params.number("beta2")),
        schedule_{params.integer("tinit"), params.integer("tfinal"), params.integer("deltaT"),
                  params.integer("total_step")} {
    if (target_ > rank_) {
      refuse("target_r = " + std::to_string(target_) + " is more than init_r = " + std::to_string(rank_));
    }
    if (schedule_.total > 0) schedule_.check();
  }

  std::vector<graft::PeftParam> plan_model(const std::vector<graft::Site>&) override {
    return {{"adalora_total_step", {1}, graft::Init::zeros(), false, false}};  // of the last step taken
  }

  std::vector<graft::PeftParam> plan_site(const graft::Site& site) override {
    const std::int64_t in = site.in_features(), out = site.out_features();
    std::vector<graft::PeftParam> plan = {{kNames[kA], {rank_, in}, graft::Init::normal(0.02)},
                                          {kNames[kE], {rank_, 1}},
                                          {kNames[kB], {out, rank_}, graft::Init::normal(0.02)},
                                          {"mask", {rank_, 1}, graft::Init::ones(), false, false}};
    for (const std::size_t i : {kA, kE, kB}) {
      for (const char* average : {"_importance", "_uncertainty"}) {
        plan.push_back({kNames[i] + std::string(average), plan[i].sizes, graft::Init::zeros(), false, false});
      }
    }
    return plan;
  }

  Tensor linear(const graft::LinearCall& call) override {
    const Tensor a = call.param(kA);
    const Tensor down = ops::linear(peft::adapter_input(call, a.dtype(), dropout_), a);  // [T, r]
    const Tensor base = call.base(call.x());
    const Tensor scaled = peft::in_dtype(down * ops::t(call.param(kE)), down.dtype());
    return peft::in_dtype(peft::add_product(base, scaled, peft::transposed(call.param(kB)), scale()),
                          base.dtype());
  }

  graft::Merged merge(const graft::SiteValues& values) override {
    return {
        peft::add_product(values.weight(), values.param(kB), values.param(kA) * values.param(kE), scale()),
        {}};
  }

  // The mean over A and B of all layers.
  Tensor regularize(const graft::ModelValues& model) override {
    static_cast<void>(schedule_of(model));  // a run too short for it fails before the first step
    if (regularization_ == 0.0 || model.size() == 0) return {};
    std::vector<Tensor> terms;
    for (std::size_t i = 0; i < model.size(); ++i) {
      terms.push_back(distance_from_orthogonal(model[i].param(kA)));
      terms.push_back(distance_from_orthogonal(ops::t(model[i].param(kB))));
    }
    return ops::mean(ops::stack(terms, 0), {0}) * regularization_;
  }

  void after_update(const graft::ModelValues& model) override {
    const peft::RankSchedule schedule = schedule_of(model);
    const std::int64_t step = model.step() + 1;  // PEFT's global_step, of the optimizer steps done
    peft::assign(model.shared(0), Tensor::from(std::vector<float>{static_cast<float>(schedule.total)}));
    std::vector<peft::Triplets> layers;
    for (std::size_t i = 0; i < model.size(); ++i) layers.push_back(triplets(model[i]));
    if (step < schedule.last()) {
      for (const peft::Triplets& layer : layers) layer.observe(beta1_, beta2_);
    }
    const auto first = rank_ * static_cast<std::int64_t>(layers.size());
    const auto last = target_ * static_cast<std::int64_t>(layers.size());
    if (schedule.allocates(step))
      peft::keep_most_important(layers, first - schedule.budget(step, first, last));
    if (step > schedule.last()) {
      for (const peft::Triplets& layer : layers) layer.apply_mask();
    }
  }

  Json export_config(const graft::ModelValues& model) override;
  std::vector<std::pair<std::string, Tensor>> export_tensors(const graft::SiteValues& values) override;
  void import_tensors(const graft::SiteValues& values, const graft::StoredTensors& stored) override;
  static Json import_config(const Json& config);

 private:
  [[nodiscard]] double scale() const { return alpha_ / (static_cast<double>(rank_) + 1e-5); }

  [[nodiscard]] peft::RankSchedule schedule_of(const graft::ModelValues& model) const {
    peft::RankSchedule schedule = schedule_;
    if (schedule.total == 0) schedule.total = model.total_steps();
    schedule.check();
    return schedule;
  }

  [[nodiscard]] static peft::Triplets triplets(const graft::SiteValues& values) {
    const auto factor = [&](std::size_t i) {
      return peft::Triplets::Factor{values.param(i), values.grad(i), values.param(kAverages + 2 * i),
                                    values.param(kAverages + 2 * i + 1)};
    };
    return {factor(kA), factor(kE), factor(kB), values.param(kMask)};
  }

  std::int64_t rank_, target_;
  double alpha_;
  double dropout_;
  double regularization_;
  double beta1_, beta2_;
  peft::RankSchedule schedule_;
};

Json AdaLora::export_config(const graft::ModelValues& model) {
  std::int64_t total = schedule_.total;
  Json pattern = Json::object();
  bool is_pruned = false;
  if (model.size() > 0 && total == 0) {
    total = std::lround(peft::on_cpu(model.shared(0)).data<float>()[0]);
  }
  if (total == 0) total = schedule_.shortest();  // PEFT wants one, and none is known before the first step
  for (std::size_t i = 0; i < model.size(); ++i) {
    const Tensor mask = peft::on_cpu(model[i].param(kMask));
    Json kept = Json::array();
    for (std::int64_t k = 0; k < rank_; ++k) kept.push(mask.data<float>()[k] != 0.0F);
    for (const Json& one : kept.items()) is_pruned = is_pruned || !one.as_bool();
    pattern.set(std::string(model[i].site().name()) + ".lora_E", std::move(kept));
  }
  Json config = Json::object({{"peft_type", "ADALORA"},
                              {"init_r", rank_},
                              {"target_r", target_},
                              {"lora_alpha", peft::number(alpha_)},
                              {"lora_dropout", dropout_},
                              {"tinit", schedule_.warm_up},
                              {"tfinal", schedule_.final_steps},
                              {"deltaT", schedule_.interval},
                              {"beta1", beta1_},
                              {"beta2", beta2_},
                              {"orth_reg_weight", regularization_},
                              {"total_step", total},
                              {"rank_pattern", is_pruned ? pattern : Json()},
                              {"r", 8},
                              {"bias", "none"},
                              {"init_lora_weights", true},
                              {"loftq_config", Json::object()},
                              {"alpha_pattern", Json::object()},
                              {"megatron_core", "megatron.core"},
                              {"qalora_group_size", 16}});
  peft::set_false(
      config, {"ensure_weight_tying", "fan_in_fan_out", "lora_bias", "use_dora", "use_qalora", "use_rslora"});
  peft::set_null(config,
                 {"alora_invocation_tokens", "arrow_config", "corda_config", "eva_config", "kasa_config",
                  "layer_replication", "lora_ga_config", "megatron_config", "monteclora_config",
                  "target_parameters", "trainable_token_indices", "use_bdlora", "velora_config"});
  return config;
}

Json AdaLora::import_config(const Json& config) {
  graft::require_peft_type(config, "ADALORA");
  graft::require_off(config, {"fan_in_fan_out", "layer_replication", "lora_bias", "target_parameters",
                              "trainable_token_indices", "use_dora"});
  peft::require_text(config, "bias", "none");
  Json params = peft::read_fields(config, {{"init_r", "init_r"},
                                           {"target_r", "target_r"},
                                           {"lora_alpha", "alpha"},
                                           {"lora_dropout", "dropout"},
                                           {"tinit", "tinit"},
                                           {"tfinal", "tfinal"},
                                           {"deltaT", "deltaT"},
                                           {"beta1", "beta1"},
                                           {"beta2", "beta2"},
                                           {"orth_reg_weight", "orth_reg_weight"},
                                           {"total_step", "total_step"}});
  if (!params.contains("alpha")) params.set("alpha", 8);  // PEFT's default, not ours
  const auto steps = [&](const char* key) { return params.contains(key) ? params.at(key).as_int() : 0; };
  const peft::RankSchedule schedule{steps("tinit"), steps("tfinal"), 1, 0};
  if (steps("total_step") == schedule.shortest())
    params.set("total_step", 0);  // what export_config() has for unknown
  return params;
}

std::vector<std::pair<std::string, Tensor>> AdaLora::export_tensors(const graft::SiteValues& values) {
  static const graft::Op nonzero("aten::nonzero");
  const Tensor kept = ops::flatten(nonzero({ops::flatten(values.param(kMask), 0, -1)}), 0, -1);
  return {{kNames[kA], ops::index_select(values.param(kA), 0, kept)},
          {kNames[kE], ops::index_select(values.param(kE), 0, kept)},
          {kNames[kB], ops::index_select(values.param(kB), 1, kept)}};
}

// Which of the triplets they were does not matter: the first.
void AdaLora::import_tensors(const graft::SiteValues& values, const graft::StoredTensors& stored) {
  static const graft::Op zero("aten::zero_");
  if (stored.size() != 3) {
    refuse(std::string(values.site().name()) + " has " + std::to_string(stored.size()) +
           " tensors in the file, expected lora_A, lora_E and lora_B");
  }
  std::int64_t rank = -1;
  for (const std::size_t i : {kA, kE, kB}) {
    const Tensor to = values.param(i);
    const std::int64_t across = i == kB ? 1 : 0;  // the dimension of the triplets
    Tensor from;
    for (const auto& [given, tensor] : stored) {
      if (given == kNames[i]) from = tensor;
    }
    const bool fits = from && from.sizes().rank() == 2 && from.size(1 - across) == to.size(1 - across) &&
                      from.size(across) <= rank_ && (rank < 0 || from.size(across) == rank);
    if (!fits) {
      refuse(std::string(values.site().name()) + '.' + kNames[i] + " is " +
             (from ? from.sizes().text() : "missing") + ", expected " + to.sizes().text() +
             " or less of dimension " + std::to_string(across));
    }
    rank = from.size(across);
    zero({to});
    peft::assign(ops::narrow(to, across, 0, rank), from);
  }
  zero({ops::narrow(values.param(kMask), 0, rank, rank_ - rank)});
}

}  // namespace

GRAFT_PLUGIN(AdaLora);
