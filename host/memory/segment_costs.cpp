// SPDX-License-Identifier: Apache-2.0
#include "memory/segment_costs.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <array>
#include <memory>
#include <unordered_set>
#include <utility>

#include "memory/random_state.h"
#include "memory/saved_tensors.h"
#include "model/attention.h"

namespace graft::memory {

namespace {

using model::SegmentBody;
using model::TouchedTensors;
using torch::autograd::SavedVariableHooks;
using Tensors = std::vector<at::Tensor>;

// Bytes that one pass saves in each segment.
struct Saved {
  std::int64_t rows = 0;  // of the pass
  std::vector<std::int64_t> bytes;
  std::vector<std::int64_t> value_size;  // of the first input, 0: the segment did not run
};

// Counts what segments save. One pass, one thread.
class CountingHook final : public model::SegmentHook, public SavedTensorHandler {
 public:
  explicit CountingHook(Saved& out) : out_(out) {}

  Tensors run(std::uint32_t segment, const SegmentBody& body, const Tensors& inputs) override {
    out_.value_size[segment] = static_cast<std::int64_t>(inputs.front().element_size());
    open_.push_back(segment);
    const SavedTensorScope scope(*this);
    const TouchedTensors touched;
    Tensors outputs = body(inputs);
    open_.pop_back();
    return outputs;
  }

  std::unique_ptr<SavedVariableHooks> hooks() override {
    struct Hooks : SavedVariableHooks {
      explicit Hooks(CountingHook& of) : of_(of) {}
      void call_pack_hook(const at::Tensor& tensor) override {
        kept_ = KeptTensor(tensor);
        of_.count(tensor);
      }
      at::Tensor call_unpack_hook() override { return kept_.get(); }
      CountingHook& of_;
      KeptTensor kept_;
    };
    return std::make_unique<Hooks>(*this);
  }

 private:
  void count(const at::Tensor& tensor) {
    if (TouchedTensors::holds(tensor) || !tensor.has_storage()) return;
    if (!seen_.insert(tensor.storage().unsafeGetStorageImpl()).second) return;
    alive_.push_back(tensor.detach());  // so that no other memory gets its address
    for (const std::uint32_t segment : open_)
      out_.bytes[segment] += static_cast<std::int64_t>(tensor.storage().nbytes());
  }

  Saved& out_;
  std::vector<std::uint32_t> open_;
  std::unordered_set<const void*> seen_;
  Tensors alive_;
};

constexpr model::PassOptions kTraining = {
    .is_training = true, .adapters_enabled = true, .allow_recompute = true};

template <typename Pass>
Saved counted(model::Model& model, std::int64_t rows, const Pass& pass) {
  Saved saved{rows, std::vector<std::int64_t>(model.segments().size(), 0),
              std::vector<std::int64_t>(model.segments().size(), 0)};
  model.set_segment_hook(std::make_shared<CountingHook>(saved));
  const at::AutoGradMode record(true);
  try {
    pass();
  } catch (...) {
    model.set_segment_hook(nullptr);
    throw;
  }
  model.set_segment_hook(nullptr);
  return saved;
}

Saved decoder_pass(model::Model& model, std::int64_t tokens) {
  model::DecoderInput input;
  input.ids = at::zeros({tokens}, at::kLong);
  input.positions =
      at::arange(tokens, at::kLong).expand({static_cast<std::int64_t>(model.position_rank()), tokens});
  return counted(model, tokens, [&] {
    static_cast<void>(model.decode(input, model::packed_attention({{tokens, {}}}), kTraining));
  });
}

Saved encoder_pass(model::Model& model, std::int64_t side) {
  const image::Image blank{side, side, std::vector<std::uint8_t>(static_cast<std::size_t>(side * side * 3))};
  const std::string name = "a blank image";
  const model::Prompt prompt = model.prepare({{"user", "", 1}}, {&blank, 1}, {&name, 1});
  const std::array<const model::PreparedImage*, 1> images = {&prompt.images.front()};
  return counted(model, images[0]->values.size(0),
                 [&] { static_cast<void>(model.encode_images(images, kTraining)); });
}

std::int64_t rows_of(const model::Segment& segment, const PassSize& size) {
  return model::is_vision(segment.component) ? size.patches : size.tokens;
}

// The line through two passes, at `rows`.
std::int64_t extended(const Saved& small, const Saved& large, std::size_t segment, std::int64_t rows) {
  if (large.rows == small.rows) return large.bytes[segment] * rows / large.rows;
  const double slope = static_cast<double>(large.bytes[segment] - small.bytes[segment]) /
                       static_cast<double>(large.rows - small.rows);
  const double fixed = static_cast<double>(small.bytes[segment]) - slope * static_cast<double>(small.rows);
  return std::max<std::int64_t>(static_cast<std::int64_t>(fixed + slope * static_cast<double>(rows)), 0);
}

}  // namespace

std::vector<SegmentCost> declared_costs(const model::Model& model, const PassSize& size,
                                        std::int64_t bytes_per_value) {
  std::vector<SegmentCost> out;
  for (const model::Segment& segment : model.segments()) {
    const auto rows = static_cast<std::uint64_t>(rows_of(segment, size));
    const std::uint64_t bytes = rows * static_cast<std::uint64_t>(bytes_per_value);
    out.push_back({segment.activation_values_per_token * bytes, segment.input_values_per_token * bytes,
                   segment.flops_per_token * rows});
  }
  return out;
}

std::vector<SegmentCost> measured_costs(model::Model& model, const PassSize& size) {
  constexpr std::int64_t kFewTokens = 16, kMoreTokens = 48, kSmallSide = 112, kLargeSide = 224;
  const RandomState before = RandomState::capture({});
  const RandomState::Scope restored(before);
  std::vector<SegmentCost> out = declared_costs(model, size, 1);
  const auto measure = [&](bool of_vision, const Saved& small, const Saved& large) {
    for (std::size_t i = 0; i < out.size(); ++i) {
      const model::Segment& segment = model.segments()[i];
      if (model::is_vision(segment.component) != of_vision) continue;
      out[i].activation_bytes = static_cast<std::uint64_t>(extended(small, large, i, rows_of(segment, size)));
      out[i].input_bytes *= static_cast<std::uint64_t>(large.value_size[i]);
    }
  };
  measure(false, decoder_pass(model, kFewTokens), decoder_pass(model, kMoreTokens));
  if (model.trains_vision()) {
    measure(true, encoder_pass(model, kSmallSide), encoder_pass(model, kLargeSide));
  } else {
    for (std::size_t i = 0; i < out.size(); ++i) {
      if (model::is_vision(model.segments()[i].component)) out[i].activation_bytes = out[i].input_bytes = 0;
    }
  }
  return out;
}

}  // namespace graft::memory
