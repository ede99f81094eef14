// SPDX-License-Identifier: Apache-2.0
// OFT (Qiu et al. 2023, arXiv:2306.07280; block-diagonal and applied to the input as in Qiu et al. 2025, arXiv:2506.19847):
// y = (x R) Wᵀ + b, R block-diagonal and orthogonal, of skew-symmetric blocks Q whose upper triangles are trained. PEFT has two
// forms of R: Cayley's (I − Q)(I + Q)⁻¹, and a truncated series of (I + Q)(I − Q)⁻¹ = I + 2Q + 2Q² + …, its transpose.
#include <graft/sdk/peft.hpp>

#include <cstdint>
#include <cstdio>
#include <map>
#include <string>
#include <vector>

#include "common/config.h"
#include "common/tensors.h"
#include "rotation.h"

namespace {

namespace ops = graft::ops;
using graft::Json;
using graft::Tensor;

constexpr std::int64_t kUsualBlock = 32;
constexpr const char* kVersion = "0.21.2";  // of PEFT: the meaning of the parameters depends on it

struct Oft : graft::Peft {
  static constexpr auto name = "oft";
  static constexpr auto summary = "block-diagonal rotation of each layer's input (OFT, COFT)";

  static graft::Schema params() {
    return graft::Schema()
        .integer("r", 0,
                 "blocks a layer, instead of oft_block_size; the nearest divisor of the inputs is used")
        .minimum(0)
        .integer("oft_block_size", 0, "size of a block, likewise; 32 if neither is given")
        .minimum(0)
        .boolean("block_share", false, "one block for all of a layer")
        .boolean("coft", false, "keep each block within eps of the identity")
        .number("eps", 6e-5, "of coft: largest norm of a block's parameters, over the root of the blocks")
        .exclusive_minimum(0)
        .boolean("use_cayley_neumann", true,
                 "the series instead of the exact rotation, which is its transpose")
        .integer("num_cayley_neumann_terms", 5, "terms of the series; 3 and 4 give the same")
        .minimum(2)
        .number("module_dropout", 0, "share of the blocks that are left out, in training")
        .minimum(0)
        .maximum(1)
        .choice("init", {"default", "random"}, "default", "random: the model is changed at once");
  }

  explicit Oft(const graft::Params& params)
      : blocks_(params.integer("r")),
        size_(params.integer("oft_block_size")),
        shares_(params.boolean("block_share")),
        is_constrained_(params.boolean("coft")),
        eps_(params.number("eps")),
        uses_series_(params.boolean("use_cayley_neumann")),
        terms_(params.integer("num_cayley_neumann_terms")),
        dropout_(params.number("module_dropout")),
        starts_random_(params.string("init") == "random") {
    if (blocks_ > 0 && size_ > 0) {
      throw graft::Error(GRAFT_E_INVALID_ARGUMENT,
                         "r and oft_block_size are both given; each follows from the other, leave one out");
    }
    if (blocks_ == 0 && size_ == 0) size_ = kUsualBlock;
  }

  std::vector<graft::PeftParam> plan_site(const graft::Site& site) override {
    const std::int64_t in = site.in_features();
    const std::int64_t blocks =
        blocks_ > 0 ? oft::nearest_divisor(in, blocks_) : in / oft::nearest_divisor(in, size_);
    const std::int64_t size = in / blocks;
    if (size == 1) {
      throw graft::Error(GRAFT_E_INVALID_ARGUMENT,
                         std::string(site.name()) + " gets blocks of size 1 of its " + std::to_string(in) +
                             " inputs, which cannot be rotated; choose larger blocks");
    }
    if (triangles_.count(size) == 0) triangles_.emplace(size, oft::triangle(size));
    const graft::Init init = starts_random_ ? graft::Init::normal(0.1) : graft::Init::zeros();
    return {{"oft_R.weight", {shares_ ? 1 : blocks, size * (size - 1) / 2}, init}};
  }

  Tensor linear(const graft::LinearCall& call) override {
    Tensor weight = call.param(0);
    if (is_constrained_) {  // the values of the projection with the gradient of what is projected
      const Tensor values = ops::detach(weight);
      weight = weight + (projected(values) - values);
    }
    Tensor blocks = rotations(weight, call.site().in_features());
    if (call.is_training() && dropout_ > 0.0 && blocks.size(0) > 1)
      blocks = oft::with_dropout(blocks, dropout_);
    const Tensor x = oft::times_blocks(peft::in_dtype(call.x(), weight.dtype()), blocks);
    return call.base(peft::in_dtype(x, call.x().dtype()));
  }

  // (x R) Wᵀ = x (W Rᵀ)ᵀ
  graft::Merged merge(const graft::SiteValues& values) override {
    const Tensor weight = is_constrained_ ? projected(values.param(0)) : values.param(0);
    const Tensor blocks = rotations(weight, values.site().in_features());
    return {oft::times_blocks(values.weight(), ops::transpose(blocks, 1, 2)), {}};
  }

  // PEFT projects in the forward pass already, so that the optimizer's step starts from there.
  void before_update(const graft::ModelValues& model) override {
    for (std::size_t i = 0; is_constrained_ && i < model.size(); ++i) {
      const Tensor weight = model[i].param(0);
      peft::assign(weight, projected(weight));
    }
  }

  Json export_config(const graft::ModelValues&) override {
    return Json::object({{"peft_type", "OFT"},
                         {"peft_version", kVersion},
                         {"r", blocks_},
                         {"oft_block_size", size_},
                         {"block_share", shares_},
                         {"coft", is_constrained_},
                         {"eps", eps_},
                         {"use_cayley_neumann", uses_series_},
                         {"num_cayley_neumann_terms", terms_},
                         {"module_dropout", dropout_},
                         {"init_weights", !starts_random_},
                         {"bias", "none"},
                         {"fan_in_fan_out", false}});
  }

  static Json import_config(const Json& config) {
    graft::require_peft_type(config, "OFT");
    graft::require_off(config, {"fan_in_fan_out"});
    peft::require_text(config, "bias", "none");
    if (!config.contains("oft_block_size")) {
      throw graft::Error(GRAFT_E_UNSUPPORTED,
                         "oft_block_size is missing: files of PEFT before 0.14 hold other tensors");
    }
    Json params = peft::read_fields(config, {{"r", "r"},
                                             {"oft_block_size", "oft_block_size"},
                                             {"block_share", "block_share"},
                                             {"coft", "coft"},
                                             {"eps", "eps"},
                                             {"use_cayley_neumann", "use_cayley_neumann"},
                                             {"num_cayley_neumann_terms", "num_cayley_neumann_terms"},
                                             {"module_dropout", "module_dropout"}});
    if (const Json* init = config.find("init_weights");
        init != nullptr && init->is_bool() && !init->as_bool())
      params.set("init", "random");
    const Json* series = params.find("use_cayley_neumann");
    if (series == nullptr || (series->is_bool() && series->as_bool())) require_series(config);
    return params;
  }

 private:
  // The series of PEFT before 0.18 was another one.
  static void require_series(const Json& config) {
    const Json* version = config.find("peft_version");
    int major = 0, minor = 0;
    if (version != nullptr && version->is_string()) {
      std::sscanf(version->as_string().c_str(), "%d.%d", &major, &minor);
    }
    if (major > 0 || minor >= 18) return;
    throw graft::Error(GRAFT_E_UNSUPPORTED,
                       "peft_version = " + (version == nullptr ? std::string("missing") : version->dump()) +
                           " with use_cayley_neumann: the series was another one before PEFT 0.18");
  }

  // R of a layer's parameters.
  [[nodiscard]] Tensor rotations(const Tensor& weight, std::int64_t in) const {
    return oft::rotations(weight, triangles_.at(block_size(weight, in)), uses_series_ ? terms_ : 0);
  }

  [[nodiscard]] std::int64_t block_size(const Tensor& weight, std::int64_t in) const {
    if (!shares_) return in / weight.size(0);
    return blocks_ > 0 ? in / oft::nearest_divisor(in, blocks_) : oft::nearest_divisor(in, size_);
  }

  [[nodiscard]] Tensor projected(const Tensor& weight) const { return oft::projected(weight, eps_); }

  std::int64_t blocks_, size_;  // one of them 0
  bool shares_, is_constrained_;
  double eps_;
  bool uses_series_;
  std::int64_t terms_;
  double dropout_;
  bool starts_random_;
  std::map<std::int64_t, std::vector<std::int64_t>> triangles_;  // by block size
};

}  // namespace

GRAFT_PLUGIN(Oft);
