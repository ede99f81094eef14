// SPDX-License-Identifier: Apache-2.0
#include "adapt/adapter.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/clone.h>

#include <utility>

#include "adapt/adapter_state.h"
#include "adapt/swapped_values.h"
#include "support/error.h"
#include "support/strings.h"

namespace graft::adapt {
namespace {

// A new adapter of the user's choice.
std::unique_ptr<Attachment> attach_fresh(model::Model& model, plugin::Registry& registry,
                                         const AttachOptions& options, const BaseAdapters& base) {
  auto own = std::make_unique<Attachment>(model, Strategy(registry, options.strategy, options.params));
  own->modules_to_save = options.modules_to_save;
  own->ranks = options.rank_pattern;
  own->alphas = options.alpha_pattern;
  PlanInput input{model.sites(), model.params(), {}, {}, {}, {}, options.seed, &base};
  input.selected_sites = std::vector<bool>(model.sites().size(), false);
  if (own->strategy.adapts_sites()) {
    input.selected_sites = select_sites(model.sites(), options.targets).sites;
    if (own->strategy.trains_base()) {
      input.selected_params = params_of_sites(model.params(), model.sites(), input.selected_sites);
    }
  } else if (own->strategy.trains_base()) {
    input.selected_params = select_params(model.params(), options.targets);
  }
  input.calibration = options.calibration;
  input.calibrated = options.calibrated;
  input.may_calibrate = true;
  own->attach(std::move(input));
  return own;
}

}  // namespace

Adapter::Adapter(std::unique_ptr<State> state) : state_(std::move(state)) {
  for (const auto& tensor : state_->own->plan.tensors) {
    if (tensor.is_trained) state_->trained.push_back(tensor.tensor);
  }
  state_->own->model.set_linear_hook(state_->base.chain(state_->own->plan.hook));
}

Adapter::~Adapter() {
  state_->own->model.set_linear_hook(nullptr);
}

std::unique_ptr<Adapter> Adapter::attach(model::Model& model, plugin::Registry& registry,
                                         const AttachOptions& options) {
  auto state = std::make_unique<State>();
  state->base = BaseAdapters::load(model, registry, options.base_adapters);
  state->own = options.adapter.empty() ? attach_fresh(model, registry, options, state->base)
                                       : attach_stored(model, registry, options, state->base);
  const Plan& plan = state->own->plan;
  if (plan.trains_base && !state->base.empty()) {
    throw support::UserError(support::cat(
        "peft.base_adapters is set with peft.strategy=", state->own->strategy.name(),
        ", which trains the weights that they stand on; merge them into the model first (graft merge)"));
  }
  state->base.require_no_copies(model.params(), plan);
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
  return state_->own->plan.tensors;
}

std::int64_t Adapter::trained_parameters() const {
  std::int64_t count = 0;
  for (const auto& tensor : state_->trained) count += tensor.numel();
  return count;
}

std::string Adapter::summary() const {
  return summarize(state_->own->strategy, state_->own->plan, state_->own->model.sites(),
                   state_->own->model.params()) +
         state_->base.summary();
}

const nlohmann::json& Adapter::resolved_params() const {
  return state_->own->strategy.params();
}

const std::string& Adapter::strategy() const {
  return state_->own->strategy.name();
}

at::Tensor Adapter::regularization(std::int64_t step, std::int64_t total_steps) const {
  if (!state_->own->plan.hook || !state_->own->strategy.regularizes()) return {};
  return state_->own->strategy.regularize(state_->own->view(Grads::kNone, step, total_steps).raw());
}

void Adapter::before_update(std::int64_t step, std::int64_t total_steps) const {
  if (!state_->own->plan.hook || !state_->own->strategy.changes_updates()) return;
  const at::NoGradGuard no_grad;
  state_->own->strategy.before_update(state_->own->view(Grads::kLent, step, total_steps).raw());
}

void Adapter::after_update(std::int64_t step, std::int64_t total_steps) const {
  if (!state_->own->plan.hook || !state_->own->strategy.changes_updates()) return;
  const at::NoGradGuard no_grad;
  state_->own->strategy.after_update(state_->own->view(Grads::kLent, step, total_steps).raw());
}

bool Adapter::base_is_reference() const {
  return !state_->own->plan.trains_base && !state_->own->is_warm && state_->base.empty();
}

bool Adapter::is_model() const {
  return state_->own->plan.trains_base;
}

bool Adapter::is_calibrated() const {
  return state_->own->is_calibrated;
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
