// SPDX-License-Identifier: Apache-2.0
#include "model/packed_input.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/tensor.h>

#include <stdexcept>

#include "support/error.h"
#include "support/strings.h"

namespace graft::model {

namespace {

void check_prompt(const PackedSequences& group, std::uint32_t position_rank) {
  if (group.prompt == nullptr || group.prompt->ids.empty())
    throw std::invalid_argument("pack_input: an empty prompt");
  const Prompt& prompt = *group.prompt;
  const auto n_ids = static_cast<std::int64_t>(prompt.ids.size());
  if (prompt.positions.dim() != 2 || prompt.positions.size(0) != static_cast<std::int64_t>(position_rank) ||
      prompt.positions.size(1) != n_ids) {
    throw std::invalid_argument("pack_input: positions of a prompt are not [position_rank, tokens]");
  }
  const std::int64_t features = group.image_values.defined() ? group.image_values.size(0) : 0;
  const auto rows = static_cast<std::int64_t>(prompt.image_rows.size());
  if (features != rows) {
    throw support::UserError(support::cat("a prompt has ", rows, " image tokens, but its images give ",
                                          features, " features; placeholders and images must match"));
  }
}

}  // namespace

std::vector<PackedGroup> packed_groups(std::span<const PackedSequences> groups) {
  std::vector<PackedGroup> lengths;
  for (const PackedSequences& group : groups) {
    PackedGroup& item = lengths.emplace_back();
    item.prompt_length = static_cast<std::int64_t>(group.prompt->ids.size());
    for (const auto& completion : group.completions) {
      item.completion_lengths.push_back(static_cast<std::int64_t>(completion.size()));
    }
  }
  return lengths;
}

DecoderInput pack_input(std::span<const PackedSequences> groups, std::uint32_t position_rank) {
  const auto rank = static_cast<std::int64_t>(position_rank);
  std::vector<std::int64_t> ids, image_rows;
  std::vector<at::Tensor> positions, image_values;
  for (const PackedSequences& group : groups) {
    check_prompt(group, position_rank);
    const Prompt& prompt = *group.prompt;
    const auto begin = static_cast<std::int64_t>(ids.size());
    for (const std::int64_t row : prompt.image_rows) image_rows.push_back(begin + row);
    if (!prompt.image_rows.empty()) image_values.push_back(group.image_values);
    ids.insert(ids.end(), prompt.ids.begin(), prompt.ids.end());
    positions.push_back(prompt.positions);
    for (const auto& completion : group.completions) {
      ids.insert(ids.end(), completion.begin(), completion.end());
      const auto length = static_cast<std::int64_t>(completion.size());
      const std::int64_t first = prompt.next_position;
      positions.push_back(
          at::arange(first, first + length, prompt.positions.options()).expand({rank, length}));
    }
  }
  DecoderInput input;
  input.ids = at::tensor(ids, at::kLong);
  input.positions = at::cat(positions, 1);
  if (!image_rows.empty()) {
    input.image_values = at::cat(image_values, 0);
    input.image_rows = at::tensor(image_rows, at::kLong);
  }
  return input;
}

}  // namespace graft::model
