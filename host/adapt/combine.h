// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "plugin/registry.h"

namespace graft::adapt {

// A weighted sum of LoRA adapters as one of them, after PEFT's LoraModel.add_weighted_adapter.
struct Combination {
  std::vector<std::filesystem::path> adapters;  // PEFT directories
  std::vector<double> weights;                  // one each, of any sign
  // "cat" is exact, of the sum of the ranks; "svd" the nearest of `rank`; "linear" adds A and B by themselves, which is rough.
  // "magnitude_prune" and "ties" (Yadav et al. 2023, arXiv:2306.01708) are "linear" of what `density` leaves of them, and
  // "magnitude_prune_svd" and "ties_svd" the same of the whole updates.
  std::string type = "svd";
  std::int64_t rank = 0;  // of the "…svd" types; 0: the highest of the adapters
  double density = 1.0;   // part of the elements that is kept, those of the largest magnitude
  std::string majority_sign_method =
      "total";  // of "ties": "total" (sign of the sum) or "frequency" (of most)
};

// The names above, for command lines.
[[nodiscard]] const std::vector<std::string>& combination_types();

// Writes the combination as an adapter of scale 1, alpha = r, in float32, for the layers of all adapters. Needs no model. Atomic: an
// existing `output` is replaced. UserError if one is no plain LoRA (DoRA, trained biases, modules_to_save, and PiSSA or OLoRA before
// `graft adapter convert`), if two do not fit together, or for an option without effect.
void combine_adapters(plugin::Registry& registry, const Combination& combination,
                      const std::filesystem::path& output);

}  // namespace graft::adapt
