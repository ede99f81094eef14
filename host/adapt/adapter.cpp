// SPDX-License-Identifier: Apache-2.0
#include "adapt/adapter.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/clone.h>

#include <utility>

#include "adapt/adapter_state.h"
#include "adapt/stored_adapter.h"

namespace graft::adapt {
namespace {

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
