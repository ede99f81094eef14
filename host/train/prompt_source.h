// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <vector>

#include "config/run_config.h"
#include "data/order.h"
#include "data/sample.h"
#include "model/model.h"

namespace graft::train {

// A sample ready for the model.
struct PromptItem {
  std::uint64_t index = 0;  // in the data set: the key of its random draws
  const data::Sample* sample = nullptr;
  model::Prompt prompt;
};

// Samples that several sources draw from.
using SharedSamples = std::shared_ptr<const std::vector<data::Sample>>;

// Turns samples into prompts, in a seeded order that does not depend on batch sizes. A sample that cannot be used (its
// image is corrupt, its prompt too long) is skipped with a warning and counted, or is an error under data.strict. One
// thread.
class PromptSource {
 public:
  // `samples` must not be empty (UserError). `model` outlives the source.
  PromptSource(const model::Model& model, const config::DataConfig& options, SharedSamples samples,
               std::uint64_t seed);
  PromptSource(const model::Model& model, const config::DataConfig& options,
               std::vector<data::Sample> samples, std::uint64_t seed);

  // The next `count` usable samples from position *position of the endless, per-epoch shuffled order; moves *position past
  // them and adds the skipped ones to *skipped. UserError if a whole epoch has no usable sample.
  [[nodiscard]] std::vector<PromptItem> draw(std::size_t count, std::int64_t* position,
                                             std::int64_t* skipped) const;
  // The sample at `index` in file order; UserError if it cannot be used.
  [[nodiscard]] PromptItem at(std::size_t index) const;
  // The same, but nothing for a bad sample, with one warning a sample, unless data.strict makes it an error.
  [[nodiscard]] std::optional<PromptItem> usable(std::size_t index) const;
  [[nodiscard]] std::size_t size() const { return samples_->size(); }
  [[nodiscard]] bool has_images() const;  // any sample

 private:
  const model::Model& model_;
  config::DataConfig options_;
  SharedSamples samples_;
  mutable data::EpochOrder order_;      // caches one epoch's permutation
  mutable std::set<std::size_t> told_;  // bad samples that were warned of
};

}  // namespace graft::train
