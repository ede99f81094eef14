// SPDX-License-Identifier: Apache-2.0
#include "doctor/grads.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/repeat_interleave.h>
#include <ATen/ops/tensor.h>
#include <graft/checkpoint_policy.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <memory>
#include <utility>

#include "memory/recompute.h"
#include "memory/segment_costs.h"
#include "objective/logprobs.h"
#include "support/random.h"
#include "train/calibration.h"
#include "train/phases.h"
#include "train/prompt_source.h"
#include "train/session.h"
#include "train/update.h"

namespace graft::doctor {

namespace {

using adapt::AdapterTensor;

constexpr double kNoise = 0.02;
constexpr double kExact = 1e-6;    // float32
constexpr double kMixed = 0x1p-7;  // bfloat16 rounds to 2⁻⁸

// Prompts with completions of random tokens.
struct Batch {
  std::vector<train::PromptItem> items;
  std::vector<std::vector<std::int64_t>> completions;  // num_generations a prompt
  std::vector<double> weights;                         // of the completions, +1 and -1
  std::size_t num_generations = 1;
  memory::PassSize size;

  [[nodiscard]] bool has_images() const {
    return std::any_of(items.begin(), items.end(),
                       [](const auto& item) { return !item.prompt.images.empty(); });
  }
};

Batch make_batch(const model::Model& model, const config::RunConfig& config,
                 const train::PromptSource& source) {
  Batch batch;
  std::int64_t position = 0, skipped = 0;
  batch.items =
      source.draw(static_cast<std::size_t>(config.train.prompts_per_micro_batch()), &position, &skipped);
  batch.num_generations = static_cast<std::size_t>(config.rollout.num_generations);
  const auto& banned = model.image_token_ids();
  for (std::size_t i = 0; i < batch.items.size() * batch.num_generations; ++i) {
    support::KeyedRandom random(static_cast<std::uint64_t>(config.seed), {support::hash_string("doctor"), i});
    std::vector<std::int64_t>& ids = batch.completions.emplace_back();
    while (ids.size() < static_cast<std::size_t>(config.rollout.max_completion_length)) {
      const auto id =
          static_cast<std::int64_t>(random.next() % static_cast<std::uint64_t>(model.vocab_size()));
      if (std::find(banned.begin(), banned.end(), id) == banned.end()) ids.push_back(id);
    }
    batch.weights.push_back(i % 2 == 0 ? 1.0 : -1.0);
    batch.size.tokens += static_cast<std::int64_t>(ids.size()) - 1;
  }
  for (const train::PromptItem& item : batch.items) {
    batch.size.tokens += static_cast<std::int64_t>(item.prompt.ids.size());
    for (const model::PreparedImage& image : item.prompt.images) batch.size.patches += image.values.size(0);
  }
  return batch;
}

// Which trained tensors segments use, and which are used before any segment of the decoder.
class ObservingHook final : public model::SegmentHook {
 public:
  explicit ObservingHook(const std::vector<model::Segment>& segments) : segments_(segments) {}

  std::vector<at::Tensor> run(std::uint32_t segment, const model::SegmentBody& body,
                              const std::vector<at::Tensor>& inputs) override {
    const model::TouchedTensors touched;
    std::vector<at::Tensor> outputs = body(inputs);
    for (const at::Tensor& tensor : touched.tensors()) {
      inside_[tensor.unsafeGetTensorImpl()] = segments_[segment].component;
    }
    return outputs;
  }

  // Sorts a tensor that no segment used by component; the decoder's own are the embedding, and the norm behind the layers.
  void count(const AdapterTensor& tensor, bool is_matrix, TrainedParts& parts) const {
    const auto at = inside_.find(tensor.tensor.unsafeGetTensorImpl());
    const bool is_inside = at != inside_.end();
    const std::int32_t component = is_inside ? at->second : tensor.component;
    if (component == GRAFT_COMPONENT_VISION) {
      ++(is_inside ? parts.vision_layers : parts.patch_embedding);
    } else if (component == GRAFT_COMPONENT_PROJECTOR) {
      ++parts.projector;
    } else if (is_inside) {
      ++parts.language_layers;
    } else {
      ++(component == GRAFT_COMPONENT_LANGUAGE && is_matrix ? parts.token_embedding : parts.behind);
    }
  }

 private:
  const std::vector<model::Segment>& segments_;
  std::map<const void*, std::int32_t> inside_;  // component of the segment
};

class Comparison {
 public:
  Comparison(const config::RunConfig& config, std::vector<data::Sample> samples)
      : config_(config),
        session_(train::open_training(config, /*with_rewards=*/false)),
        source_(*session_.model, config.data, std::move(samples), static_cast<std::uint64_t>(config.seed)),
        batch_(make_batch(*session_.model, config, source_)) {
    state_.seed = static_cast<std::uint64_t>(config.seed);
    train::attach_adapter(session_, config,
                          train::calibration_data(*session_.model, source_, config, config::kTrain), {});
    leave_start();
  }

  GradsReport run() {
    GradsReport report;
    report.strategy = config_.peft.strategy;
    const bool is_configured = config_.checkpoint_policy.name != "none";
    config::CheckpointPolicyConfig policy = config_.checkpoint_policy;
    if (!is_configured) policy.name = "full";
    report.policy = policy.name;
    report.tokens = batch_.size.tokens;
    report.tolerance = session_.model->compute_dtype() == at::kFloat ? kExact : kMixed;

    const auto observer = std::make_shared<ObservingHook>(session_.model->segments());
    session_.model->set_segment_hook(observer);
    report.loss_without = pass(report.without);
    const std::vector<at::Tensor> before = take_gradients();
    session_.model->set_segment_hook(memory::recompute_hook(
        train::checkpoint_decisions(*session_.registry, *session_.model, policy, batch_.size)));
    report.loss_with = pass(report.with);
    compare(before, take_gradients(), report);

    for (const AdapterTensor& tensor : session_.adapter->tensors()) {
      if (tensor.is_trained) observer->count(tensor, tensor.tensor.dim() >= 2, report.parts);
    }
    report.parts.has_images = batch_.has_images();
    report.history = historical_cases(report.parts);
    return report;
  }

 private:
  // A fresh adapter's update is zero, and then so are the gradients of half of its tensors, in which nothing could be seen.
  void leave_start() const {
    const at::NoGradGuard no_grad;
    for (const AdapterTensor& tensor : session_.adapter->tensors()) {
      if (!tensor.is_trained || tensor.is_base) continue;
      support::KeyedRandom random(state_.seed,
                                  {support::hash_string("doctor"), support::hash_string(tensor.name)});
      at::Tensor noise = at::empty(tensor.tensor.sizes(), at::kFloat);
      auto* const values = noise.mutable_data_ptr<float>();
      for (std::int64_t i = 0; i < noise.numel(); ++i)
        values[i] = static_cast<float>(kNoise * random.normal());
      tensor.tensor.add_(noise.to(tensor.tensor.device()));
    }
  }

  // Forward and backward; the loss.
  double pass(PassCost& cost) const {
    train::reset_peak_memory();
    const auto start = std::chrono::steady_clock::now();
    train::seed_dropout(state_, 0);
    objective::LogprobOptions options;
    options.pass.is_training = true;
    options.temperature = config_.rollout.temperature > 0 ? config_.rollout.temperature : 1.0;
    options.ban_image_tokens = config_.rollout.ban_image_tokens;
    std::vector<const model::Prompt*> prompts;
    for (const train::PromptItem& item : batch_.items) prompts.push_back(&item.prompt);
    const std::vector<at::Tensor> features =
        model::encode_prompt_images(*session_.model, prompts, options.pass);
    std::vector<objective::ScoredGroup> groups;
    for (std::size_t p = 0; p < prompts.size(); ++p) {
      objective::ScoredGroup& group = groups.emplace_back();
      group.prompt = prompts[p];
      group.image_values = features[p];
      for (std::size_t g = 0; g < batch_.num_generations; ++g) {
        group.completions.emplace_back(batch_.completions[p * batch_.num_generations + g]);
      }
    }
    const objective::TokenLogprobs scored = objective::completion_logprobs(*session_.model, groups, options);
    const at::Tensor weights =
        at::repeat_interleave(at::tensor(batch_.weights, at::kFloat), at::tensor(scored.lengths, at::kLong));
    const at::Tensor loss = (scored.logprobs * weights).mean();
    if (loss.requires_grad()) loss.backward();
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
    cost = {elapsed.count(), train::peak_memory()};
    return loss.item<double>();
  }

  // The gradients, which are gone from the tensors afterwards.
  std::vector<at::Tensor> take_gradients() const {
    std::vector<at::Tensor> out;
    for (const AdapterTensor& tensor : session_.adapter->tensors()) {
      if (!tensor.is_trained) continue;
      out.push_back(tensor.tensor.grad());
      tensor.tensor.mutable_grad().reset();
    }
    return out;
  }

  void compare(const std::vector<at::Tensor>& without, const std::vector<at::Tensor>& with,
               GradsReport& report) const {
    std::size_t i = 0;
    for (const AdapterTensor& tensor : session_.adapter->tensors()) {
      if (!tensor.is_trained) continue;
      TensorGradients& row = report.tensors.emplace_back();
      row.name = tensor.name;
      row.is_there_without = without[i].defined();
      row.is_there_with = with[i].defined();
      if (without[i].defined()) row.largest = without[i].abs().max().item<double>();
      if (without[i].defined() && with[i].defined()) {
        const double difference = (without[i] - with[i]).abs().max().item<double>();
        row.difference = difference == 0.0 ? 0.0 : difference / std::max(row.largest, 1e-30);
      }
      ++i;
    }
    std::stable_sort(report.tensors.begin(), report.tensors.end(), [](const auto& a, const auto& b) {
      const auto is_lost = [](const TensorGradients& t) { return !t.is_there_without || !t.is_there_with; };
      return is_lost(a) != is_lost(b) ? is_lost(a) : a.difference > b.difference;
    });
  }

  const config::RunConfig& config_;
  train::Session session_;
  train::PromptSource source_;
  Batch batch_;
  train::RunState state_;
};

}  // namespace

GradsReport compare_gradients(const config::RunConfig& config, std::vector<data::Sample> samples) {
  return Comparison(config, std::move(samples)).run();
}

}  // namespace graft::doctor
