// SPDX-License-Identifier: Apache-2.0
// What the methods of LyCORIS (Yeh et al. 2023, arXiv:2309.14859) share in PEFT: y = base(x) + s · x ΔWᵀ with s = alpha / r, rank
// and alpha patterns, and two kinds of dropout.
#pragma once

#include <graft/sdk/peft.hpp>

#include <cmath>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

namespace peft {

struct LycorisSettings {
  // `inits`: the ways to start, the usual one first.
  static graft::Schema schema(const std::vector<std::string>& inits);
  explicit LycorisSettings(const graft::Params& params);

  [[nodiscard]] double scale(const graft::Site& site) const {
    return site.alpha_or(alpha) / static_cast<double>(site.rank_or(rank));
  }
  // Factors of an update's columns in training, [out] or [1]; no tensor: nothing is dropped. Rank dropout zeroes columns, all of which
  // are divided by the share of those kept if `rescales`; module dropout zeroes the whole update.
  [[nodiscard]] graft::Tensor kept(const graft::LinearCall& call, bool rescales) const;

  // The fields that both methods write, and the parameters that those of a file stand for.
  [[nodiscard]] graft::Json to_peft(const char* peft_type) const;
  static graft::Json from_peft(const graft::Json& config, const char* peft_type);

  std::int64_t rank;
  double alpha;
  double rank_dropout, module_dropout;
  std::string init;
};

// torch's kaiming_uniform_(a = √5) of a matrix with that many columns.
inline graft::Init kaiming(std::int64_t columns) {
  return graft::Init::uniform(1.0 / std::sqrt(static_cast<double>(columns)));
}

// base + scale · kept ⊙ update in the dtype of the base; `kept` may be no tensor.
[[nodiscard]] graft::Tensor add_update(const graft::Tensor& base, const graft::Tensor& update, double scale,
                                       const graft::Tensor& kept);

}  // namespace peft
