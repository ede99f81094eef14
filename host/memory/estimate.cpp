// SPDX-License-Identifier: Apache-2.0
#include "memory/estimate.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>

#include "adapt/optimizer.h"
#include "memory/meta_kernels.h"
#include "model/kv_cache.h"
#include "model/packed_input.h"
#include "objective/chunked_logprobs.h"
#include "objective/logprobs.h"

namespace graft::memory {

namespace {

constexpr const char* kWeights = "weights";
constexpr const char* kAdapters = "adapters";
constexpr const char* kGradients = "gradients";
constexpr const char* kOptimizer = "optimizer state";
constexpr const char* kReference = "reference copy";
constexpr const char* kImages = "images";
constexpr const char* kFeatures = "image features";
constexpr const char* kCache = "KV cache";
constexpr const char* kPass = "activations, between segments";
constexpr const char* kBackward = "backward, temporary";
constexpr const char* kTemporary = "temporary";
const std::string kSegment = "activations, ";

// Runs segments as `inner` does, and labels what they allocate with the outermost one.
class LabelHook final : public model::SegmentHook {
 public:
  LabelHook(Ledger& ledger, const std::vector<model::Segment>& segments,
            std::shared_ptr<model::SegmentHook> inner)
      : ledger_(ledger), segments_(segments), inner_(std::move(inner)) {}

  std::vector<at::Tensor> run(std::uint32_t segment, const model::SegmentBody& body,
                              const std::vector<at::Tensor>& inputs) override {
    if (!at::GradMode::is_enabled() || is_inside_) return inner_->run(segment, body, inputs);
    const model::Segment* outermost = &segments_[segment];
    while (outermost->parent >= 0) outermost = &segments_[static_cast<std::size_t>(outermost->parent)];
    const Ledger::Scope label(ledger_, kSegment + outermost->name);
    return inner_->run(segment, body, inputs);
  }

  // Backward begins or ends: what recomputed segments allocate is not kept, and keeps the caller's label.
  void set_backward(bool is_inside) { is_inside_ = is_inside; }

 private:
  Ledger& ledger_;
  const std::vector<model::Segment>& segments_;
  std::shared_ptr<model::SegmentHook> inner_;
  bool is_inside_ = false;  // backward
};

// Labels gradients as they come, while it lives, and drops them in the end.
class GradientLabels {
 public:
  GradientLabels(Ledger& ledger, const std::vector<at::Tensor>& trained) {
    for (const at::Tensor& tensor : trained) {
      hooks_.emplace_back(tensor, tensor.register_hook([&ledger](const at::Tensor& grad) {
        ledger.relabel(grad, kGradients);
      }));
    }
  }
  ~GradientLabels() {
    for (auto& [tensor, hook] : hooks_) {
      tensor.remove_hook(hook);
      tensor.mutable_grad().reset();
    }
  }
  GradientLabels(const GradientLabels&) = delete;
  GradientLabels& operator=(const GradientLabels&) = delete;

 private:
  std::vector<std::pair<at::Tensor, unsigned>> hooks_;
};

std::int64_t bytes_of(const at::Tensor& tensor) {
  return static_cast<std::int64_t>(tensor.nbytes());
}

// One step over a workload.
class Step {
 public:
  Step(Ledger& ledger, model::Model& model, adapt::Adapter& adapter, const std::vector<Decision>& decisions,
       const Workload& workload)
      : ledger_(ledger),
        model_(model),
        adapter_(adapter),
        workload_(workload),
        completion_(static_cast<std::size_t>(workload.completion_length), 0),
        hook_(std::make_shared<LabelHook>(ledger, model.segments(), recompute_hook(decisions))) {
    model.set_segment_hook(hook_);
  }
  ~Step() { model_.set_segment_hook(nullptr); }
  Step(const Step&) = delete;
  Step& operator=(const Step&) = delete;

  Estimate run() {
    account_for_trained();
    const Ledger::Scope rest(ledger_, kTemporary);
    const ImageBytes images(*this);
    if (workload_.with_rollout) {
      phase("rollout", [&] { rollout(); });
    }
    if (workload_.with_reference) {
      phase("reference", [&] {
        objective::LogprobOptions options;
        options.pass.allow_recompute = false;
        options.pass.adapters_enabled = !workload_.base_is_reference;
        score(options);
      });
    }
    phase("update", [&] { update(); });
    measure_head();
    return std::move(out_);
  }

 private:
  // The pixels that prompts hold, which are on the CPU.
  struct ImageBytes {
    explicit ImageBytes(Step& step) : ledger(step.ledger_) {
      for (const model::Prompt* prompt : step.workload_.prompts) {
        for (const model::PreparedImage& image : prompt->images) bytes += bytes_of(image.values);
      }
      ledger.add(kImages, bytes);
    }
    ~ImageBytes() { ledger.add(kImages, -bytes); }
    ImageBytes(const ImageBytes&) = delete;
    ImageBytes& operator=(const ImageBytes&) = delete;
    Ledger& ledger;
    std::int64_t bytes = 0;
  };

  template <typename Body>
  void phase(const char* name, const Body& body) {
    ledger_.reset_peak();
    body();
    out_.phases.push_back({name, ledger_.peak(), ledger_.at_peak()});
  }

  // Weights, adapters, and what the trainer makes of them before the first step.
  void account_for_trained() {
    std::vector<adapt::AdapterTensor> trained;
    for (const adapt::AdapterTensor& item : adapter_.tensors()) {
      ledger_.relabel(item.tensor, item.is_base && !item.is_copy ? kWeights : kAdapters);
      if (!item.is_trained) continue;
      trained.push_back(item);
      trained_.push_back(item.tensor);
      out_.gradients += bytes_of(item.tensor);
    }
    {
      const Ledger::Scope label(ledger_, kOptimizer);
      optimizer_.emplace(std::move(trained), adapt::OptimizerOptions{});
    }
    if (workload_.with_reference && !workload_.base_is_reference) {
      const Ledger::Scope label(ledger_, kReference);
      adapter_.keep_reference();
    }
    auto now = ledger_.now();
    out_.weights = now[kWeights];
    out_.adapters = now[kAdapters];
    out_.optimizer = now[kOptimizer];
    out_.reference = now[kReference];
  }

  // Vision features of some of the prompts, as the trainer computes them.
  std::vector<at::Tensor> encode(std::size_t first, std::size_t count, const model::PassOptions& pass) const {
    const auto begin = workload_.prompts.begin() + static_cast<std::ptrdiff_t>(first);
    return model::encode_prompt_images(model_, {begin, begin + static_cast<std::ptrdiff_t>(count)}, pass);
  }

  void rollout() {
    const at::NoGradGuard no_grad;
    {
      const Ledger::Scope label(ledger_, kFeatures);
      features_ = encode(0, workload_.prompts.size(), {});
    }
    std::vector<std::int64_t> lengths, last_rows;
    std::vector<model::PackedSequences> sequences;
    std::int64_t end = 0;
    for (std::size_t p = 0; p < workload_.prompts.size(); ++p) {
      lengths.push_back(static_cast<std::int64_t>(workload_.prompts[p]->ids.size()));
      sequences.push_back({workload_.prompts[p], features_[p], {}});
      end += lengths.back();
      last_rows.push_back(end - 1);
    }
    constexpr model::PassOptions kEvaluation = {
        .is_training = false, .adapters_enabled = true, .allow_recompute = false};
    model::KvCache cache(model_.attention_layers(), lengths);
    const std::int64_t before = ledger_.current();
    {
      const auto input = model::pack_input(sequences, model_.position_rank());
      const at::Tensor hidden = model_.decode(input, cache.prefill(), kEvaluation);
      const at::Tensor rows = hidden.index_select(0, at::tensor(last_rows, at::kLong).to(hidden.device()));
      sample(model_.head(rows, kEvaluation));
    }
    if (workload_.completion_length > 1) {
      const Ledger::Scope label(ledger_, kCache);
      cache.start_rows(workload_.num_generations, workload_.completion_length - 1);
    }
    out_.kv_cache = ledger_.current() - before;
    const std::int64_t steps = workload_.completion_length - 1;
    for (std::int64_t position = 0; position < steps; ++position) {
      if (position == 0 || position + 1 == steps) sample(decode_step(cache, kEvaluation));
      cache.advance();  // the steps between differ from these in nothing that counts
    }
  }

  at::Tensor decode_step(model::KvCache& cache, const model::PassOptions& pass) const {
    const auto rows = static_cast<std::int64_t>(cache.active_rows().size());
    model::DecoderInput input;
    input.ids = at::zeros({rows}, at::kLong);
    input.positions =
        at::zeros({1}, at::kLong).expand({static_cast<std::int64_t>(model_.position_rank()), rows});
    return model_.head(model_.decode(input, cache.step(), pass), pass);
  }

  // rollout::sample_tokens() makes scores and probabilities, in float32, of the logits.
  static void sample(const at::Tensor& logits) {
    const at::Tensor scores = at::empty_like(logits, logits.options().dtype(at::kFloat));
    (void)at::empty_like(scores);
  }

  objective::TokenLogprobs logprobs(const Pass& pass, const objective::LogprobOptions& options) const {
    const bool is_trained = model_.trains_vision();
    const std::vector<at::Tensor> encoded = is_trained || features_.empty()
                                                ? encode(pass.first, pass.count, options.pass)
                                                : std::vector<at::Tensor>();
    std::vector<objective::ScoredGroup> groups;
    for (std::size_t p = 0; p < pass.count; ++p) {
      objective::ScoredGroup group;
      group.prompt = workload_.prompts[pass.first + p];
      group.image_values = encoded.empty() ? features_[pass.first + p] : encoded[p];
      group.completions.assign(static_cast<std::size_t>(workload_.num_generations), completion_);
      groups.push_back(std::move(group));
    }
    objective::LogprobOptions scored = options;
    scored.ban_image_tokens = true;
    return objective::completion_logprobs(model_, groups, scored);
  }

  // Passes without gradients, whose log-probabilities stay.
  void score(const objective::LogprobOptions& options) {
    const at::NoGradGuard no_grad;
    for (const Pass& pass : workload_.passes) kept_.push_back(logprobs(pass, options).logprobs);
  }

  void update() {
    if (workload_.scores_old) {
      objective::LogprobOptions options;
      options.pass.allow_recompute = false;
      score(options);
    }
    const GradientLabels labels(ledger_, trained_);
    for (const Pass& pass : workload_.passes) {
      const Ledger::Scope label(ledger_, kPass);
      objective::LogprobOptions options;
      options.with_entropy = true;
      options.pass.is_training = true;
      const objective::TokenLogprobs scored = logprobs(pass, options);
      note_activations();
      const Ledger::Scope backward(ledger_, kBackward);
      hook_->set_backward(true);
      scored.logprobs.sum().backward();
      hook_->set_backward(false);
      kept_.push_back(scored.logprobs.detach());
      kept_.push_back(scored.entropy);
    }
  }

  // Of the pass that keeps most.
  void note_activations() {
    std::map<std::string, std::int64_t> kept;
    for (const auto& [name, bytes] : ledger_.now()) {
      if (name == kPass) kept["between segments"] += bytes;
      if (name != kPass && name.starts_with(kSegment)) kept[name.substr(kSegment.size())] += bytes;
    }
    const auto total = [](const auto& map) {
      std::int64_t sum = 0;
      for (const auto& entry : map) sum += entry.second;
      return sum;
    };
    if (total(kept) > total(out_.activations)) out_.activations = std::move(kept);
  }

  // The head alone, over the rows of the largest pass.
  void measure_head() {
    std::size_t prompts = 0;
    for (const Pass& pass : workload_.passes) prompts = std::max(prompts, pass.count);
    const std::int64_t rows =
        static_cast<std::int64_t>(prompts) * workload_.num_generations * workload_.completion_length;
    const auto like = model_.params().front().tensor.options();
    at::Tensor hidden = at::empty({rows, model_.hidden_size()}, like).requires_grad_();
    ledger_.reset_peak();
    const std::int64_t before = ledger_.current();
    objective::ChunkedOptions options;
    options.with_entropy = true;
    options.chunk_rows = objective::chunk_rows_for(model_.vocab_size());
    const model::PassOptions pass{.is_training = true};
    const auto head = [&](const at::Tensor& x) { return model_.head(x, pass); };
    const auto scored = objective::chunked_logprobs(hidden, at::zeros({rows}, at::kLong), head, options);
    scored.logprobs.sum().backward();
    for (const at::Tensor& tensor : trained_) tensor.mutable_grad().reset();
    out_.head = ledger_.peak() - before;
  }

  Ledger& ledger_;
  model::Model& model_;
  adapt::Adapter& adapter_;
  const Workload& workload_;
  std::vector<std::int64_t> completion_;
  std::shared_ptr<LabelHook> hook_;
  std::vector<at::Tensor> trained_, features_, kept_;
  std::optional<adapt::AdamW> optimizer_;
  Estimate out_;
};

}  // namespace

std::int64_t Estimate::peak() const {
  std::int64_t most = 0;
  for (const PhaseEstimate& phase : phases) most = std::max(most, phase.peak);
  return most;
}

std::int64_t Estimate::activation_bytes() const {
  std::int64_t sum = 0;
  for (const auto& entry : activations) sum += entry.second;
  return sum;
}

Estimate estimate(Ledger& ledger, model::Model& model, adapt::Adapter& adapter,
                  const std::vector<Decision>& decisions, const Workload& workload) {
  register_meta_kernels();
  return Step(ledger, model, adapter, decisions, workload).run();
}

}  // namespace graft::memory
