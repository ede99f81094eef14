// SPDX-License-Identifier: Apache-2.0
#include "adapt/adapter.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/clone.h>
#include <ATen/ops/isfinite.h>

#include <map>
#include <set>
#include <utility>

#include "adapt/peft_config.h"
#include "adapt/peft_tensors.h"
#include "adapt/plan.h"
#include "adapt/strategy.h"
#include "adapt/values_view.h"
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
  SharedFields fields;
};

std::string refusals(const std::filesystem::path& directory, const std::string& text) {
  return support::cat(directory / "adapter_config.json", " cannot be used: ", text);
}

// Reads an adapter that must be of `strategy`, or of any one if that is empty.
StoredAdapter read_adapter(plugin::Registry& registry, const std::filesystem::path& directory,
                           const std::string& strategy) {
  const auto config = read_adapter_config(directory);
  StoredAdapter stored;
  stored.fields = shared_fields(config, directory);
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
  std::vector<std::string> modules_to_save;
  SitePatterns ranks, alphas;
  std::vector<at::Tensor> trained;    // of plan.tensors
  std::vector<at::Tensor> reference;  // their values at keep_reference()

  // Plans, allocates and hooks in.
  void attach(PlanInput input) {
    SavedModules saved = select_modules_to_save(model.params(), modules_to_save);
    input.saved_params = std::move(saved.params);
    if (!strategy.adapts_sites() && !modules_to_save.empty()) {
      throw support::UserError(support::cat("peft.modules_to_save has no effect with peft.strategy=",
                                            strategy.name(), ", which trains the model's own weights"));
    }
    modules_to_save = std::move(saved.names);
    for (std::size_t i = 0; i < model.sites().size(); ++i) {  // a copy needs no adapter
      if (input.saved_params[static_cast<std::size_t>(model.sites()[i].weight)])
        input.selected_sites[i] = false;
    }
    if (input.selected_params.empty()) input.selected_params.assign(model.params().size(), false);
    const auto names = site_names(model.sites(), model.params());
    require_used(ranks, strategy.takes_rank(), "peft.rank_pattern", names, input.selected_sites);
    require_used(alphas, strategy.takes_alpha(), "peft.alpha_pattern", names, input.selected_sites);
    for (const auto& site : names) {
      input.overrides.push_back({static_cast<std::int64_t>(ranks.value(site)), alphas.value(site)});
    }
    plan = make_plan(strategy, input);
    for (const auto& tensor : plan.tensors) {
      if (tensor.is_trained) trained.push_back(tensor.tensor);
    }
  }

  // A pattern that the strategy ignores, or that fits no selected site, would have no effect.
  void require_used(const SitePatterns& patterns, bool is_taken, const char* key,
                    const std::vector<std::vector<std::string>>& names, const std::vector<bool>& selected) {
    if (patterns.empty()) return;
    if (!is_taken) {
      throw support::UserError(support::cat(key, " has no effect with peft.strategy=", strategy.name(),
                                            ", which has no such value for each layer; leave it out"));
    }
    std::vector<std::vector<std::string>> adapted;
    for (std::size_t i = 0; i < names.size(); ++i) {
      if (selected[i]) adapted.push_back(names[i]);
    }
    const auto unused = patterns.unused(adapted);
    if (unused.empty()) return;
    throw support::UserError(
        support::cat(key, ": \"", unused.front(),
                     "\" fits none of the adapted layers; expected an expression for the end of a "
                     "layer's name, such as ",
                     adapted.empty() ? "q_proj" : adapted.front().front()));
  }

  void load(const std::filesystem::path& directory) {
    read_adapter_tensors(directory, plan.tensors, model.sites(), site_names(model.sites(), model.params()));
    is_warm = true;
  }

  [[nodiscard]] ModelView view(Grads grads = Grads::kNone, std::int64_t step = 0,
                               std::int64_t total_steps = 0) const {
    return {*plan.hook, model.sites(), model.params(), grads, step, total_steps};
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
  PlanInput input{model.sites(), model.params(), {}, {}, {}, {}, options.seed};
  if (!options.adapter.empty()) {
    auto stored = read_adapter(registry, options.adapter, options.strategy);
    const auto params = override_params(stored.params, options.params, options.adapter);
    auto state = std::make_unique<State>(model, Strategy(registry, stored.strategy, params));
    state->modules_to_save = stored.fields.modules_to_save;
    if (state->strategy.takes_rank()) state->ranks = stored.fields.rank_pattern;
    if (state->strategy.takes_alpha()) state->alphas = stored.fields.alpha_pattern;
    input.selected_sites =
        select_by_names(model.sites(), site_names(model.sites(), model.params()), stored.fields.targets);
    if (state->strategy.trains_base()) {
      input.selected_params = params_of_sites(model.params(), model.sites(), input.selected_sites);
    }
    state->attach(std::move(input));
    state->load(options.adapter);
    return std::unique_ptr<Adapter>(new Adapter(std::move(state)));
  }
  auto state = std::make_unique<State>(model, Strategy(registry, options.strategy, options.params));
  state->modules_to_save = options.modules_to_save;
  state->ranks = options.rank_pattern;
  state->alphas = options.alpha_pattern;
  input.selected_sites = std::vector<bool>(model.sites().size(), false);
  if (state->strategy.adapts_sites()) {
    input.selected_sites = select_sites(model.sites(), options.targets).sites;
    if (state->strategy.trains_base()) {
      input.selected_params = params_of_sites(model.params(), model.sites(), input.selected_sites);
    }
  } else if (state->strategy.trains_base()) {
    input.selected_params = select_params(model.params(), options.targets);
  }
  state->attach(std::move(input));
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

at::Tensor Adapter::regularization(std::int64_t step, std::int64_t total_steps) const {
  if (!state_->plan.hook) return {};
  return state_->strategy.regularize(state_->view(Grads::kNone, step, total_steps).raw());
}

void Adapter::before_update(std::int64_t step, std::int64_t total_steps) const {
  if (!state_->plan.hook || !state_->strategy.changes_updates()) return;
  const at::NoGradGuard no_grad;
  state_->strategy.before_update(state_->view(Grads::kLent, step, total_steps).raw());
}

void Adapter::after_update(std::int64_t step, std::int64_t total_steps) const {
  if (!state_->plan.hook || !state_->strategy.changes_updates()) return;
  const at::NoGradGuard no_grad;
  state_->strategy.after_update(state_->view(Grads::kLent, step, total_steps).raw());
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
  const at::NoGradGuard no_grad;
  std::vector<std::string> adapted, modules;
  for (const auto site : state_->plan.sites) adapted.push_back(model.sites()[site].name);
  for (const auto& param : model.params()) modules.push_back(module_of(param.name));
  auto own = state_->strategy.export_config(state_->view().raw());
  if (!own)
    own = nlohmann::json{{kStrategyKey, strategy()}, {kParamsKey, resolved_params()}, {"peft_type", nullptr}};
  auto config = adapter_config(*own, model.directory().string(), describe_targets(adapted, modules));
  if (!state_->modules_to_save.empty()) config["modules_to_save"] = state_->modules_to_save;
  write_patterns(config, state_->plan.hook->adapted());

  support::AtomicDirectory target(directory);
  support::write_file_atomic(target.path() / "adapter_config.json", config.dump(2) + "\n");
  write_adapter_tensors(target.path(), stored_tensors(), model.sites(),
                        site_names(model.sites(), model.params()));
  target.commit();
}

std::vector<AdapterTensor> Adapter::stored_tensors() const {
  const auto& plan = state_->plan;
  std::vector<AdapterTensor> stored;
  std::set<std::int64_t> exported;  // sites whose tensors the strategy names itself
  for (const AdaptedSite* site : plan.hook->adapted()) {
    const model::Site& layer = state_->model.sites()[site->index];
    const at::Tensor bias =
        layer.bias < 0 ? at::Tensor() : state_->model.params()[static_cast<std::size_t>(layer.bias)].tensor;
    const Float32Site values(*site, plan.hook->shared(),
                             state_->model.params()[static_cast<std::size_t>(layer.weight)].tensor, bias);
    auto tensors = state_->strategy.export_tensors(values.raw());
    if (!tensors) break;
    exported.insert(site->index);
    for (auto& [name, tensor] : *tensors) {
      AdapterTensor item;
      item.name = support::cat(layer.name, '.', name);
      item.tensor = std::move(tensor);
      item.site = site->index;
      stored.push_back(std::move(item));
    }
  }
  for (const auto& tensor : plan.tensors) {
    const bool is_named = !tensor.is_base && tensor.site >= 0 && exported.count(tensor.site) > 0;
    if (tensor.is_saved && !is_named) stored.push_back(tensor);
  }
  return stored;
}

void Adapter::save_merged(const std::filesystem::path& directory) const {
  const auto& model = state_->model;
  std::map<std::uint32_t, at::Tensor> merged;
  const at::NoGradGuard no_grad;
  for (const auto& tensor : state_->plan.tensors) {
    if (!tensor.is_copy) continue;
    for (std::uint32_t i = 0; i < model.params().size(); ++i) {
      if (model.params()[i].name == tensor.name) merged[i] = tensor.tensor.detach();
    }
  }
  const auto current = [&](std::int32_t param) {
    const auto found = merged.find(static_cast<std::uint32_t>(param));
    return found == merged.end() ? model.params()[static_cast<std::size_t>(param)].tensor : found->second;
  };
  for (const AdaptedSite* site :
       state_->plan.hook ? state_->plan.hook->adapted() : std::vector<const AdaptedSite*>()) {
    const model::Site& layer = model.sites()[site->index];
    const Float32Site values(*site, state_->plan.hook->shared(), current(layer.weight),
                             layer.bias < 0 ? at::Tensor() : current(layer.bias));
    auto [weight, bias] = state_->strategy.merge(values.raw());
    if (bias.defined() && layer.bias < 0) {
      throw support::UserError(support::cat("the adapter adds a bias to ", layer.name,
                                            ", which has none to merge it into; use the adapter as it is"));
    }
    merged[static_cast<std::uint32_t>(layer.weight)] = std::move(weight);
    if (bias.defined()) merged[static_cast<std::uint32_t>(layer.bias)] = std::move(bias);
  }
  for (auto& [index, tensor] : merged) {
    if (!tensor.isfinite().all().item<bool>()) {
      throw support::UserError(support::cat("the merged ", model.params()[index].name,
                                            " has elements that are not finite; the adapter is damaged"));
    }
    tensor = tensor.to(model.params()[index].tensor.scalar_type());
  }
  model.save(directory, merged);
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
