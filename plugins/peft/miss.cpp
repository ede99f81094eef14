// SPDX-License-Identifier: Apache-2.0
// MiSS (Kang & Yin 2024, arXiv:2409.15371; Bone in its first version): y = x Wᵀ + b + (Σ_i x_i) D for the parts x_i of r features of
// x, the last one filled with zeros, and one trained D [r, out]: shards of the weight share their update. "mini": D repeats an
// [r, mini_r] matrix along its columns. "bat": an update that depends on W, W_oi (I + D_o) + D_o for the blocks W_oi [r, r] of W and one
// D_o for each row of them. Names and shapes are PEFT's.
#include <graft/sdk/peft.hpp>

#include <string>
#include <vector>

#include "common/config.h"
#include "common/tensors.h"
#include "common/weight_update.h"

namespace {

namespace ops = graft::ops;
using graft::Json;
using graft::Tensor;

[[noreturn]] void refuse(const std::string& text) {
  throw graft::Error(GRAFT_E_INVALID_ARGUMENT, text);
}

// ΔW_oi = W_oi D_o + D_o
struct Blocks : peft::WeightUpdate {
  // [out, in] as [out / r, r · in / r, r]: for each row of blocks, the rows of all blocks.
  [[nodiscard]] static Tensor rows(const Tensor& x, std::int64_t r) {
    return ops::reshape(x, {x.size(0) / r, x.size(1), r});
  }
  [[nodiscard]] Tensor delta(const Tensor& weight, const peft::Tensors& params) const override {
    static const graft::Op add("aten::add_", "Tensor");
    const Tensor& d = params[0];
    const Tensor w = peft::in_dtype(weight, d.dtype());
    const std::int64_t r = d.size(-1), out = w.size(0), in = w.size(1);
    const Tensor product = ops::view(ops::matmul(rows(w, r), d), {out / r, r, in / r, r});
    add({product, ops::unsqueeze(d, 2)});
    return ops::view(product, {out, in});
  }
  [[nodiscard]] peft::Tensors gradients(const Tensor& weight, const peft::Tensors& params,
                                        const Tensor& grad_delta) const override {
    const Tensor& d = params[0];
    const Tensor w = peft::in_dtype(weight, d.dtype());
    const std::int64_t r = d.size(-1), out = w.size(0), in = w.size(1);
    const Tensor product = ops::matmul(ops::transpose(rows(w, r), 1, 2), rows(grad_delta, r));
    return {product + ops::sum(ops::view(grad_delta, {out / r, r, in / r, r}), {2})};
  }
};

struct Miss : graft::Peft {
  static constexpr auto name = "miss";
  static constexpr auto summary =
      "one update that all parts of a layer's input share (MiSS, formerly Bone; also \"bat\" and \"mini\")";

  static graft::Schema params() {
    return graft::Schema()
        .integer("r", 64, "size of the parts of the input")
        .minimum(1)
        .number("dropout", 0, "probability of zeroing an input of the update, in training")
        .minimum(0)
        .exclusive_maximum(1)
        .choice("init_weights", {"default", "bat", "mini"}, "default",
                "which form of the update, under PEFT's name")
        .integer("mini_r", 1, "columns of the repeated matrix of \"mini\"")
        .minimum(1);
  }

  explicit Miss(const graft::Params& params)
      : rank_(params.integer("r")),
        dropout_(params.number("dropout")),
        form_(params.string("init_weights")),
        columns_(params.integer("mini_r")) {
    if (is_bat() && dropout_ > 0.0) refuse("dropout has no effect with init_weights=bat");
    if (!is_mini() && columns_ != 1) refuse("mini_r has no effect without init_weights=mini");
  }

  std::vector<graft::PeftParam> plan_site(const graft::Site& site) override {
    const std::int64_t in = site.in_features(), out = site.out_features();
    const std::string layer = std::string(site.name()) + ", which has " + std::to_string(in) +
                              " inputs and " + std::to_string(out) + " outputs";
    if (rank_ > in) refuse("r = " + std::to_string(rank_) + " is too large for " + layer);
    if (is_bat()) {
      if (in % rank_ != 0 || out % rank_ != 0) {
        refuse("init_weights=bat needs an r that divides both sizes, but r = " + std::to_string(rank_) +
               " for " + layer);
      }
      return {{"miss_block", {out / rank_, rank_, rank_}}};
    }
    if (is_mini() && out % columns_ != 0) {
      refuse("mini_r = " + std::to_string(columns_) + " does not divide the outputs of " + layer);
    }
    return {{"miss_block", {rank_, is_mini() ? columns_ : out}}};
  }

  Tensor linear(const graft::LinearCall& call) override {
    if (is_bat()) return peft::updated_linear(call, blocks_, 0.0);
    const Tensor block = call.param(0);
    const Tensor sums = sum_of_parts(peft::adapter_input(call, block.dtype(), dropout_));  // [T, r]
    const Tensor base = call.base(call.x());
    if (!is_mini()) return peft::in_dtype(peft::add_product(base, sums, block), base.dtype());
    const Tensor small = ops::unsqueeze(ops::mm(sums, block), 1);  // [T, 1, mini_r]
    const std::int64_t out = call.site().out_features();
    const Tensor y = ops::view(base, {base.size(0), out / columns_, columns_}) + small;
    return peft::in_dtype(ops::view(y, {base.size(0), out}), base.dtype());
  }

  graft::Merged merge(const graft::SiteValues& values) override {
    static const graft::Op repeat("aten::repeat");
    const Tensor weight = values.weight(), block = values.param(0);
    if (is_bat()) return {weight + blocks_.delta(weight, {block}), {}};
    const std::int64_t in = weight.size(1), out = weight.size(0), parts = (in + rank_ - 1) / rank_;
    const Tensor rows = ops::t(is_mini() ? repeat({block, {1, out / columns_}}) : block);  // Dᵀ [out, r]
    return {weight + ops::narrow(repeat({rows, {1, parts}}), 1, 0, in), {}};
  }

  Json export_config(const graft::ModelValues&) override {
    return Json::object({{"peft_type", "MISS"},
                         {"r", rank_},
                         {"miss_dropout", dropout_},
                         {"mini_r", columns_},
                         {"init_weights", is_bat() || is_mini() ? Json(form_) : Json(true)},
                         {"bias", "none"}});
  }

  static Json import_config(const Json& config) {
    graft::require_peft_type(config, "MISS");
    peft::require_text(config, "bias", "none");
    Json params = peft::read_fields(config, {{"r", "r"}, {"miss_dropout", "dropout"}, {"mini_r", "mini_r"}});
    const Json* form = config.find("init_weights");
    const bool has_form = form != nullptr && form->is_string();
    params.set("init_weights", has_form ? *form : Json("default"));
    if (!has_form || form->as_string() != "mini") params.set("mini_r", 1);
    if (has_form && form->as_string() == "bat") params.set("dropout", 0);  // PEFT ignores it too
    return params;
  }

 private:
  [[nodiscard]] bool is_bat() const { return form_ == "bat"; }
  [[nodiscard]] bool is_mini() const { return form_ == "mini"; }

  // Σ_i x_i [T, r] of x [T, in]; the last part may be shorter.
  [[nodiscard]] Tensor sum_of_parts(const Tensor& x) const {
    static const graft::Op pad("aten::constant_pad_nd");
    const std::int64_t in = x.size(1), whole = in / rank_ * rank_;
    const Tensor parts = ops::reshape(ops::narrow(x, 1, 0, whole), {x.size(0), in / rank_, rank_});
    Tensor sums = ops::sum(parts, {1});
    if (whole == in) return sums;
    return sums + pad({ops::narrow(x, 1, whole, in - whole), {0, rank_ - (in - whole)}});
  }

  std::int64_t rank_;
  double dropout_;
  std::string form_;
  std::int64_t columns_;
  Blocks blocks_;
};

}  // namespace

GRAFT_PLUGIN(Miss);
