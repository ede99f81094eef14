// SPDX-License-Identifier: Apache-2.0
#include "common/lycoris.h"

#include "common/config.h"
#include "common/tensors.h"

namespace peft {
namespace {

namespace ops = graft::ops;
using graft::Json;
using graft::Op;
using graft::Tensor;

// 1 with probability 1 − p, else 0; drawn on the CPU, as torch.rand() without a device is.
Tensor bernoulli(std::int64_t count, double p, const Tensor& like) {
  static const Op rand("aten::rand"), gt("aten::gt", "Scalar");
  return ops::to_device_of(ops::to(gt({rand({{count}}), p}), like.dtype()), like);
}

}  // namespace

graft::Schema LycorisSettings::schema(const std::vector<std::string>& inits) {
  return graft::Schema()
      .integer("r", 8, "rank of the factors")
      .minimum(1)
      .number("alpha", 8, "the update is scaled by alpha / r")
      .exclusive_minimum(0)
      .number("rank_dropout", 0, "probability of dropping an output of the update, in training")
      .minimum(0)
      .exclusive_maximum(1)
      .number("module_dropout", 0, "probability of dropping the whole update of a layer, in training")
      .minimum(0)
      .exclusive_maximum(1)
      .choice("init", inits, inits.front(), "how the factors start; random: the model is changed at once");
}

LycorisSettings::LycorisSettings(const graft::Params& params)
    : rank(params.integer("r")),
      alpha(params.number("alpha")),
      rank_dropout(params.number("rank_dropout")),
      module_dropout(params.number("module_dropout")),
      init(params.string("init")) {}

Tensor LycorisSettings::kept(const graft::LinearCall& call, bool rescales) const {
  Tensor kept;
  if (!call.is_training()) return kept;
  const Tensor like = call.param(0);
  if (rank_dropout > 0.0) {
    static const Op clamp_min("aten::clamp_min");
    const std::int64_t out = call.site().out_features();
    kept = bernoulli(out, rank_dropout, like);
    // PEFT divides by zero where nothing is kept.
    if (rescales) kept = kept / clamp_min({ops::mean(kept, {0}), 1.0 / static_cast<double>(out)});
  }
  if (module_dropout > 0.0) {
    const Tensor module = bernoulli(1, module_dropout, like);
    kept = kept ? kept * module : module;
  }
  return kept;
}

Json LycorisSettings::to_peft(const char* peft_type) const {
  Json config = Json::object({{"peft_type", peft_type},
                              {"r", rank},
                              {"alpha", number(alpha)},
                              {"rank_dropout", rank_dropout},
                              {"module_dropout", module_dropout},
                              {"init_weights", true},
                              {"rank_pattern", Json::object()},
                              {"alpha_pattern", Json::object()}});
  if (init == "random") config.set("init_weights", false);
  if (init == "lycoris") config.set("init_weights", "lycoris");
  set_false(config, {"use_effective_conv2d"});  // of convolutions, which are not adapted
  return config;
}

Json LycorisSettings::from_peft(const Json& config, const char* peft_type) {
  graft::require_peft_type(config, peft_type);
  Json params = read_fields(config, {{"r", "r"},
                                     {"alpha", "alpha"},
                                     {"rank_dropout", "rank_dropout"},
                                     {"module_dropout", "module_dropout"}});
  const Json* init = config.find("init_weights");
  if (init != nullptr && init->is_bool() && !init->as_bool()) params.set("init", "random");
  if (init != nullptr && init->is_string()) params.set("init", *init);
  return params;
}

Tensor add_update(const Tensor& base, const Tensor& update, double scale, const Tensor& kept) {
  const Tensor y = in_dtype(base, update.dtype());
  return in_dtype(ops::add_scaled(y, kept ? update * kept : update, scale), base.dtype());
}

}  // namespace peft
