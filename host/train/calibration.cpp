// SPDX-License-Identifier: Apache-2.0
#include "train/calibration.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "model/attention.h"
#include "model/packed_input.h"
#include "support/error.h"
#include "support/interrupt.h"
#include "train/sft.h"
#include "train/update.h"

namespace graft::train {
namespace {

// The samples of one pass with the token ids of their answers, empty without.
struct Batch {
  std::vector<PromptItem> items;
  std::vector<std::vector<std::int64_t>> answers;
};

void forward(const model::Model& model, const Batch& batch, bool with_head) {
  const at::NoGradGuard no_grad;
  if (support::interrupt_requested()) throw support::Interrupted("a signal came during the calibration");
  std::vector<const model::Prompt*> prompts;
  for (const PromptItem& item : batch.items) prompts.push_back(&item.prompt);
  const model::PassOptions pass{.is_training = false, .adapters_enabled = true, .allow_recompute = false};
  const std::vector<at::Tensor> features = encode_prompt_images(model, prompts, pass);
  std::vector<model::PackedSequences> groups(prompts.size());
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    groups[i].prompt = prompts[i];
    groups[i].image_values = features[i];
    if (!batch.answers.empty()) groups[i].completions = {batch.answers[i]};
  }
  const at::Tensor hidden = model.decode(model::pack_input(groups, model.position_rank()),
                                         model::packed_attention(model::packed_groups(groups)), pass);
  if (with_head) static_cast<void>(model.head(hidden, pass));
}

at::Tensor answer_rows(const Batch& batch) {
  if (batch.answers.empty()) return {};
  std::vector<std::int64_t> rows;
  std::int64_t end = 0;
  for (std::size_t i = 0; i < batch.items.size(); ++i) {
    end += static_cast<std::int64_t>(batch.items[i].prompt.ids.size());
    for (std::size_t j = 0; j < batch.answers[i].size(); ++j) rows.push_back(end++);
  }
  return at::tensor(rows, at::kLong);
}

}  // namespace

adapt::CalibrationData calibration_data(const model::Model& model, const PromptSource& prompts,
                                        const config::RunConfig& config, config::Command command) {
  const auto samples =
      std::min<std::int64_t>(config.peft.samples_of_calibration(), static_cast<std::int64_t>(prompts.size()));
  const std::int64_t size = config.peft.batch_size_of_calibration();
  const std::int64_t batches = (samples + size - 1) / size;
  const bool has_answers = command == config::kSft;
  const std::string answer_template = config.data.answer_template;
  adapt::CalibrationData data;
  data.most_passes = config.peft.passes_of_calibration();
  data.pass = [&model, &prompts, samples, size, batches, has_answers,
               answer_template](std::int64_t pass) -> adapt::CalibrationPass {
    const auto batch = std::make_shared<Batch>();
    std::int64_t position = pass % batches * size, skipped = 0;
    const std::int64_t count = std::min(size, samples - position);
    batch->items = prompts.draw(static_cast<std::size_t>(count), &position, &skipped);
    if (has_answers) {
      for (const PromptItem& item : batch->items)
        batch->answers.push_back(answer_ids(model, item, answer_template));
    }
    return {[&model, batch](bool with_head) { forward(model, *batch, with_head); }, answer_rows(*batch)};
  };
  return data;
}

}  // namespace graft::train
