// SPDX-License-Identifier: Apache-2.0
#include "settings.h"

#include <cmath>
#include <utility>

#include "common/config.h"

namespace lora {

namespace {

using graft::Json;

constexpr std::pair<const char*, Start> kStarts[] = {
    {"kaiming", Start::kKaiming}, {"gaussian", Start::kGaussian}, {"orthogonal", Start::kOrthogonal},
    {"pissa", Start::kPissa},     {"olora", Start::kOlora},       {"eva", Start::kEva}};

Start start_of(const std::string& name) {
  for (const auto& [word, start] : kStarts) {
    if (name == word) return start;
  }
  throw graft::Error(GRAFT_E_INTERNAL, "unknown init " + name);  // the schema lets only these words through
}

// An expression that matches this name only.
std::string exactly(std::string_view name) {
  std::string text = "^";
  for (const char c : name) {
    if (c == '.') text += '\\';
    text += c;
  }
  return text;
}

// What init_lora_weights stands for. Starts that leave W alone no longer matter once the adapter is trained.
const char* start_from_peft(const Json& config) {
  const Json* init = config.find("init_lora_weights");
  if (init == nullptr || init->is_null() || init->is_bool()) return "kaiming";
  const std::string text = init->is_string() ? init->as_string() : init->dump();
  for (const char* word : {"gaussian", "orthogonal", "pissa", "olora"}) {
    if (text == word) return word;
  }
  if (text == "eva") return "kaiming";
  throw graft::Error(
      GRAFT_E_UNSUPPORTED,
      "init_lora_weights = " + init->dump() +
          " is not offered: it changes the base weights in a way that the file does not hold; convert "
          "the adapter with PEFT's save_pretrained(path_initial_model_for_weight_conversion=…)");
}

}  // namespace

graft::Schema Settings::schema() {
  return graft::Schema()
      .integer("r", 8, "rank of the update")
      .minimum(1)
      .number("alpha", 16, "the update is scaled by alpha / r")
      .exclusive_minimum(0)
      .number("dropout", 0, "probability of zeroing an input of the update, in training")
      .minimum(0)
      .exclusive_maximum(1)
      .boolean("use_rslora", false, "scale by alpha / sqrt(r) instead")
      .choice("bias", {"none", "lora_only", "all"}, "none",
              "biases of the base that are trained as copies: of no layer, of the adapted ones, of all")
      .boolean("lora_bias", false, "B has a bias of its own")
      .choice(
          "init", {"kaiming", "gaussian", "orthogonal", "pissa", "olora", "eva"}, "kaiming",
          "how A and B start; with pissa and olora as the principal part, or a QR part, of the weight; with "
          "eva A as "
          "the principal directions of the layer's inputs on training data, which also share out the ranks")
      .integer("pissa_iterations", 0, "power iterations of a randomised SVD for init=pissa; 0: the exact SVD")
      .minimum(0)
      .number("eva_rho", 2, "init=eva: a layer gets at most this many times its rank; 1: the ranks stay")
      .minimum(1)
      .number("eva_tau", 0.99, "init=eva: cosine between passes at which a direction counts as found")
      .minimum(0)
      .maximum(1)
      .boolean("eva_use_label_mask", true,
               "init=eva: look at the answers' tokens only, where there are answers (sft)")
      .boolean("eva_whiten", false, "init=eva: divide the directions by the roots of their singular values")
      .boolean("eva_adjust_scaling_factors", true, "init=eva: alpha of a layer changes with its rank")
      .boolean("use_dora", false, "DoRA: the rows of the adapted weight get trained magnitudes")
      .number("lr_ratio", 1, "LoRA+: learning rate of B, as a multiple of A's")
      .exclusive_minimum(0)
      .boolean("freeze_a", false, "LoRA-FA: only B is trained, on the projected gradient of the weight");
}

Settings::Settings(const graft::Params& params)
    : rank(params.integer("r")),
      alpha(params.number("alpha")),
      dropout(params.number("dropout")),
      use_rslora(params.boolean("use_rslora")),
      bias(params.string("bias")),
      lora_bias(params.boolean("lora_bias")),
      start(start_of(std::string(params.string("init")))),
      pissa_iterations(params.integer("pissa_iterations")),
      eva{params.number("eva_rho"), params.number("eva_tau"), params.boolean("eva_whiten"),
          params.boolean("eva_adjust_scaling_factors"), params.boolean("eva_use_label_mask")},
      use_dora(params.boolean("use_dora")),
      lr_ratio(params.number("lr_ratio")),
      freeze_a(params.boolean("freeze_a")) {
  const auto refuse = [](const std::string& text) { throw graft::Error(GRAFT_E_INVALID_ARGUMENT, text); };
  if (pissa_iterations > 0 && start != Start::kPissa)
    refuse("pissa_iterations has no effect without init=pissa");
  const bool is_plain =
      eva.rho == 2.0 && eva.tau == 0.99 && !eva.whitens && eva.adjusts_scaling && eva.uses_answers_only;
  if (start != Start::kEva && !is_plain) refuse("eva_* parameters have no effect without init=eva");
  if (start == Start::kOrthogonal && rank % 2 != 0) {
    refuse("init=orthogonal needs an even r, found " + std::to_string(rank));
  }
  if (freeze_a && lr_ratio != 1.0) refuse("lr_ratio has no effect with freeze_a: A has no learning rate");
}

double Settings::scale(const graft::Site& site) const {
  const auto r = static_cast<double>(site.rank_or(rank));
  return site.alpha_or(alpha) / (use_rslora ? std::sqrt(r) : r);
}

Json Settings::to_peft(const graft::ModelValues& model) const {
  const std::int64_t ranks = splits_weight() ? 2 : 1;  // of the written file for one of ours
  const double alphas = !splits_weight() ? 1.0 : use_rslora ? std::sqrt(2.0) : 2.0;
  Json config = Json::object({{"peft_type", "LORA"},
                              {"r", ranks * rank},
                              {"lora_alpha", peft::number(alphas * alpha)},
                              {"lora_dropout", dropout},
                              {"use_rslora", use_rslora},
                              {"use_dora", use_dora},
                              {"bias", bias},
                              {"lora_bias", lora_bias},
                              {"init_lora_weights", true},
                              {"loftq_config", Json::object()},
                              {"rank_pattern", Json::object()},
                              {"alpha_pattern", Json::object()},
                              {"megatron_core", "megatron.core"},
                              {"qalora_group_size", 16}});
  peft::set_false(config, {"ensure_weight_tying", "fan_in_fan_out", "use_qalora"});
  peft::set_null(config,
                 {"alora_invocation_tokens", "arrow_config", "corda_config", "eva_config", "kasa_config",
                  "layer_replication", "lora_ga_config", "megatron_config", "monteclora_config",
                  "target_parameters", "trainable_token_indices", "use_bdlora", "velora_config"});
  if (!splits_weight()) return config;  // the host writes the patterns as they are
  Json rank_pattern = Json::object(), alpha_pattern = Json::object();
  for (std::size_t i = 0; i < model.size(); ++i) {
    const graft_site& site = model[i].site().raw();
    const std::string key = exactly(graft::to_view(site.name));
    if (site.rank > 0) rank_pattern.set(key, ranks * site.rank);
    if (site.alpha > 0.0) alpha_pattern.set(key, peft::number(alphas * site.alpha));
  }
  config.set("rank_pattern", std::move(rank_pattern));
  config.set("alpha_pattern", std::move(alpha_pattern));
  return config;
}

Json Settings::from_peft(const Json& config) {
  graft::require_peft_type(config, "LORA");
  graft::require_off(config,
                     {"alora_invocation_tokens", "arrow_config", "fan_in_fan_out", "kasa_config",
                      "layer_replication", "megatron_config", "monteclora_config", "target_parameters",
                      "trainable_token_indices", "use_bdlora", "use_qalora", "velora_config"});
  Json params = peft::read_fields(config, {{"r", "r"},
                                           {"lora_alpha", "alpha"},
                                           {"lora_dropout", "dropout"},
                                           {"use_rslora", "use_rslora"},
                                           {"bias", "bias"},
                                           {"lora_bias", "lora_bias"},
                                           {"use_dora", "use_dora"}});
  if (!params.contains("alpha")) params.set("alpha", 8);  // PEFT's default, not ours
  params.set("init", start_from_peft(config));
  return params;
}

}  // namespace lora
