// SPDX-License-Identifier: Apache-2.0
#include "adapt/adapter.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/clone.h>

#include <utility>

#include "adapt/peft_config.h"
#include "adapt/peft_tensors.h"
#include "adapt/plan.h"
#include "adapt/strategy.h"
#include "support/error.h"
#include "support/files.h"
#include "support/log.h"
#include "support/strings.h"

namespace graft::adapt {
namespace {

// What adapter_config.json says of strategies that PEFT does not know: enough for graft to load them again.
constexpr const char* kStrategyKey = "graft_strategy";
constexpr const char* kParamsKey = "graft_params";

// A PEFT directory read as far as its strategy's parameters.
struct StoredAdapter {
  std::string strategy;
  nlohmann::json params;
  TargetSpec targets;
};

std::string refusals(const std::filesystem::path& directory, const std::string& text) {
  return support::cat(directory / "adapter_config.json", " cannot be used: ", text);
}

// Reads an adapter that must be of `strategy`, or of any one if that is empty.
StoredAdapter read_adapter(plugin::Registry& registry, const std::filesystem::path& directory,
                           const std::string& strategy) {
  const auto config = read_adapter_config(directory);
  StoredAdapter stored;
  stored.targets = target_spec(config, directory);
  const auto own = config.find(kStrategyKey);
  if (own != config.end() && own->is_string()) {
    stored.strategy = own->get<std::string>();
    stored.params = config.value(kParamsKey, nlohmann::json::object());
    if (strategy.empty() || strategy == stored.strategy) return stored;
    throw support::UserError(refusals(
        directory,
        support::cat("it was made by the strategy \"", stored.strategy, "\", but peft.strategy=", strategy)));
  }
  const auto text = config.dump();
  std::vector<std::string> reasons;
  const auto candidates = strategy.empty() ? registry.list(GRAFT_KIND_PEFT)
                                           : std::vector{registry.find(GRAFT_KIND_PEFT, strategy)};
  for (const auto& component : candidates) {
    std::string refusal;
    if (auto params = import_config(component, text, &refusal)) {
      stored.strategy = component.name;
      stored.params = std::move(*params);
      return stored;
    }
    reasons.push_back(support::cat("strategy \"", component.name, "\": ", refusal));
  }
  throw support::UserError(
      refusals(directory, reasons.empty() ? "there is no PEFT strategy" : support::join(reasons, "; ")));
}

// The file's parameters with the user's on top.
nlohmann::json override_params(nlohmann::json stored, const nlohmann::json& given,
                               const std::filesystem::path& directory) {
  for (const auto& [key, value] : given.items()) {
    if (stored.contains(key) && stored[key] != value) {
      support::log_warn(support::cat("peft.params.", key, "=", value.dump(), " is used instead of ",
                                     stored[key].dump(), ", which ", directory, " was trained with"));
    }
    stored[key] = value;
  }
  return stored;
}

// Puts other values into tensors for a scope. The tensors stay the same objects over other memory.
class SwappedValues {
 public:
  SwappedValues(const std::vector<at::Tensor>& tensors, const std::vector<at::Tensor>& values)
      : tensors_(tensors) {
    for (std::size_t i = 0; i < tensors_.size(); ++i) {
      current_.push_back(tensors_[i].detach());
      tensors_[i].set_data(values[i]);
    }
  }
  ~SwappedValues() {
    for (std::size_t i = 0; i < tensors_.size(); ++i) tensors_[i].set_data(current_[i]);
  }
  SwappedValues(const SwappedValues&) = delete;
  SwappedValues& operator=(const SwappedValues&) = delete;

 private:
  std::vector<at::Tensor> tensors_, current_;
};

}  // namespace

struct Adapter::State {
  State(model::Model& m, Strategy s) : model(m), strategy(std::move(s)) {}

  model::Model& model;
  Strategy strategy;
  Plan plan;
  bool is_warm = false;
  std::vector<at::Tensor> trained;    // of plan.tensors
  std::vector<at::Tensor> reference;  // their values at keep_reference()

  // Plans, allocates and hooks in.
  void attach(const std::vector<bool>& sites, const std::vector<bool>& params, std::uint64_t seed) {
    plan = make_plan(strategy, model.sites(), model.params(), sites, params, seed);
    for (const auto& tensor : plan.tensors) {
      if (tensor.is_trained) trained.push_back(tensor.tensor);
    }
  }

  void load(const std::filesystem::path& directory) {
    read_adapter_tensors(directory, plan.tensors, model.sites(), site_names(model.sites(), model.params()));
    is_warm = true;
  }
};

Adapter::Adapter(std::unique_ptr<State> state) : state_(std::move(state)) {
  state_->model.set_linear_hook(state_->plan.hook);
}

Adapter::~Adapter() {
  state_->model.set_linear_hook(nullptr);
}

std::unique_ptr<Adapter> Adapter::attach(model::Model& model, plugin::Registry& registry,
                                         const AttachOptions& options) {
  if (!options.adapter.empty()) {
    const auto stored = read_adapter(registry, options.adapter, options.strategy);
    const auto params = override_params(stored.params, options.params, options.adapter);
    auto state = std::make_unique<State>(model, Strategy(registry, stored.strategy, params));
    const auto names = site_names(model.sites(), model.params());
    state->attach(select_by_names(model.sites(), names, stored.targets),
                  std::vector<bool>(model.params().size(), false), options.seed);
    state->load(options.adapter);
    return std::unique_ptr<Adapter>(new Adapter(std::move(state)));
  }
  auto state = std::make_unique<State>(model, Strategy(registry, options.strategy, options.params));
  auto sites = std::vector<bool>(model.sites().size(), false);
  auto params = std::vector<bool>(model.params().size(), false);
  if (state->strategy.adapts_sites()) sites = select_sites(model.sites(), options.targets).sites;
  if (state->strategy.trains_base()) params = select_params(model.params(), options.targets);
  state->attach(sites, params, options.seed);
  return std::unique_ptr<Adapter>(new Adapter(std::move(state)));
}

std::unique_ptr<Adapter> Adapter::load(model::Model& model, plugin::Registry& registry,
                                       const std::filesystem::path& directory, std::uint64_t seed) {
  AttachOptions options;
  options.adapter = directory;
  options.seed = seed;
  return attach(model, registry, options);
}

const std::vector<AdapterTensor>& Adapter::tensors() const {
  return state_->plan.tensors;
}

std::int64_t Adapter::trained_parameters() const {
  std::int64_t count = 0;
  for (const auto& tensor : state_->trained) count += tensor.numel();
  return count;
}

std::string Adapter::summary() const {
  return summarize(state_->strategy, state_->plan, state_->model.sites(), state_->model.params());
}

const nlohmann::json& Adapter::resolved_params() const {
  return state_->strategy.params();
}

const std::string& Adapter::strategy() const {
  return state_->strategy.name();
}

bool Adapter::base_is_reference() const {
  return !state_->plan.trains_base && !state_->is_warm;
}

void Adapter::save(const std::filesystem::path& directory) const {
  const auto& model = state_->model;
  if (state_->plan.trains_base) {
    model.save(directory);
    return;
  }
  std::vector<std::string> adapted, modules;
  for (const auto site : state_->plan.sites) adapted.push_back(model.sites()[site].name);
  for (const auto& param : model.params()) modules.push_back(module_of(param.name));
  auto own = state_->strategy.export_config();
  if (!own)
    own = nlohmann::json{{kStrategyKey, strategy()}, {kParamsKey, resolved_params()}, {"peft_type", nullptr}};
  const auto config = adapter_config(*own, model.directory().string(), describe_targets(adapted, modules));

  support::AtomicDirectory target(directory);
  support::write_file_atomic(target.path() / "adapter_config.json", config.dump(2) + "\n");
  write_adapter_tensors(target.path(), state_->plan.tensors);
  target.commit();
}

void Adapter::keep_reference() {
  state_->reference.clear();
  for (const auto& tensor : state_->trained) state_->reference.push_back(tensor.detach().clone());
}

void Adapter::with_reference(const std::function<void()>& body) {
  if (state_->reference.size() != state_->trained.size()) {
    throw std::logic_error("Adapter::with_reference() without keep_reference()");
  }
  const SwappedValues swapped(state_->trained, state_->reference);
  body();
}

}  // namespace graft::adapt
