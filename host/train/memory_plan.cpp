// SPDX-License-Identifier: Apache-2.0
#include "train/memory_plan.h"

#include <graft/checkpoint_policy.h>
#include <graft/plugin.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "adapt/calibration.h"
#include "memory/meta_kernels.h"
#include "memory/recompute.h"
#include "memory/segment_costs.h"
#include "support/error.h"
#include "support/log.h"
#include "support/strings.h"
#include "train/micro_batches.h"
#include "train/phases.h"
#include "train/policy_update.h"
#include "train/prompt_source.h"
#include "train/session.h"

namespace graft::train {

using support::cat;

namespace {

// Code of LibTorch's kernels that becomes resident as a run comes to use it, and that this process has not used yet: 43 MiB after a
// rollout, 52 MiB after an update, measured with LibTorch 2.11.0 on a CPU.
constexpr std::int64_t kKernelCode = 48 << 20;

struct Combination {
  std::string name;  // of the strategy, for people
  config::RunConfig config;
};

config::RunConfig with_strategy(const config::RunConfig& config, const std::string& strategy,
                                const nlohmann::json& params) {
  config::RunConfig out = config;
  out.peft = {};
  out.peft.strategy = strategy;
  out.peft.params = params;
  out.peft.target_modules = config.peft.target_modules;
  out.peft.exclude_modules = config.peft.exclude_modules;
  out.peft.components = config.peft.components;
  return out;
}

// The model without values, and prompts for it.
class Planner {
 public:
  Planner(const config::RunConfig& config, SharedSamples samples)
      : config_(config),
        process_(current_memory().value_or(0) + kKernelCode),
        registry_(open_registry(config.plugins)) {
    config::RunConfig outline = config;
    outline.model.compute_dtype.reset();  // autocast knows no tensors without values
    {
      const memory::Ledger::Scope label(ledger_, "weights");
      model_ = open_model(*registry_, outline, /*without_values=*/true);
    }
    memory::register_meta_kernels();
    const PromptSource source(*model_, config.data, std::move(samples),
                              static_cast<std::uint64_t>(config.seed));
    std::int64_t position = 0, skipped = 0;
    items_ = source.draw(static_cast<std::size_t>(config.train.prompts_per_rollout()), &position, &skipped);
  }

  [[nodiscard]] MemoryPlan describe() const {
    MemoryPlan plan;
    plan.family = model_->family();
    plan.model = model_->directory().string();
    plan.dtype = config_.model.dtype;
    for (const model::Param& param : model_->params()) {
      if (param.tied_to < 0) plan.parameters += param.tensor.numel();
    }
    plan.prompts = items_.size();
    for (const PromptItem& item : items_)
      plan.prompt_tokens = std::max(plan.prompt_tokens, item.prompt.ids.size());
    for (const memory::Pass& pass : passes()) plan.pass_prompts = std::max(plan.pass_prompts, pass.count);
    plan.num_generations = config_.rollout.num_generations;
    plan.completion_length = config_.rollout.max_completion_length;
    plan.process = process_;
    plan.is_upper_bound = config_.model.compute_dtype.has_value();
    return plan;
  }

  // Throws what a run with this combination would throw.
  [[nodiscard]] PlannedCell cell(const Combination& combination, const config::CheckpointPolicyConfig& policy,
                                 const PlanOptions& options) {
    PlannedCell cell{combination.name, policy.name, {}, {}, {}};
    std::unique_ptr<adapt::Adapter> adapter;
    {
      const memory::Ledger::Scope label(ledger_, "adapters");
      adapter = adapt::Adapter::attach(*model_, *registry_, attach_options(combination.config));
    }
    check_attached(combination.config, *adapter);
    const auto run = [&](const memory::Workload& workload) {
      memory::PassSize largest;
      for (const memory::Pass& pass : workload.passes) {
        const memory::PassSize size = size_of(workload, pass);
        if (size.tokens > largest.tokens) largest = size;
      }
      return memory::estimate(ledger_, *model_, *adapter,
                              checkpoint_decisions(*registry_, *model_, policy, largest), workload);
    };
    cell.estimate = run(workload(*adapter, passes(), items_.size()));
    if (options.memory) {
      cell.largest_pass = largest_pass(*options.memory, [&](std::size_t n) {
        return process_ + run(workload(*adapter, {{0, n}}, std::max(n, items_.size()))).peak();
      });
    }
    return cell;
  }

  [[nodiscard]] std::vector<std::string> policies() {
    std::vector<std::string> names;
    for (const plugin::Component& component : registry_->list(GRAFT_KIND_CHECKPOINT_POLICY)) {
      names.push_back(component.name);
    }
    return names;
  }

 private:
  [[nodiscard]] std::int64_t group_tokens(const model::Prompt& prompt) const {
    return static_cast<std::int64_t>(prompt.ids.size()) +
           config_.rollout.num_generations * (config_.rollout.max_completion_length - 1);
  }

  [[nodiscard]] memory::PassSize size_of(const memory::Workload& workload, const memory::Pass& pass) const {
    memory::PassSize size;
    for (std::size_t p = pass.first; p < pass.first + pass.count; ++p) {
      const model::Prompt& prompt = *workload.prompts[p];
      size.tokens += group_tokens(prompt);
      for (const model::PreparedImage& image : prompt.images) size.patches += image.values.size(0);
    }
    return size;
  }

  // How an optimizer step is split.
  [[nodiscard]] std::vector<memory::Pass> passes() const {
    std::vector<std::int64_t> tokens;
    const auto step = std::min(items_.size(), static_cast<std::size_t>(config_.train.prompts_per_step));
    for (std::size_t p = 0; p < step; ++p) tokens.push_back(group_tokens(items_[p].prompt));
    std::vector<memory::Pass> out;
    for (const Range& part :
         split_micro_batches(tokens, config_.train.micro_batch_tokens,
                             static_cast<std::size_t>(config_.train.prompts_per_micro_batch()))) {
      out.push_back({part.first, part.count});
    }
    return out;
  }

  // The first prompts, from the beginning again where there are not that many.
  [[nodiscard]] memory::Workload workload(const adapt::Adapter& adapter, std::vector<memory::Pass> passes,
                                          std::size_t prompts) const {
    memory::Workload out;
    for (std::size_t p = 0; p < prompts; ++p) out.prompts.push_back(&items_[p % items_.size()].prompt);
    out.passes = std::move(passes);
    out.num_generations = config_.rollout.num_generations;
    out.completion_length = config_.rollout.max_completion_length;
    out.with_reference = config_.objective.beta != 0;
    out.base_is_reference = adapter.base_is_reference() || config_.objective.reference == "base";
    const std::string& source = config_.objective.old_logprobs;
    const auto mini_batches = static_cast<std::size_t>(config_.train.num_mini_batches);
    out.scores_old = (source != "rollout" && needs_old_first(source, mini_batches)) ||
                     config_.objective.top_entropy_quantile < 1.0;
    return out;
  }

  // Memory is a line over the prompts of a pass, up to rounding: two points give it, a third confirms it.
  template <typename Peak>
  static std::int64_t largest_pass(std::int64_t memory, const Peak& peak) {
    constexpr std::int64_t kMostConfirmed = 64, kMost = 1'000'000;
    const std::int64_t one = peak(1), two = peak(2);
    if (one > memory) return 0;
    const std::int64_t slope = std::max<std::int64_t>(1, two - one);
    std::int64_t n = std::min(kMost, 1 + (memory - one) / slope);
    while (n > 1 && n <= kMostConfirmed && peak(static_cast<std::size_t>(n)) > memory) --n;
    return n;
  }

  const config::RunConfig& config_;
  memory::Ledger ledger_;
  std::int64_t process_;
  std::unique_ptr<plugin::Registry> registry_;
  std::unique_ptr<model::Model> model_;
  std::vector<PromptItem> items_;
};

// What is tried beside the configured combination.
std::vector<Combination> combinations(const config::RunConfig& config) {
  const nlohmann::json lora = config.peft.strategy == "lora" ? config.peft.params : nlohmann::json::object();
  nlohmann::json plain = lora, dora = lora;
  plain["use_dora"] = false;
  dora["use_dora"] = true;
  return {{"lora", with_strategy(config, "lora", plain)},
          {"lora, use_dora", with_strategy(config, "lora", dora)},
          {"full", with_strategy(config, "full", nlohmann::json::object())}};
}

}  // namespace

MemoryPlan plan_memory(const config::RunConfig& config, const SharedSamples& samples,
                       const PlanOptions& options) {
  Planner planner(config, samples);
  MemoryPlan plan = planner.describe();
  const config::CheckpointPolicyConfig& policy = config.checkpoint_policy;
  plan.cells.push_back(planner.cell({config.peft.strategy, config}, policy, options));
  if (!options.all_combinations) return plan;
  for (const Combination& combination : combinations(config)) {
    for (const std::string& name : planner.policies()) {
      try {
        config::CheckpointPolicyConfig other;
        other.name = name;
        if (name == policy.name) other.params = policy.params;
        plan.cells.push_back(planner.cell(combination, other, options));
      } catch (const std::exception& error) {
        plan.cells.push_back({combination.name, name, {}, error.what(), {}});
      }
    }
  }
  return plan;
}

std::optional<MemoryPlan> predict_memory(const config::RunConfig& config, const SharedSamples& samples) {
  try {
    return plan_memory(config, samples, {});
  } catch (const adapt::NeedsCalibration& error) {
    support::log_info(cat("memory is not predicted: ", error.what()));
    return std::nullopt;
  } catch (const support::UserError&) {
    throw;
  } catch (const std::exception& error) {  // a plugin or operator that reads values
    support::log_info(cat("memory is not predicted: ", error.what()));
    return std::nullopt;
  }
}

void add_predictions(nlohmann::ordered_json& row, const MemoryPlan& plan) {
  constexpr double kGib = 1024.0 * 1024.0 * 1024.0;
  for (const memory::PhaseEstimate& phase : plan.cells.front().estimate->phases) {
    if (!row.contains(cat("memory/", phase.name, "_gib"))) continue;
    row[cat("memory/", phase.name, "_predicted_gib")] = static_cast<double>(plan.process + phase.peak) / kGib;
  }
}

}  // namespace graft::train
