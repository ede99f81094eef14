// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include "model/model.h"

namespace graft::adapt {

struct AdaptedSite;
struct Plan;
class Strategy;

// What became of base parameters by merging, by index.
using MergedParams = std::map<std::uint32_t, at::Tensor>;

// A base parameter as merged so far, else its own value in float32; undefined for -1 (none).
[[nodiscard]] at::Tensor merged_or_dense(const model::Model& model, const MergedParams& merged,
                                         std::int32_t param);

// Merges an adapter into `merged`, on top of what is there, in float32: several calls merge one adapter after the other.
// UserError if the strategy cannot be merged.
void merge_into(const model::Model& model, const Strategy& strategy, const Plan& plan, MergedParams& merged);

// The same for one layer of given weight and bias (undefined: none), as float32 on the device of the weight. The bias is
// undefined if the layer keeps its own.
[[nodiscard]] std::pair<at::Tensor, at::Tensor> merge_site(const Strategy& strategy, const AdaptedSite& site,
                                                           const std::vector<at::Tensor>& shared,
                                                           const at::Tensor& weight, const at::Tensor& bias);

}  // namespace graft::adapt
