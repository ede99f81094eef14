// SPDX-License-Identifier: Apache-2.0
#include "train/session.h"

#include <utility>

#include "memory/recompute.h"
#include "model/tensor_services.h"
#include "plugin/host_services.h"
#include "support/error.h"
#include "support/log.h"
#include "support/strings.h"
#include "train/watch.h"

namespace graft::train {

using support::cat;

namespace {

adapt::TargetSpec target_spec(const config::PeftConfig& peft) {
  adapt::TargetSpec spec;
  if (const auto* pattern = std::get_if<std::string>(&peft.target_modules)) {
    if (*pattern == "all-linear") {
      spec.all_linear = true;
    } else {
      spec.pattern = *pattern;
    }
  } else {
    spec.names = std::get<std::vector<std::string>>(peft.target_modules);
  }
  if (const auto* pattern = std::get_if<std::string>(&peft.exclude_modules)) {
    spec.exclude_pattern = *pattern;
  } else {
    spec.exclude_names = std::get<std::vector<std::string>>(peft.exclude_modules);
  }
  spec.layers = peft.layers_to_transform;
  spec.layers_patterns = peft.layers_pattern;
  for (const std::string& name : peft.components) spec.components.push_back(adapt::component_code(name));
  return spec;
}

}  // namespace

adapt::AttachOptions attach_options(const config::RunConfig& config) {
  const config::PeftConfig& peft = config.peft;
  adapt::AttachOptions attach;
  attach.strategy = peft.strategy;
  attach.params = peft.params;
  attach.targets = target_spec(peft);
  attach.rank_pattern = {peft.rank_pattern.entries, "peft.rank_pattern", peft.rank_pattern.is_ordered};
  attach.alpha_pattern = {peft.alpha_pattern.entries, "peft.alpha_pattern", peft.alpha_pattern.is_ordered};
  attach.modules_to_save = peft.modules_to_save;
  attach.adapter = peft.adapter.value_or("");
  attach.base_adapters = {peft.base_adapters.begin(), peft.base_adapters.end()};
  attach.seed = static_cast<std::uint64_t>(config.seed);
  return attach;
}

void check_attached(const config::RunConfig& config, const adapt::Adapter& adapter) {
  if (config.model.init == "random" && !adapter.is_model()) {
    throw support::UserError(
        cat("model.init is \"random\" with peft.strategy \"", config.peft.strategy,
            "\"; an adapter on random frozen weights cannot learn; use peft.strategy=full"));
  }
  if (config.peft.configures_calibration() && !adapter.is_calibrated()) {
    throw support::UserError(cat(
        "peft.calibration_samples, calibration_batch_size or calibration_passes is set, but peft.strategy \"",
        config.peft.strategy, "\" with ", config.peft.params.dump(),
        " looks at no data before it starts; leave them out"));
  }
  if (config.objective.beta != 0 && config.objective.reference == "base" && adapter.is_model()) {
    throw support::UserError(
        cat("objective.reference is \"base\" with peft.strategy \"", config.peft.strategy,
            "\", which trains the base weights themselves, so no policy without an adapter "
            "is left; use reference=initial (a copy of the initial weights)"));
  }
}

std::unique_ptr<plugin::Registry> open_registry(const std::vector<std::string>& plugin_files) {
  model::register_tensor_services();
  auto registry = std::make_unique<plugin::Registry>(plugin::host_table());
  registry->add_default_search_path();
  for (const std::string& file : plugin_files) registry->load(file);
  return registry;
}

std::unique_ptr<model::Model> open_model(plugin::Registry& registry, const config::RunConfig& config,
                                         bool without_values) {
  model::OpenOptions options;
  options.directory = config.model.path;
  options.family = config.model.family;
  options.family_params = config.model.family_params.dump();
  options.dtype = config.model.dtype;
  options.compute_dtype = config.model.compute_dtype.value_or("");
  options.as_int8 = config.model.quantize == "int8";
  options.random_init = config.model.init == "random";
  options.seed = static_cast<std::uint64_t>(config.seed);
  options.min_pixels = config.model.min_pixels;
  options.max_pixels = config.model.max_pixels;
  options.without_values = without_values;
  return model::Model::open(registry, options);
}

std::unique_ptr<rewards::RewardSet> open_rewards(plugin::Registry& registry,
                                                 const config::RunConfig& config) {
  std::vector<rewards::RewardSpec> specs;
  for (const config::RewardConfig& reward : config.rewards)
    specs.push_back(
        {reward.name, reward.weight, reward.params, reward.isolate, reward.timeout, reward.max_memory});
  return std::make_unique<rewards::RewardSet>(registry, specs);
}

Session open_training(const config::RunConfig& config, bool with_rewards) {
  Session session;
  session.registry = open_registry(config.plugins);
  if (with_rewards) session.rewards = open_rewards(*session.registry, config);
  session.model = open_model(*session.registry, config);
  return session;
}

void attach_adapter(Session& session, const config::RunConfig& config,
                    const adapt::CalibrationData& calibration, const std::filesystem::path& calibrated) {
  adapt::AttachOptions options = attach_options(config);
  options.calibration = &calibration;
  options.calibrated = calibrated;
  session.adapter = adapt::Adapter::attach(*session.model, *session.registry, options);
  check_attached(config, *session.adapter);
  if (measures_layers(config, *session.adapter)) session.adapter->keep_reference();
  support::log_info(session.adapter->summary());
}

std::vector<memory::Decision> checkpoint_decisions(plugin::Registry& registry, model::Model& model,
                                                   const config::CheckpointPolicyConfig& policy,
                                                   const memory::PassSize& size) {
  std::optional<memory::PolicyChoice> vision;
  if (policy.vision) vision.emplace(memory::PolicyChoice{*policy.vision, policy.vision_params});
  return memory::plan(registry, model, {policy.name, policy.params}, vision,
                      memory::measured_costs(model, size));
}

void apply_checkpoint_policy(Session& session, const config::RunConfig& config,
                             const memory::PassSize& size) {
  session.model->set_segment_hook(memory::recompute_hook(
      checkpoint_decisions(*session.registry, *session.model, config.checkpoint_policy, size)));
}

Session open_inference(const config::RunConfig& config) {
  Session session;
  session.registry = open_registry(config.plugins);
  if (!config.rewards.empty()) session.rewards = open_rewards(*session.registry, config);
  session.model = open_model(*session.registry, config);
  adapt::AttachOptions attach;  // the last of all adapters on top of the others
  attach.base_adapters = {config.peft.base_adapters.begin(), config.peft.base_adapters.end()};
  if (config.peft.adapter) attach.base_adapters.emplace_back(*config.peft.adapter);
  if (attach.base_adapters.empty()) return session;
  attach.adapter = std::move(attach.base_adapters.back());
  attach.base_adapters.pop_back();
  session.adapter = adapt::Adapter::attach(*session.model, *session.registry, attach);
  return session;
}

data::Dataset load_samples(const std::vector<config::DataFile>& files, const config::RunConfig& config,
                           std::optional<std::int64_t> limit) {
  const auto position =
      config.puts_images_first() ? data::ImagePosition::kFirst : data::ImagePosition::kInterleaved;
  return data::load_samples(files, {config.data.strict, limit, position});
}

}  // namespace graft::train
