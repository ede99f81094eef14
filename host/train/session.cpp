// SPDX-License-Identifier: Apache-2.0
#include "train/session.h"

#include "memory/recompute.h"
#include "model/tensor_services.h"
#include "plugin/host_services.h"
#include "support/error.h"
#include "support/log.h"
#include "support/strings.h"

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
  for (const std::string& name : peft.components) spec.components.push_back(adapt::component_code(name));
  return spec;
}

}  // namespace

std::unique_ptr<plugin::Registry> open_registry(const std::vector<std::string>& plugin_files) {
  model::register_tensor_services();
  auto registry = std::make_unique<plugin::Registry>(plugin::host_table());
  registry->add_default_search_path();
  for (const std::string& file : plugin_files) registry->load(file);
  return registry;
}

std::unique_ptr<model::Model> open_model(plugin::Registry& registry, const config::RunConfig& config) {
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
  return model::Model::open(registry, options);
}

std::unique_ptr<rewards::RewardSet> open_rewards(plugin::Registry& registry,
                                                 const config::RunConfig& config) {
  std::vector<rewards::RewardSpec> specs;
  for (const config::RewardConfig& reward : config.rewards)
    specs.push_back({reward.name, reward.weight, reward.params});
  return std::make_unique<rewards::RewardSet>(registry, specs);
}

Session open_training(const config::RunConfig& config, bool with_rewards) {
  Session session;
  session.registry = open_registry(config.plugins);
  if (with_rewards) session.rewards = open_rewards(*session.registry, config);
  session.model = open_model(*session.registry, config);
  adapt::AttachOptions attach;
  attach.strategy = config.peft.strategy;
  attach.params = config.peft.params;
  attach.targets = target_spec(config.peft);
  attach.adapter = config.peft.adapter.value_or("");
  attach.seed = static_cast<std::uint64_t>(config.seed);
  session.adapter = adapt::Adapter::attach(*session.model, *session.registry, attach);
  support::log_info(session.adapter->summary());
  return session;
}

void apply_checkpoint_policy(Session& session, const config::RunConfig& config, std::int64_t micro_tokens) {
  const auto bytes_per_value = static_cast<std::int64_t>(c10::elementSize(session.model->compute_dtype()));
  const std::vector<memory::Decision> decisions =
      memory::plan(*session.registry, *session.model, config.checkpoint_policy.name,
                   config.checkpoint_policy.params, micro_tokens, bytes_per_value, /*budget_bytes=*/0);
  session.model->set_segment_hook(memory::recompute_hook(decisions));
}

Session open_inference(const config::RunConfig& config) {
  Session session;
  session.registry = open_registry(config.plugins);
  if (!config.rewards.empty()) session.rewards = open_rewards(*session.registry, config);
  session.model = open_model(*session.registry, config);
  if (config.peft.adapter) {
    session.adapter = adapt::Adapter::load(*session.model, *session.registry, *config.peft.adapter);
  }
  return session;
}

data::Dataset load_samples(const std::vector<config::DataFile>& files, const config::RunConfig& config,
                           std::optional<std::int64_t> limit) {
  const auto position =
      config.puts_images_first() ? data::ImagePosition::kFirst : data::ImagePosition::kInterleaved;
  return data::load_samples(files, {config.data.strict, limit, position});
}

}  // namespace graft::train
