// SPDX-License-Identifier: Apache-2.0
#include "objective/logprobs.h"

#include <ATen/ops/tensor.h>

#include <utility>

#include "model/packed_input.h"
#include "objective/chunked_logprobs.h"

namespace graft::objective {

namespace {

// The hidden rows that predict the completions' tokens, and those tokens. Token 0 is predicted by the last
// row of the prompt, token j by the row of token j - 1; so the last token of a completion need not pass
// through the model.
struct Predictions {
  std::vector<model::PackedSequences> sequences;
  std::vector<std::int64_t> rows, ids, lengths;
};

Predictions find_predictions(std::span<const ScoredGroup> groups) {
  Predictions result;
  std::int64_t end = 0;  // of the flat tokens so far
  for (const ScoredGroup& group : groups) {
    model::PackedSequences& packed = result.sequences.emplace_back();
    packed.prompt = group.prompt;
    packed.image_values = group.image_values;
    end += static_cast<std::int64_t>(group.prompt->ids.size());
    const std::int64_t last_prompt_row = end - 1;
    for (const auto& completion : group.completions) {
      result.lengths.push_back(static_cast<std::int64_t>(completion.size()));
      result.ids.insert(result.ids.end(), completion.begin(), completion.end());
      const auto inputs = completion.first(completion.empty() ? 0 : completion.size() - 1);
      packed.completions.push_back(inputs);
      if (completion.empty()) continue;
      result.rows.push_back(last_prompt_row);
      for (std::size_t j = 0; j < inputs.size(); ++j) result.rows.push_back(end++);
    }
  }
  return result;
}

}  // namespace

TokenLogprobs completion_logprobs(const model::Model& model, std::span<const ScoredGroup> groups,
                                  const LogprobOptions& options) {
  Predictions predictions = find_predictions(groups);
  const model::DecoderInput input = model::pack_input(predictions.sequences, model.position_rank());
  const auto attention = model::packed_attention(model::packed_groups(predictions.sequences));
  const at::Tensor hidden = model.decode(input, attention, options.pass);  // [T, D]
  const auto to_tensor = [&](const std::vector<std::int64_t>& values) {
    return at::tensor(values, at::kLong).to(hidden.device());
  };

  ChunkedOptions chunked;
  chunked.temperature = options.temperature;
  if (options.ban_image_tokens) chunked.banned_ids = model.image_token_ids();
  chunked.with_entropy = options.with_entropy;
  chunked.with_correct = options.with_correct;
  chunked.has_random_head = options.pass.is_training;
  chunked.chunk_rows = options.chunk_rows > 0 ? options.chunk_rows : chunk_rows_for(model.vocab_size());
  const Head head = [&model, pass = options.pass](const at::Tensor& rows) { return model.head(rows, pass); };
  const ChunkedLogprobs scored =
      chunked_logprobs(hidden.index_select(0, to_tensor(predictions.rows)),  // [N, D]
                       to_tensor(predictions.ids), head, chunked);
  return {scored.logprobs, scored.entropy, scored.correct, std::move(predictions.lengths)};
}

}  // namespace graft::objective
