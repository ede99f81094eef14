// SPDX-License-Identifier: Apache-2.0
// How a decoder's rotary frequencies are scaled for contexts longer than the trained one: linear interpolation (Chen et al. 2023,
// arXiv:2306.15595), YaRN (Peng et al. 2023, arXiv:2309.00071) and the scheme of Llama 3.1, with the numbers of transformers'
// modeling_rope_utils. All three are functions of the configuration alone. Those that look at the length of a sequence are not
// offered: a token would get other values from what it is batched with.
#pragma once

#include <cstdint>

#include "common/section.h"

namespace families {

struct RopeScaling {
  enum class Kind { kNone, kLinear, kLlama3, kYarn };
  Kind kind = Kind::kNone;
  double factor = 1.0;
  double original_context = 0.0;  // original_max_position_embeddings, in tokens

  double low_freq_factor = 1.0, high_freq_factor = 1.0;  // Llama 3.1

  // YaRN: pairs that turn more than beta_fast times within the original context keep their frequency, those that turn less than
  // beta_slow times are slowed by `factor`, and between them the two are mixed.
  double beta_fast = 32.0, beta_slow = 1.0;
  bool truncate = true;  // the bounds are whole pairs
  double attention_factor =
      1.0;  // cosines and sines are multiplied by it, so logits of attention by its square
};

// What `section`, the rope_parameters or rope_scaling of a decoder's section `text`, says for rope_type `type`. Throws
// graft::Error for a type that is not offered, by name, and for keys that are missing or do not fit.
[[nodiscard]] RopeScaling read_rope_scaling(const Section& text, const Section& section,
                                            const std::string& type);

// Scales the frequencies base^(-2i / size), i below size / 2, in place; `periods` are their reciprocals.
void scale_frequencies(const RopeScaling& scaling, double base, std::int64_t size, const float* periods,
                       float* frequencies);

}  // namespace families
