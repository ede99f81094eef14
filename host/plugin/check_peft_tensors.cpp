// SPDX-License-Identifier: Apache-2.0
// What a PEFT strategy computes, where the process offers tensors (the graft command does): a fresh strategy changes
// nothing, and a merged weight does what linear() did.
#include <graft/peft.h>
#include <graft/tensor.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "plugin/check_context.h"
#include "plugin/host_services.h"
#include "support/strings.h"

namespace graft::plugin {
namespace {

using support::cat;

// The services behind a host table. The calls below throw what the services report.
struct Services {
  const graft_ops* ops;
  const graft_tensor_data* data;
};

// One owner of a tensor.
class Handle {
 public:
  Handle(const Services& services, graft_tensor raw) : ops_(services.ops), raw_(raw) {}
  ~Handle() { ops_->release(ops_, raw_); }
  Handle(Handle&& other) noexcept : ops_(other.ops_), raw_(std::exchange(other.raw_, nullptr)) {}
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  Handle& operator=(Handle&&) = delete;
  [[nodiscard]] graft_tensor get() const { return raw_; }

 private:
  const graft_ops* ops_;
  graft_tensor raw_;
};

Handle make(const Services& services, const std::vector<std::int64_t>& sizes,
            const std::function<double()>& value) {
  std::size_t count = 1;
  for (const std::int64_t size : sizes) count *= static_cast<std::size_t>(size);
  std::vector<float> values(count);
  for (float& v : values) v = static_cast<float>(value());
  graft_tensor raw = nullptr;
  call("graft.tensor_data/1", [&](graft_error* error) {
    return services.data->create(services.data, GRAFT_FLOAT32, sizes.data(),
                                 static_cast<std::uint32_t>(sizes.size()), values.data(), &raw, error);
  });
  return {services, raw};
}

Handle run(const Services& services, std::string_view name, const std::vector<graft_tensor>& in) {
  graft_op op = nullptr;
  std::vector<graft_value> values(in.size(), graft_value{});
  for (std::size_t i = 0; i < in.size(); ++i) {
    values[i].tag = in[i] == nullptr ? GRAFT_NONE : GRAFT_TENSOR;
    values[i].u.tensor = in[i];
  }
  graft_value out{};
  call(name, [&](graft_error* error) {
    const graft_status status = services.ops->find(services.ops, view(name), {nullptr, 0}, &op, error);
    if (status != GRAFT_OK) return status;
    return services.ops->call(services.ops, op, values.data(), static_cast<std::uint32_t>(values.size()),
                              &out, 1, error);
  });
  return {services, out.u.tensor};
}

// Sizes and elements.
struct Values {
  std::vector<std::int64_t> sizes;
  std::vector<float> elements;
};

Values read(const Services& services, graft_tensor tensor) {
  const Handle dense = run(services, "aten::contiguous", {tensor});
  graft_tensor_info info{};
  info.hdr = GRAFT_HDR(graft_tensor_info);
  call("graft.tensor_data/1",
       [&](graft_error* error) { return services.data->describe(services.data, dense.get(), &info, error); });
  if (info.dtype != GRAFT_FLOAT32)
    throw std::runtime_error(cat("the result has dtype ", info.dtype, ", expected float32"));
  Values values;
  values.sizes.assign(info.sizes, info.sizes + info.rank);
  std::size_t count = 1;
  for (const std::int64_t size : values.sizes) count *= static_cast<std::size_t>(size);
  const auto* first = static_cast<const float*>(info.data);
  values.elements.assign(first, first + count);
  return values;
}

// "" if equal up to rounding, else the largest difference.
std::string compare(const Values& found, const Values& expected) {
  if (found.sizes != expected.sizes) return "has another shape";
  double worst = 0.0, largest = 1.0;
  for (std::size_t i = 0; i < found.elements.size(); ++i) {
    const double difference = std::fabs(found.elements[i] - expected.elements[i]);
    if (std::isnan(difference)) return "has elements that are not numbers and differs";
    worst = std::max(worst, difference);
    largest = std::max(largest, static_cast<double>(std::fabs(expected.elements[i])));
  }
  return worst <= 1e-4 * largest ? "" : cat("differs by up to ", worst);
}

// A layer with random weights and a strategy's parameters on it.
class Layer {
 public:
  Layer(const Services& services, const Instance& peft, support::KeyedRandom& random,
        std::int64_t in_features, std::int64_t out_features)
      : services_(services),
        peft_(peft),
        table_(peft.interface<graft_peft>(GRAFT_INTERFACE_PEFT)),
        x_(make(services, {3, in_features}, [&] { return random.normal(); })),
        weight_(make(services, {out_features, in_features}, [&] { return random.normal(); })),
        bias_(make(services, {out_features}, [&] { return random.normal(); })) {
    site_.hdr = GRAFT_HDR(graft_site);
    site_.name = view(name_);
    site_.in_features = in_features;
    site_.out_features = out_features;
    site_.component = GRAFT_COMPONENT_LANGUAGE;
    site_.has_bias = 1;
    base_.hdr = GRAFT_HDR(graft_base_linear);
    base_.context = this;
    base_.forward = [](const graft_base_linear* base, graft_tensor x, graft_tensor* y, graft_error* error) {
      const auto* self = static_cast<const Layer*>(base->context);
      try {
        Handle result = run(self->services_, "aten::linear", {x, self->weight_.get(), self->bias_.get()});
        self->services_.ops->retain(self->services_.ops, result.get());
        *y = result.get();
        return GRAFT_OK;
      } catch (const std::exception& failure) {
        return fail(error, GRAFT_E_INTERNAL, failure.what());
      }
    };
    base_.weight = [](const graft_base_linear* base, graft_tensor* borrowed, graft_error*) {
      *borrowed = static_cast<const Layer*>(base->context)->weight_.get();
      return GRAFT_OK;
    };
    base_.bias = [](const graft_base_linear* base, graft_tensor* borrowed, graft_error*) {
      *borrowed = static_cast<const Layer*>(base->context)->bias_.get();
      return GRAFT_OK;
    };
  }
  Layer(const Layer&) = delete;
  Layer& operator=(const Layer&) = delete;

  // The strategy's parameters as the host initialises them, or what is trained at random as after training.
  void make_params(support::KeyedRandom& random, bool trained) {
    const graft_peft_param* const* planned = nullptr;
    std::uint32_t n = 0;
    const graft_site* const sites[] = {&site_};
    if (!trained && calibrate_drops()) return;
    if (table_.plan_model != nullptr) {
      call("plan_model()",
           [&](graft_error* error) { return table_.plan_model(peft_.raw(), sites, 1, &planned, &n, error); });
    }
    fill(shared_, planned, n, random, false);
    n = 0;
    call("plan_site()", [&](graft_error* error) {
      const graft_status status = table_.plan_site(peft_.raw(), &site_, &planned, &n, error);
      return status == GRAFT_E_INVALID_ARGUMENT ? GRAFT_OK : status;  // these parameters do not fit the layer
    });
    if (n == 0) return;
    fill(params_, planned, n, random, false);
    const auto values = values_view();
    if (table_.initialize != nullptr) {
      const graft_peft_values* const list[] = {&values.raw};
      graft_peft_model model{};
      model.hdr = GRAFT_HDR(graft_peft_model);
      model.sites = list;
      model.shared = values.shared.data();
      model.n_sites = 1;
      model.n_shared = values.raw.n_shared;
      call("initialize()", [&](graft_error* error) { return table_.initialize(peft_.raw(), &model, error); });
    }
    if (trained) fill(params_, planned, n, random, true);
  }
  [[nodiscard]] bool is_adapted() const { return !params_.empty(); }

  [[nodiscard]] Values base_output() const {
    return read(services_, run(services_, "aten::linear", {x_.get(), weight_.get(), bias_.get()}).get());
  }

  // linear() in evaluation mode.
  [[nodiscard]] Values output() const {
    const Raw values = values_view();
    graft_peft_call args{};
    args.hdr = GRAFT_HDR(graft_peft_call);
    args.site = &site_;
    args.x = x_.get();
    args.base = &base_;
    args.params = values.params.data();
    args.shared = values.shared.data();
    args.n_params = values.raw.n_params;
    args.n_shared = values.raw.n_shared;
    graft_tensor y = nullptr;
    call("linear()", [&](graft_error* error) { return table_.linear(peft_.raw(), &args, &y, error); });
    return read(services_, Handle(services_, y).get());
  }

  // The plain layer that it is merged to.
  [[nodiscard]] Values merged_output() const {
    const Raw values = values_view();
    graft_tensor merged = nullptr, bias = nullptr;
    call("merge()",
         [&](graft_error* error) { return table_.merge(peft_.raw(), &values.raw, &merged, &bias, error); });
    const Handle weight(services_, merged);
    const Handle own_bias(services_, bias);
    return read(services_, run(services_, "aten::linear",
                               {x_.get(), weight.get(), bias == nullptr ? bias_.get() : own_bias.get()})
                               .get());
  }

 private:
  // What the host does before it plans: passes until the strategy has seen enough. True if it then leaves the layer alone.
  bool calibrate_drops() {
    constexpr std::int64_t kMostPasses = 4;
    if (table_.calibrate == nullptr) return false;
    const graft_site* const sites[] = {&site_};
    std::int32_t is_wanted = -1;
    call("calibrate()",
         [&](graft_error* error) { return table_.calibrate(peft_.raw(), sites, 1, &is_wanted, error); });
    expect(is_wanted == 0 || is_wanted == 1, cat("calibrate() wrote ", is_wanted, ", expected 0 or 1"));
    graft_peft_allotment allotted{};
    std::int32_t is_done = 1 - is_wanted;
    for (std::int64_t pass = 0; is_done == 0 && pass < kMostPasses; ++pass) {
      graft_peft_observation seen{};
      seen.hdr = GRAFT_HDR(graft_peft_observation);
      seen.site = &site_;
      seen.pass = pass;
      seen.x = x_.get();
      call("observe()", [&](graft_error* error) { return table_.observe(peft_.raw(), &seen, error); });
      allotted = {};
      allotted.hdr = GRAFT_HDR(graft_peft_allotment);
      graft_peft_allotment* const list[] = {&allotted};
      call("allot()",
           [&](graft_error* error) { return table_.allot(peft_.raw(), list, 1, &is_done, error); });
      expect(is_done == 0 || is_done == 1, cat("allot() wrote ", is_done, " for is_done, expected 0 or 1"));
      expect(allotted.rank >= 0 && std::isfinite(allotted.alpha) && allotted.alpha >= 0.0,
             cat("allot() gave the rank ", allotted.rank, " and the alpha ", allotted.alpha));
    }
    site_.rank = allotted.rank;
    site_.alpha = allotted.alpha;
    return allotted.is_dropped != 0;
  }
  static void expect(bool holds, const std::string& otherwise) {
    if (!holds) throw std::runtime_error(otherwise);
  }

  // The layer as graft_peft_values.
  struct Raw {
    std::vector<graft_tensor> params, shared;
    graft_peft_values raw{};
  };
  [[nodiscard]] Raw values_view() const {
    Raw values;
    for (const Handle& param : params_) values.params.push_back(param.get());
    for (const Handle& param : shared_) values.shared.push_back(param.get());
    values.raw.hdr = GRAFT_HDR(graft_peft_values);
    values.raw.site = &site_;
    values.raw.weight = weight_.get();
    values.raw.bias = bias_.get();
    values.raw.params = values.params.data();
    values.raw.shared = values.shared.data();
    values.raw.n_params = static_cast<std::uint32_t>(values.params.size());
    values.raw.n_shared = static_cast<std::uint32_t>(values.shared.size());
    return values;
  }

  // Fills `params` as planned, or replaces those that are trained by random ones.
  void fill(std::vector<Handle>& params, const graft_peft_param* const* planned, std::uint32_t n,
            support::KeyedRandom& random, bool only_trained) {
    std::vector<Handle> filled;
    for (std::uint32_t i = 0; i < n; ++i) {
      const graft_peft_param& param = *planned[i];
      if (only_trained && (param.properties & GRAFT_PEFT_PARAM_FROZEN) != 0) {
        filled.push_back(std::move(params[i]));
        continue;
      }
      const auto value = [&]() -> double {
        if (only_trained) return 0.3 * random.normal();
        if (param.init == GRAFT_INIT_ONES) return 1.0;
        if (param.init == GRAFT_INIT_UNIFORM) return param.init_scale * (2.0 * random.uniform() - 1.0);
        return param.init == GRAFT_INIT_NORMAL ? param.init_scale * random.normal() : 0.0;
      };
      filled.push_back(make(services_, {param.sizes, param.sizes + param.rank}, value));
    }
    params.swap(filled);
  }

  const Services services_;
  const Instance& peft_;
  const graft_peft& table_;
  const std::string name_ = "model.layers.0.mlp.up_proj";
  graft_site site_{};
  graft_base_linear base_{};
  Handle x_, weight_, bias_;
  std::vector<Handle> params_, shared_;
};

using LayerCheck = std::function<std::string(Layer&, support::KeyedRandom&)>;

// `body` on layers of several shapes that the strategy adapts.
std::string each_layer(const CheckContext& context, const Services& services, const Instance& peft,
                       const LayerCheck& body) {
  support::KeyedRandom random = context.random("layers");
  for (const auto& [in_features, out_features] :
       {std::pair{8, 8}, std::pair{6, 4}, std::pair{4, 12}, std::pair{128, 64}}) {
    Layer layer(services, peft, random, in_features, out_features);
    layer.make_params(random, false);
    if (!layer.is_adapted()) continue;
    const std::string problem = body(layer, random);
    if (!problem.empty())
      return cat("for a layer from ", in_features, " to ", out_features, " features ", problem);
  }
  return {};
}

}  // namespace

void check_peft_tensors(CheckContext& context, const Instance& peft) {
  const auto service = [&](std::string_view id) { return context.host->get_service(context.host, view(id)); };
  const Services services{static_cast<const graft_ops*>(service(GRAFT_SERVICE_OPS)),
                          static_cast<const graft_tensor_data*>(service(GRAFT_SERVICE_TENSOR_DATA))};
  if (services.ops == nullptr || services.data == nullptr) return;
  const auto& table = peft.interface<graft_peft>(GRAFT_INTERFACE_PEFT);

  std::string changed;
  context.check("linear", [&] {
    return each_layer(context, services, peft, [&](Layer& layer, support::KeyedRandom&) -> std::string {
      const Values output = layer.output();
      const std::string difference = compare(output, layer.base_output());
      if (!difference.empty()) changed = difference;
      return output.sizes == layer.base_output().sizes ? ""
                                                       : "the output's shape is not that of the base layer";
    });
  });
  // Allowed if documented, so a warning.
  context.warn("identity at initialisation",
               changed.empty()
                   ? ""
                   : cat("the output ", changed, " from the base layer's; expected none unless documented"));
  if (table.merge == nullptr) return;
  context.check("merge", [&] {
    return each_layer(context, services, peft, [](Layer& layer, support::KeyedRandom& random) -> std::string {
      layer.make_params(random, true);
      const std::string difference = compare(layer.merged_output(), layer.output());
      return difference.empty()
                 ? ""
                 : cat("the output with the merged weight ", difference, " from that of linear()");
    });
  });
}

}  // namespace graft::plugin
