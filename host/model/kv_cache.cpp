// SPDX-License-Identifier: Apache-2.0
#include "model/kv_cache.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <limits>
#include <stdexcept>
#include <utility>

#include "model/attention.h"
#include "model/partial_attention.h"
#include "support/error.h"
#include "support/strings.h"

namespace graft::model {

namespace {

// Rows leave one by one; moving the caches each time would cost more than computing a few rows in vain. They
// move when this share of the grid or less is in use, so all moves together copy a few times the cache at
// most.
constexpr double kCompactBelow = 0.75;

struct LayerCache {
  at::Tensor prompt_k, prompt_v;  // [N, Hkv, P, d], zeros behind a prompt's end
  at::Tensor own_k, own_v;        // [N G, Hkv, capacity, d]
};

at::Tensor index_tensor(const std::vector<std::int64_t>& values, const at::Tensor& like) {
  return at::tensor(values, at::kLong).to(like.device());
}

}  // namespace

// The rows stand in a grid of N prompts with G slots each. A slot whose row has ended, or that never had one,
// computes on in vain until the grid is compacted.
struct KvCache::State {
  std::vector<std::int64_t> prompt_lengths;  // of the prompts in the grid
  std::vector<LayerCache> layers;
  std::int64_t n_slots = 0;         // G
  std::int64_t capacity = 0;        // own tokens a row has room for
  std::int64_t n_own = 0;           // own tokens of each active row; all are equally long
  std::vector<std::int64_t> rows;   // active, ascending
  std::vector<std::int64_t> slots;  // of each active row, in the grid: prompt * G + slot
  at::Tensor
      mask;  // [N, 1, 1, P]: 0, or -inf behind a prompt's end; undefined if all prompts are equally long
  at::Tensor slot_rows;  // [N G]: index into the active rows; undefined if slots are just the active rows
  at::Tensor row_slots;  // [active rows], likewise

  [[nodiscard]] std::int64_t n_prompts() const { return static_cast<std::int64_t>(prompt_lengths.size()); }
  [[nodiscard]] std::int64_t grid() const { return n_prompts() * n_slots; }

  LayerCache& layer(std::int32_t index) {
    if (index < 0 || static_cast<std::size_t>(index) >= layers.size()) {
      throw support::PluginError(
          support::cat("attention of a model family: layer ", index, " of ", layers.size()));
    }
    return layers[static_cast<std::size_t>(index)];
  }

  void store_prompts(LayerCache& cache, const at::Tensor& k, const at::Tensor& v) const;
  void open_rows(LayerCache& cache) const;  // room for the own tokens of a whole grid
  at::Tensor step(LayerCache& cache, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                  double scale);
  void update_mask();
  void update_indices();
  void compact();
};

namespace {

class Prefill final : public SequenceAttention {
 public:
  Prefill(std::shared_ptr<SequenceAttention> causal,
          std::function<void(std::int32_t, const at::Tensor&, const at::Tensor&)> keep)
      : causal_(std::move(causal)), keep_(std::move(keep)) {}

  at::Tensor attend(std::int32_t layer, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                    double scale) override {
    const at::NoGradGuard no_grad;
    at::Tensor out = causal_->attend(layer, q, k, v, scale);  // checks shapes
    keep_(layer, k, v);
    return out;
  }

 private:
  std::shared_ptr<SequenceAttention> causal_;
  std::function<void(std::int32_t, const at::Tensor&, const at::Tensor&)> keep_;
};

using StepBody =
    std::function<at::Tensor(std::int32_t, const at::Tensor&, const at::Tensor&, const at::Tensor&, double)>;

class Step final : public SequenceAttention {
 public:
  explicit Step(StepBody body) : body_(std::move(body)) {}
  at::Tensor attend(std::int32_t layer, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                    double scale) override {
    const at::NoGradGuard no_grad;
    return body_(layer, q, k, v, scale);
  }

 private:
  StepBody body_;
};

}  // namespace

void KvCache::State::store_prompts(LayerCache& cache, const at::Tensor& k, const at::Tensor& v) const {
  const std::int64_t longest = *std::max_element(prompt_lengths.begin(), prompt_lengths.end());
  const std::int64_t kv_heads = k.size(1), dim = k.size(2);
  // Values behind a prompt's end get weight 0, but 0 times whatever memory holds need not be 0.
  cache.prompt_k = at::zeros({n_prompts(), kv_heads, longest, dim}, k.options());
  cache.prompt_v = at::zeros({n_prompts(), kv_heads, longest, dim}, v.options());
  std::int64_t begin = 0;
  for (std::int64_t p = 0; p < n_prompts(); ++p) {
    const std::int64_t length = prompt_lengths[static_cast<std::size_t>(p)];
    cache.prompt_k.select(0, p).narrow(1, 0, length).copy_(k.narrow(0, begin, length).transpose(0, 1));
    cache.prompt_v.select(0, p).narrow(1, 0, length).copy_(v.narrow(0, begin, length).transpose(0, 1));
    begin += length;
  }
}

void KvCache::State::open_rows(LayerCache& cache) const {
  const std::int64_t kv_heads = cache.prompt_k.size(1), dim = cache.prompt_k.size(3);
  cache.own_k = at::empty({grid(), kv_heads, capacity, dim}, cache.prompt_k.options());
  cache.own_v = at::empty({grid(), kv_heads, capacity, dim}, cache.prompt_v.options());
}

at::Tensor KvCache::State::step(LayerCache& cache, const at::Tensor& q, const at::Tensor& k,
                                const at::Tensor& v, double scale) {
  const auto n_rows = static_cast<std::int64_t>(rows.size());
  const std::int64_t kv_heads = cache.own_k.size(1), dim = cache.own_k.size(3), heads = q.size(1);
  if (q.dim() != 3 || q.size(0) != n_rows || k.size(0) != n_rows || k.size(1) != kv_heads ||
      k.size(2) != dim) {
    throw support::PluginError(support::cat("attention of a model family: ", c10::str(q.sizes()),
                                            " queries and ", c10::str(k.sizes()), " keys in a step of ",
                                            n_rows, " rows with ", kv_heads, " key heads of ", dim));
  }
  const std::int64_t share = heads / kv_heads;  // queries per key head
  const auto to_grid = [&](const at::Tensor& x) {
    return slot_rows.defined() ? x.index_select(0, slot_rows) : x;
  };

  cache.own_k.select(2, n_own).copy_(to_grid(k));  // [N G, Hkv, d]
  cache.own_v.select(2, n_own).copy_(to_grid(v));
  const at::Tensor queries = to_grid(q).reshape({grid(), kv_heads, share, dim});  // [N G, Hkv, rep, d]

  auto [out, lse] = partial_attention(queries, cache.own_k.narrow(2, 0, n_own + 1),
                                      cache.own_v.narrow(2, 0, n_own + 1), scale, /*causal=*/false);
  // All rows of a prompt, and all queries that share a key head, in one product with the prompt's keys.
  const at::Tensor prompt_queries = queries.view({n_prompts(), n_slots, kv_heads, share, dim})
                                        .transpose(1, 2)
                                        .reshape({n_prompts(), kv_heads, n_slots * share, dim});
  const at::Tensor bias =
      mask.defined() ? mask.to(q.scalar_type()).expand({-1, kv_heads, n_slots * share, -1}) : at::Tensor();
  const PartialAttention prompt =
      partial_attention(prompt_queries, cache.prompt_k, cache.prompt_v, scale, /*causal=*/false, bias);
  const auto to_queries = [&](const at::Tensor& x) {  // [N, Hkv, G rep, ...] -> [N G, Hkv, rep, ...]
    return x.unflatten(2, {n_slots, share}).transpose(1, 2).flatten(0, 1);
  };
  at::Tensor joined = out.to(lse.scalar_type());
  join_attention(joined, lse, to_queries(prompt.out), to_queries(prompt.lse));
  joined = joined.to(q.scalar_type()).reshape({grid(), heads, dim});
  return row_slots.defined() ? joined.index_select(0, row_slots) : joined;
}

void KvCache::State::update_mask() {
  mask = at::Tensor();
  const auto [shortest, longest] = std::minmax_element(prompt_lengths.begin(), prompt_lengths.end());
  if (*shortest == *longest) return;
  mask = at::zeros({n_prompts(), 1, 1, *longest}, layers.front().prompt_k.options().dtype(at::kFloat));
  for (std::int64_t p = 0; p < n_prompts(); ++p) {
    const std::int64_t length = prompt_lengths[static_cast<std::size_t>(p)];
    mask.select(0, p).narrow(-1, length, *longest - length).fill_(-std::numeric_limits<float>::infinity());
  }
}

void KvCache::State::update_indices() {
  slot_rows = row_slots = at::Tensor();
  if (static_cast<std::int64_t>(rows.size()) == grid()) return;
  // A slot without a row computes with some active row's values, which are finite; its result is dropped.
  std::vector<std::int64_t> row_of(static_cast<std::size_t>(grid()), 0);
  for (std::size_t i = 0; i < slots.size(); ++i)
    row_of[static_cast<std::size_t>(slots[i])] = static_cast<std::int64_t>(i);
  slot_rows = index_tensor(row_of, layers.front().prompt_k);
  row_slots = index_tensor(slots, layers.front().prompt_k);
}

// Moves the active rows into a grid that is just large enough.
void KvCache::State::compact() {
  std::vector<std::int64_t> kept_prompts, used;  // grid prompts with active rows, and how many
  for (const std::int64_t slot : slots) {
    if (kept_prompts.empty() || kept_prompts.back() != slot / n_slots) {
      kept_prompts.push_back(slot / n_slots);
      used.push_back(0);
    }
    ++used.back();
  }
  const std::int64_t widest = *std::max_element(used.begin(), used.end());
  const auto smaller = static_cast<double>(static_cast<std::int64_t>(used.size()) * widest);
  if (smaller > kCompactBelow * static_cast<double>(grid())) return;

  std::vector<std::int64_t> moved_slots, sources;  // new slot of each active row; old slot of each new slot
  std::size_t next = 0;
  for (std::size_t p = 0; p < used.size(); ++p) {
    for (std::int64_t slot = 0; slot < widest; ++slot) {
      const bool is_used = slot < used[p];
      sources.push_back(slots[is_used ? next : next - 1]);
      if (!is_used) continue;
      moved_slots.push_back(static_cast<std::int64_t>(p) * widest + slot);
      ++next;
    }
  }
  std::vector<std::int64_t> lengths;
  for (const std::int64_t p : kept_prompts) lengths.push_back(prompt_lengths[static_cast<std::size_t>(p)]);
  const std::int64_t longest = *std::max_element(lengths.begin(), lengths.end());
  const bool drops_prompts = lengths.size() != prompt_lengths.size();
  const at::Tensor prompt_index = index_tensor(kept_prompts, layers.front().prompt_k);
  const at::Tensor source_index = index_tensor(sources, layers.front().prompt_k);
  prompt_lengths = std::move(lengths);
  slots = std::move(moved_slots);
  n_slots = widest;
  for (LayerCache& cache : layers) {
    if (drops_prompts) {
      cache.prompt_k = cache.prompt_k.narrow(2, 0, longest).index_select(0, prompt_index);
      cache.prompt_v = cache.prompt_v.narrow(2, 0, longest).index_select(0, prompt_index);
    }
    const LayerCache old = cache;
    open_rows(cache);
    cache.own_k.narrow(2, 0, n_own).copy_(old.own_k.narrow(2, 0, n_own).index_select(0, source_index));
    cache.own_v.narrow(2, 0, n_own).copy_(old.own_v.narrow(2, 0, n_own).index_select(0, source_index));
  }
  if (drops_prompts) update_mask();
}

KvCache::KvCache(std::uint32_t n_layers, std::vector<std::int64_t> prompt_lengths)
    : state_(std::make_shared<State>()) {
  if (n_layers == 0 || prompt_lengths.empty())
    throw std::invalid_argument("KvCache: no layers or no prompts");
  state_->prompt_lengths = std::move(prompt_lengths);
  state_->layers.resize(n_layers);
}

KvCache::~KvCache() = default;

std::shared_ptr<SequenceAttention> KvCache::prefill() {
  std::vector<PackedGroup> groups;
  for (const std::int64_t length : state_->prompt_lengths) groups.push_back({length, {}});
  return std::make_shared<Prefill>(
      packed_attention(std::move(groups)),
      [state = state_](std::int32_t layer, const at::Tensor& k, const at::Tensor& v) {
        state->store_prompts(state->layer(layer), k, v);
      });
}

void KvCache::start_rows(std::int64_t rows_per_prompt, std::int64_t capacity) {
  if (rows_per_prompt < 1 || capacity < 1) throw std::invalid_argument("KvCache: no rows or no room in them");
  if (!state_->rows.empty()) throw std::logic_error("KvCache: rows were started before");
  state_->n_slots = rows_per_prompt;
  state_->capacity = capacity;
  for (std::int64_t row = 0; row < state_->grid(); ++row) {
    state_->rows.push_back(row);
    state_->slots.push_back(row);
  }
  for (std::size_t i = 0; i < state_->layers.size(); ++i) {
    if (!state_->layers[i].prompt_k.defined()) {
      throw support::PluginError(support::cat("model family: its decoder ran no attention in layer ", i,
                                              " of the ", state_->layers.size(), " that it declares"));
    }
    state_->open_rows(state_->layers[i]);
  }
  state_->update_mask();
}

std::shared_ptr<SequenceAttention> KvCache::step() {
  if (state_->rows.empty()) throw std::logic_error("KvCache: a step without active rows");
  if (state_->n_own == state_->capacity) throw std::logic_error("KvCache: the rows are full");
  return std::make_shared<Step>(
      [state = state_](std::int32_t layer, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                       double scale) { return state->step(state->layer(layer), q, k, v, scale); });
}

void KvCache::advance() {
  ++state_->n_own;
}

void KvCache::keep(const std::vector<std::int64_t>& rows) {
  std::vector<std::int64_t> slots;
  std::size_t from = 0;
  for (const std::int64_t row : rows) {
    while (from < state_->rows.size() && state_->rows[from] != row) ++from;
    if (from == state_->rows.size())
      throw std::invalid_argument("KvCache: a kept row is not active, or out of order");
    slots.push_back(state_->slots[from]);
  }
  if (rows.size() == state_->rows.size()) return;
  state_->rows = rows;
  state_->slots = std::move(slots);
  if (rows.empty()) return;
  state_->compact();
  state_->update_indices();
}

const std::vector<std::int64_t>& KvCache::active_rows() const {
  return state_->rows;
}

}  // namespace graft::model
