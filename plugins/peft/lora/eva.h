// SPDX-License-Identifier: Apache-2.0
// EVA (Paischer et al. 2024, arXiv:2410.07170): A starts as the directions of largest variance of what a layer is given, and the
// ranks of all layers are shared out by the part of its variance that each direction explains. The arithmetic is that of PEFT's
// tuners/lora/eva.py, so that the same data gives the same A and ranks.
#pragma once

#include <graft/sdk/peft.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "incremental_pca.h"

namespace lora {

struct EvaSettings {
  double rho;              // a layer gets rho times its rank at most
  double tau;              // cosine between passes at which a direction counts as found
  bool whitens;            // A is divided by the roots of the singular values
  bool adjusts_scaling;    // alpha changes with the rank, so that alpha / r does not
  bool uses_answers_only;  // where a pass has answers to learn
};

// The state of a calibration.
class Eva {
 public:
  // `ranks`: of each site as the user wants them; their sum is what is shared out.
  Eva(const EvaSettings& settings, const std::vector<graft::Site>& sites, std::vector<std::int64_t> ranks);

  void observe(const graft::Observation& seen);
  // Ends a pass. True if all directions that the ranks need have been found.
  bool finish_pass();
  [[nodiscard]] std::int64_t n_passes() const { return n_passes_; }
  // By site. Layers with rank 0 are better left alone.
  [[nodiscard]] const std::vector<std::int64_t>& ranks() const { return ranks_; }
  [[nodiscard]] std::optional<std::size_t> find(std::string_view name) const;
  // A [rank, in] of a site at the start. Fails if no pass had as many tokens as directions are looked for.
  [[nodiscard]] graft::Tensor start(std::size_t site) const;

 private:
  struct Layer {
    std::string name;
    std::size_t source;  // the site whose directions are used: itself, or the first that is given the same
    std::int64_t components;  // directions that are looked for
    IncrementalPca pca;
    std::vector<bool> has_converged;  // by direction
    bool is_paused = false;           // all that its rank needs have
  };
  struct Seen {
    std::size_t site = 0;
    graft::Tensor x, answer_rows;
  };
  void take_up_last();
  void take_up(Layer& layer, const graft::Tensor& x, const graft::Tensor& answer_rows) const;
  void share_out();

  EvaSettings settings_;
  std::vector<Layer> sites_;
  std::vector<std::int64_t> ranks_;
  std::int64_t budget_ = 0, n_passes_ = 0;
  Seen last_;  // of the first pass
};

}  // namespace lora
