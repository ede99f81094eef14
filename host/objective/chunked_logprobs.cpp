// SPDX-License-Identifier: Apache-2.0
#include "objective/chunked_logprobs.h"

#include <ATen/Context.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/exp.h>
#include <ATen/ops/logsumexp.h>
#include <ATen/ops/tensor.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <mutex>
#include <stdexcept>
#include <utility>

#include "model/hooks.h"

namespace graft::objective {

namespace {

// Stands for a banned token's logit: its probability is exactly 0, and so is probability times
// log-probability, which -inf would turn into NaN.
constexpr double kBannedLogit = -1e30;

at::Tensor random_state(const at::Device& device) {
  at::Generator generator = at::globalContext().defaultGenerator(device);
  const std::lock_guard<std::mutex> lock(generator.mutex());
  return generator.get_state();
}

void set_random_state(const at::Device& device, const at::Tensor& state) {
  at::Generator generator = at::globalContext().defaultGenerator(device);
  const std::lock_guard<std::mutex> lock(generator.mutex());
  generator.set_state(state);
}

// While it lives, the default generator continues from `state`; afterwards from where it was. Does nothing if
// `state` is undefined.
class Replay {
 public:
  Replay(const at::Device& device, const at::Tensor& state) : device_(device) {
    if (!state.defined()) return;
    before_ = random_state(device);
    set_random_state(device, state);
  }
  ~Replay() {
    if (before_.defined()) set_random_state(device_, before_);
  }
  Replay(const Replay&) = delete;
  Replay& operator=(const Replay&) = delete;

 private:
  at::Device device_;
  at::Tensor before_;
};

// What forward and backward share. Backward holds it by a capsule, the one way to give an autograd function a
// C++ object.
struct Recipe : torch::CustomClassHolder {
  Head head;
  ChunkedOptions options;
  at::Tensor random_state;  // of the default generator before the first chunk

  // Logits of the distribution that is scored: a copy in full precision, without autograd.
  [[nodiscard]] at::Tensor scored_logits(const at::Tensor& logits, bool may_overwrite) const {
    const auto precision = logits.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
    at::Tensor scored = logits.detach().to(precision, /*non_blocking=*/false, /*copy=*/!may_overwrite);
    if (options.temperature != 1.0) scored.div_(options.temperature);
    if (!options.banned_ids.empty()) {
      scored.index_fill_(1, at::tensor(options.banned_ids, at::kLong).to(scored.device()), kBannedLogit);
    }
    return scored;  // [n, V]
  }
};

using RecipePtr = c10::intrusive_ptr<Recipe>;

struct Scores {
  at::Tensor logprobs, lse, entropy, correct;  // [N]
};

Scores score_chunks(const Recipe& recipe, const at::Tensor& hidden, const at::Tensor& ids) {
  const at::NoGradGuard no_grad;
  std::vector<at::Tensor> logprobs, lses, entropies, correct;
  for (std::int64_t begin = 0; begin < hidden.size(0); begin += recipe.options.chunk_rows) {
    const std::int64_t rows = std::min(recipe.options.chunk_rows, hidden.size(0) - begin);
    at::Tensor scored = recipe.scored_logits(recipe.head(hidden.narrow(0, begin, rows)), true);  // [n, V]
    if (recipe.options.with_correct) correct.push_back(scored.argmax(1).eq(ids.narrow(0, begin, rows)));
    const at::Tensor lse = at::logsumexp(scored, {1});
    logprobs.push_back(scored.gather(1, ids.narrow(0, begin, rows).unsqueeze(1)).squeeze(1) - lse);
    lses.push_back(lse);
    if (recipe.options.with_entropy) {
      const at::Tensor log_p = scored.sub_(lse.unsqueeze(1));
      entropies.push_back(-(at::exp(log_p).mul_(log_p)).sum(1));  // -Σ p log p
    }
  }
  const auto joined = [](const std::vector<at::Tensor>& parts) {
    return parts.empty() ? at::Tensor() : at::cat(parts);
  };
  return {joined(logprobs), joined(lses), joined(entropies), joined(correct)};
}

// Gradients of hidden rows and of `trained`, chunk by chunk: the head runs again, and
// ∂ log p[id] / ∂ logit[j] = ([j = id] - p[j]) / temperature.
std::vector<at::Tensor> chunk_gradients(const Recipe& recipe, const at::Tensor& hidden, const at::Tensor& ids,
                                        const at::Tensor& lse, const at::Tensor& grad,
                                        const std::vector<at::Tensor>& trained) {
  const at::AutoGradMode with_grad(true);
  const at::Tensor weights = grad / recipe.options.temperature;                   // [N]
  at::Tensor hidden_grad = at::empty_like(hidden, at::MemoryFormat::Contiguous);  // [N, D]
  std::vector<at::Tensor> sums(trained.size());
  for (std::int64_t begin = 0; begin < hidden.size(0); begin += recipe.options.chunk_rows) {
    const std::int64_t rows = std::min(recipe.options.chunk_rows, hidden.size(0) - begin);
    std::vector<at::Tensor> inputs = {hidden.narrow(0, begin, rows).detach().requires_grad_(true)};
    inputs.insert(inputs.end(), trained.begin(), trained.end());
    const at::Tensor logits = recipe.head(inputs.front());  // [n, V]
    at::Tensor grad_logits;
    {
      const at::NoGradGuard no_grad;
      const at::Tensor weight = weights.narrow(0, begin, rows).unsqueeze(1);
      grad_logits = recipe.scored_logits(logits, false);
      grad_logits.sub_(lse.narrow(0, begin, rows).unsqueeze(1)).exp_().mul_(-weight);
      grad_logits.scatter_add_(1, ids.narrow(0, begin, rows).unsqueeze(1), weight);
      grad_logits = grad_logits.to(logits.scalar_type());
    }
    const auto grads = torch::autograd::grad({logits}, inputs, {grad_logits}, /*retain_graph=*/std::nullopt,
                                             /*create_graph=*/false, /*allow_unused=*/true);
    const at::NoGradGuard no_grad;
    at::Tensor rows_grad = hidden_grad.narrow(0, begin, rows);
    grads[0].defined() ? rows_grad.copy_(grads[0]) : rows_grad.zero_();
    for (std::size_t i = 0; i < trained.size(); ++i) {
      if (!grads[i + 1].defined()) continue;
      sums[i].defined() ? sums[i].add_(grads[i + 1]) : sums[i] = grads[i + 1].clone();
    }
  }
  std::vector<at::Tensor> results = {hidden_grad};
  results.insert(results.end(), sums.begin(), sums.end());
  return results;
}

// Scores were computed before, since running the head is what tells which tensors it uses; forward() only
// hands them on.
class ChunkedNode : public torch::autograd::Function<ChunkedNode> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& hidden,
                            at::TensorList trained, const at::Tensor& ids, const Scores& scores,
                            const RecipePtr& recipe) {
    std::vector<at::Tensor> saved = {hidden, ids, scores.lse};
    saved.insert(saved.end(), trained.begin(), trained.end());
    context->save_for_backward(std::move(saved));
    context->saved_data["recipe"] = c10::IValue::make_capsule(recipe);
    return scores.logprobs;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 const torch::autograd::variable_list& grads) {
    const auto saved = context->get_saved_variables();
    const auto holder = context->saved_data["recipe"].toCapsule();
    const auto& recipe = static_cast<const Recipe&>(*holder);
    const std::vector<at::Tensor> trained(saved.begin() + 3, saved.end());
    const Replay replay(saved[0].device(), recipe.random_state);
    torch::autograd::variable_list results =
        chunk_gradients(recipe, saved[0], saved[1], saved[2], grads[0], trained);
    results.resize(results.size() + 3);  // ids, scores and recipe take no gradient
    return results;
  }
};

}  // namespace

std::int64_t chunk_rows_for(std::int64_t vocab_size) {
  constexpr std::int64_t kBytes = 56 << 20, kFewest = 16, kMost = 256;
  const std::int64_t row =
      3 * static_cast<std::int64_t>(sizeof(float)) * std::max<std::int64_t>(vocab_size, 1);
  return std::clamp(kBytes / row, kFewest, kMost);
}

ChunkedLogprobs chunked_logprobs(const at::Tensor& hidden, const at::Tensor& ids, const Head& head,
                                 const ChunkedOptions& options) {
  if (hidden.dim() != 2 || ids.dim() != 1 || hidden.size(0) != ids.size(0)) {
    throw std::invalid_argument("chunked_logprobs: expected hidden [N, D] and ids [N]");
  }
  if (options.chunk_rows < 1 || !(options.temperature > 0.0)) {
    throw std::invalid_argument("chunked_logprobs: chunk_rows and temperature must be positive");
  }
  if (hidden.size(0) == 0) {
    const auto precision = hidden.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
    const at::Tensor none = at::empty({0}, hidden.options().dtype(precision));
    return {none, options.with_entropy ? none : at::Tensor(),
            options.with_correct ? none.to(at::kBool) : at::Tensor()};
  }
  auto recipe = c10::make_intrusive<Recipe>();
  recipe->head = head;
  recipe->options = options;
  if (options.has_random_head && !hidden.is_meta()) recipe->random_state = random_state(hidden.device());
  model::TouchedTensors touched;
  const Scores scores = score_chunks(*recipe, hidden.detach(), ids);
  const bool needs_grad =
      at::GradMode::is_enabled() && (hidden.requires_grad() || !touched.tensors().empty());
  if (!needs_grad) return {scores.logprobs, scores.entropy, scores.correct};
  return {ChunkedNode::apply(hidden, at::TensorList(touched.tensors()), ids, scores, recipe), scores.entropy,
          scores.correct};
}

}  // namespace graft::objective
