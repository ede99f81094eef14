// SPDX-License-Identifier: Apache-2.0
#include "eva.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "common/tensors.h"

namespace lora {

namespace {

namespace ops = graft::ops;
using graft::Op;
using graft::Tensor;

bool are_equal(const Tensor& a, const Tensor& b) {
  static const Op equal("aten::eq", "Tensor"), all("aten::all");
  if (!a || !b || a.size(0) != b.size(0) || a.size(1) != b.size(1)) return false;
  return *peft::on_cpu(all({equal({a, b})})).data<bool>();
}

}  // namespace

Eva::Eva(const EvaSettings& settings, const std::vector<graft::Site>& sites, std::vector<std::int64_t> ranks)
    : settings_(settings), ranks_(std::move(ranks)) {
  for (std::size_t i = 0; i < sites.size(); ++i) {
    const auto most =
        static_cast<std::int64_t>(std::nearbyint(static_cast<double>(ranks_[i]) * settings.rho));
    const std::int64_t components = std::min(most, sites[i].in_features());
    sites_.push_back({std::string(sites[i].name()), i, components, IncrementalPca(components), {}});
    budget_ += ranks_[i];
  }
}

void Eva::observe(const graft::Observation& seen) {
  Layer& layer = sites_[seen.index()];
  if (seen.pass() == 0) {
    if (are_equal(seen.x(), last_.x)) {  // as the layers of attention, and the first two of an MLP
      Layer& source = sites_[sites_[last_.site].source];
      layer.source = sites_[last_.site].source;
      source.components = std::max(source.components, layer.components);
      return;
    }
    take_up_last();
    last_ = {seen.index(), seen.x(), seen.answer_rows()};
    return;
  }
  if (layer.source == seen.index()) take_up(layer, seen.x(), seen.answer_rows());
}

// Delayed until it is known which layers share an input, since the largest of their ranks counts.
void Eva::take_up_last() {
  if (!last_.x) return;
  Layer& layer = sites_[last_.site];
  layer.pca = IncrementalPca(layer.components);
  take_up(layer, last_.x, last_.answer_rows);
  last_ = {};
}

void Eva::take_up(Layer& layer, const Tensor& x, const Tensor& answer_rows) const {
  static const Op cosine("aten::cosine_similarity");
  if (layer.is_paused) return;
  const Tensor rows = settings_.uses_answers_only && answer_rows
                          ? ops::index_select(x, 0, ops::to_device_of(answer_rows, x))
                          : x;
  if (rows.size(0) < layer.pca.count()) return;
  const Tensor before = layer.pca.components();
  layer.pca.add(rows);
  if (!before) return;
  const Tensor now = layer.pca.components();
  const Tensor similarity =
      peft::on_cpu(ops::to(cosine({now, ops::to(before, now.dtype()), 1}), graft::DType::kFloat64));
  layer.has_converged.assign(static_cast<std::size_t>(similarity.size(0)), false);
  for (std::size_t i = 0; i < layer.has_converged.size(); ++i)
    layer.has_converged[i] = similarity.data<double>()[i] >= settings_.tau;
}

bool Eva::finish_pass() {
  take_up_last();
  ++n_passes_;
  const bool has_all = std::all_of(sites_.begin(), sites_.end(),
                                   [&](const Layer& layer) { return !sites_[layer.source].pca.is_empty(); });
  if (has_all) share_out();
  bool is_done = true;
  for (std::size_t i = 0; i < sites_.size(); ++i) {
    Layer& layer = sites_[i];
    if (layer.source != i) continue;
    const auto needed = static_cast<std::size_t>(has_all ? ranks_[i] : layer.components);
    const bool is_known = layer.has_converged.size() >= needed;
    layer.is_paused =
        is_known && std::all_of(layer.has_converged.begin(),
                                layer.has_converged.begin() + static_cast<std::ptrdiff_t>(needed),
                                [](bool converged) { return converged; });
    is_done = is_done && layer.is_paused;
  }
  return is_done && has_all;
}

// The `budget_` directions of the largest share of their layer's variance, whichever layers they are in. Layers of one input have
// equal shares; the first of them then gets the highest rank.
void Eva::share_out() {
  static const Op argsort("aten::argsort");
  std::vector<std::size_t>
      order;  // PEFT's, which decides between equal shares: first those with components of their own
  for (std::size_t i = 0; i < sites_.size(); ++i) {
    if (sites_[i].source == i) order.push_back(i);
  }
  const std::size_t n_sources = order.size();
  for (std::size_t s = 0; s < n_sources; ++s) {
    for (std::size_t i = 0; i < sites_.size(); ++i) {
      if (i != order[s] && sites_[i].source == order[s]) order.push_back(i);
    }
  }
  std::vector<Tensor> shares;
  std::vector<std::size_t> owners;
  for (const std::size_t i : order) {
    const Tensor& explained = sites_[sites_[i].source].pca.explained();
    shares.push_back(explained);
    owners.insert(owners.end(), static_cast<std::size_t>(explained.size(0)), i);
  }
  const Tensor places = peft::on_cpu(argsort({ops::cat(shares, 0), 0, true}));
  std::fill(ranks_.begin(), ranks_.end(), 0);
  const auto n = std::min(static_cast<std::size_t>(budget_), owners.size());
  for (std::size_t i = 0; i < n; ++i)
    ++ranks_[owners[static_cast<std::size_t>(places.data<std::int64_t>()[i])]];
  for (const std::size_t i : order) {
    const std::size_t source = sites_[i].source;
    if (ranks_[source] < ranks_[i]) std::swap(ranks_[source], ranks_[i]);
  }
}

std::optional<std::size_t> Eva::find(std::string_view name) const {
  const auto found =
      std::find_if(sites_.begin(), sites_.end(), [&](const Layer& layer) { return layer.name == name; });
  if (found == sites_.end()) return std::nullopt;
  return static_cast<std::size_t>(found - sites_.begin());
}

Tensor Eva::start(std::size_t site) const {
  const IncrementalPca& pca = sites_[sites_[site].source].pca;
  const std::int64_t rank = ranks_[site];
  if (pca.is_empty()) {
    throw graft::Error(
        GRAFT_E_INVALID_ARGUMENT,
        "init=eva saw no pass with at least " + std::to_string(pca.count()) + " tokens for " +
            sites_[site].name +
            " (its rank times eva_rho); raise peft.calibration_batch_size, lower r or eva_rho, or use all "
            "tokens with eva_use_label_mask=false");
  }
  Tensor rows = ops::narrow(pca.components(), 0, 0, rank);
  if (!settings_.whitens) return rows;
  return rows / ops::unsqueeze(ops::sqrt(ops::narrow(pca.singular_values(), 0, 0, rank)), 1);
}

}  // namespace lora
