// SPDX-License-Identifier: Apache-2.0
// LoRA (Hu et al. 2021, arXiv:2106.09685): y = x Wᵀ + b + s · drop(x) Aᵀ Bᵀ, with A [r, in], B [out, r] and s
// = alpha / r, or alpha / √r for rank-stabilised LoRA (Kalajdzievski 2023, arXiv:2312.03732). Names,
// initialisation and the float32 arithmetic beside a bfloat16 base are PEFT's, and so is bfloat16 under autocast, which casts
// A and B where they are used.
#include <graft/sdk/peft.hpp>

#include <cmath>

namespace {

namespace ops = graft::ops;
using graft::Json;

struct Lora : graft::Peft {
  static constexpr auto name = "lora";
  static constexpr auto summary = "low-rank update of linear layers (LoRA, rsLoRA)";

  static graft::Schema params() {
    return graft::Schema()
        .integer("r", 8, "rank of the update")
        .minimum(1)
        .number("alpha", 16, "the update is scaled by alpha / r")
        .exclusive_minimum(0)
        .number("dropout", 0, "probability of zeroing an input of the update, in training")
        .minimum(0)
        .exclusive_maximum(1)
        .boolean("use_rslora", false, "scale by alpha / sqrt(r) instead");
  }

  explicit Lora(const graft::Params& params)
      : rank_(params.integer("r")),
        alpha_(params.number("alpha")),
        dropout_(params.number("dropout")),
        use_rslora_(params.boolean("use_rslora")),
        scale_(alpha_ / (use_rslora_ ? std::sqrt(static_cast<double>(rank_)) : static_cast<double>(rank_))) {}

  std::vector<graft::PeftParam> plan_site(const graft::Site& site) override {
    // torch's kaiming_uniform_(a = √5) of an [r, in] matrix.
    const double bound = 1.0 / std::sqrt(static_cast<double>(site.in_features()));
    return {{"lora_A.weight", {rank_, site.in_features()}, graft::Init::uniform(bound)},
            {"lora_B.weight", {site.out_features(), rank_}, graft::Init::zeros()}};
  }

  graft::Tensor linear(const graft::LinearCall& call) override {
    static const graft::Op addmm("aten::addmm");
    const graft::Tensor a = call.param(0), b = call.param(1);
    graft::Tensor x = in_dtype(call.x(), a.dtype());
    if (call.is_training() && dropout_ > 0.0) x = ops::dropout(x, dropout_, true);
    const graft::Tensor down = ops::linear(x, a);    // [T, r]
    const graft::Tensor base = call.base(call.x());  // [T, out]
    const graft::Tensor y = addmm({in_dtype(base, down.dtype()), down, ops::t(b), 1.0, scale_});
    return in_dtype(y, base.dtype());
  }

  graft::Merged merge(const graft::SiteValues& values) override {
    static const graft::Op addmm("aten::addmm");
    return {addmm({values.weight(), values.param(1), values.param(0), 1.0, scale_}), {}};
  }

  // The fields that PEFT 0.21 writes for LoRA.
  Json export_config(const graft::ModelValues&) override {
    Json config = Json::object(
        {{"peft_type", "LORA"},
         {"r", rank_},
         {"lora_alpha", is_whole(alpha_) ? Json(static_cast<std::int64_t>(alpha_)) : Json(alpha_)},
         {"lora_dropout", dropout_},
         {"use_rslora", use_rslora_},
         {"bias", "none"},
         {"init_lora_weights", true},
         {"loftq_config", Json::object()},
         {"rank_pattern", Json::object()},
         {"alpha_pattern", Json::object()},
         {"megatron_core", "megatron.core"},
         {"qalora_group_size", 16}});
    for (const char* off : {"ensure_weight_tying", "fan_in_fan_out", "lora_bias", "use_dora", "use_qalora"}) {
      config.set(off, false);
    }
    for (const char* unset :
         {"alora_invocation_tokens", "arrow_config", "corda_config", "eva_config", "kasa_config",
          "layer_replication", "lora_ga_config", "megatron_config", "monteclora_config", "target_parameters",
          "trainable_token_indices", "use_bdlora", "velora_config"}) {
      config.set(unset, Json());
    }
    return config;
  }

  static Json import_config(const Json& config) {
    graft::require_peft_type(config, "LORA");
    graft::require_off(
        config, {"alora_invocation_tokens", "alpha_pattern", "arrow_config", "fan_in_fan_out", "kasa_config",
                 "layer_replication", "lora_bias", "megatron_config", "monteclora_config", "rank_pattern",
                 "target_parameters", "trainable_token_indices", "use_bdlora", "use_dora", "use_qalora",
                 "velora_config"});
    if (const Json* bias = config.find("bias");
        bias != nullptr && !bias->is_null() && bias->dump() != "\"none\"") {
      throw graft::Error(GRAFT_E_UNSUPPORTED, "bias = " + bias->dump() + " is not offered, only \"none\"");
    }
    check_init(config);
    Json params = Json::object();
    copy(config, "r", params, "r");
    copy(config, "lora_alpha", params, "alpha");
    copy(config, "lora_dropout", params, "dropout");
    copy(config, "use_rslora", params, "use_rslora");
    if (!params.contains("alpha")) params.set("alpha", 8);  // PEFT's default, not ours
    return params;
  }

 private:
  static graft::Tensor in_dtype(const graft::Tensor& x, graft::DType dtype) {
    return x.dtype() == dtype ? x : ops::to(x, dtype);
  }

  static bool is_whole(double value) { return value == std::floor(value) && std::fabs(value) < 1e15; }

  static void copy(const Json& from, const char* theirs, Json& to, const char* ours) {
    if (const Json* value = from.find(theirs); value != nullptr && !value->is_null()) to.set(ours, *value);
  }

  // Initialisations that leave the base weight alone do not matter once the adapter is trained; the others
  // changed it.
  static void check_init(const Json& config) {
    const Json* init = config.find("init_lora_weights");
    if (init == nullptr || init->is_null() || init->is_bool()) return;
    for (const char* harmless : {"gaussian", "orthogonal", "eva"}) {
      if (init->dump() == '"' + std::string(harmless) + '"') return;
    }
    throw graft::Error(GRAFT_E_UNSUPPORTED,
                       "init_lora_weights = " + init->dump() +
                           " is not offered: it changes the base weights; convert the "
                           "adapter with PEFT's save_pretrained(path_initial_model_for_weight_conversion=…)");
  }

  std::int64_t rank_;
  double alpha_;
  double dropout_;
  bool use_rslora_;
  double scale_;
};

}  // namespace

GRAFT_PLUGIN(Lora);
