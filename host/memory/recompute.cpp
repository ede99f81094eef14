// SPDX-License-Identifier: Apache-2.0
#include "memory/recompute.h"

#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/saved_variable.h>

#include <algorithm>
#include <exception>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <utility>

#include "memory/offload.h"
#include "memory/random_state.h"
#include "memory/saved_tensors.h"
#include "support/error.h"
#include "support/strings.h"

namespace graft::memory {

namespace {

using model::SegmentBody;
using model::TouchedTensors;
using torch::autograd::SavedVariable;
using torch::autograd::SavedVariableHooks;
using Tensors = std::vector<at::Tensor>;

// Ends a recomputation that has given everything that backward wants.
struct EarlyStop : std::exception {
  const char* what() const noexcept override { return "the recomputation is complete"; }
};

// One run of a segment whose saved tensors were dropped, and its second run. Saved tensors are known by their places, the order
// in which the body saves them. Owned by the graph: by the hooks of the tensors that are still saved.
class Recomputation : public std::enable_shared_from_this<Recomputation> {
 public:
  Recomputation(std::uint32_t segment, SegmentBody body, const Tensors& inputs,
                std::shared_ptr<OffloadFile> file)
      : segment_(segment),
        body_(std::move(body)),
        random_(RandomState::capture(inputs)),
        file_(std::move(file)),
        first_run_(*this),
        second_run_(*this) {
    // Where this segment lies within a recomputed one, these are what that one saves.
    for (const at::Tensor& input : inputs) inputs_.emplace_back(input, /*is_output=*/false);
  }

  Tensors run(const Tensors& inputs) {
    const SavedTensorScope scope(first_run_);
    const TouchedTensors touched;
    Tensors outputs = body_(inputs);
    for (const at::Tensor& tensor : touched.tensors()) trained_.emplace_back(tensor);
    return outputs;
  }

 private:
  struct Place {
    std::vector<std::int64_t> sizes;
    at::ScalarType dtype;
    bool is_wanted = true;
    at::Tensor tensor{};                   // between the second run and its use
    std::optional<Offloaded> offloaded{};  // instead, if the decision within says so
    [[nodiscard]] bool is_there() const { return tensor.defined() || offloaded; }
  };

  // The hooks of one saved tensor.
  class Saved : public SavedVariableHooks {
   public:
    explicit Saved(std::shared_ptr<Recomputation> of) : of_(std::move(of)) {}
    ~Saved() override {
      if (place_) of_->forget(*place_);
    }
    void call_pack_hook(const at::Tensor& tensor) override {
      if (TouchedTensors::holds(tensor)) {
        weight_ = KeptTensor(tensor);
      } else {
        place_ = of_->add(tensor);
      }
    }
    at::Tensor call_unpack_hook() override { return place_ ? of_->take(*place_) : weight_.get(); }

   private:
    std::shared_ptr<Recomputation> of_;
    std::optional<std::size_t> place_;
    KeptTensor weight_;
  };

  struct FirstRun : SavedTensorHandler {
    explicit FirstRun(Recomputation& of) : of_(of) {}
    std::unique_ptr<SavedVariableHooks> hooks() override {
      return std::make_unique<Saved>(of_.shared_from_this());
    }
    Recomputation& of_;
  };

 public:
  // Receives what the second run saves, for a graph that is thrown away.
  struct SecondRun : SavedTensorHandler {
    explicit SecondRun(Recomputation& of) : of_(of) {}
    std::unique_ptr<SavedVariableHooks> hooks() override {
      struct Hooks : SavedVariableHooks {
        explicit Hooks(Recomputation& of) : of_(of) {}
        void call_pack_hook(const at::Tensor& tensor) override {
          if (!TouchedTensors::holds(tensor)) of_.receive(tensor);
        }
        at::Tensor call_unpack_hook() override {
          throw std::logic_error("the graph of a recomputation was used");
        }
        Recomputation& of_;
      };
      return std::make_unique<Hooks>(of_);
    }
    // Runs `body`, part of the second run, with what it saves out of memory.
    Tensors offloading(const SegmentBody& body, const Tensors& inputs) {
      const bool before = std::exchange(of_.is_offloading_, true);
      try {
        Tensors outputs = body(inputs);
        of_.is_offloading_ = before;
        return outputs;
      } catch (...) {
        of_.is_offloading_ = before;
        throw;
      }
    }
    Recomputation& of_;
  };

 private:
  std::size_t add(const at::Tensor& tensor) {
    const std::lock_guard lock(mutex_);
    places_.push_back({tensor.sizes().vec(), tensor.scalar_type()});
    return places_.size() - 1;
  }

  void forget(std::size_t place) {
    const std::lock_guard lock(mutex_);
    places_[place] = {{}, at::kFloat, /*is_wanted=*/false};
  }

  at::Tensor take(std::size_t place) {
    const std::lock_guard lock(mutex_);
    if (!places_[place].is_there()) run_again();
    Place& found = places_[place];
    at::Tensor tensor = found.offloaded ? found.offloaded->load() : std::move(found.tensor);
    found.tensor.reset();  // a second backward through a retained graph runs the body once more
    found.offloaded.reset();
    return tensor;
  }

  void run_again() {
    for (const KeptTensor& tensor : trained_) static_cast<void>(tensor.get());
    n_missing_ = 0;
    for (const Place& place : places_) n_missing_ += place.is_wanted && !place.is_there() ? 1 : 0;
    next_ = 0;
    Tensors inputs;
    for (const SavedVariable& variable : inputs_) {  // cut off from the graph before the segment
      const at::Tensor input = variable.unpack();
      inputs.push_back(input.defined() ? input.detach() : input);
      if (input.defined() && input.requires_grad()) inputs.back().requires_grad_();
    }
    const c10::AutoGradMode record(true);
    const RandomState::Scope replay(random_);
    const TouchedTensors touched;
    const SavedTensorScope scope(second_run_);
    try {
      body_(inputs);
    } catch (...) {
      // A plugin may have turned EarlyStop into an error of its own.
      if (n_missing_ > 0) throw;
    }
    if (n_missing_ > 0) {
      fail(support::cat("saved ", next_, " tensors, expected ", places_.size()));
    }
  }

  // On the thread that holds mutex_, within run_again().
  void receive(const at::Tensor& tensor) {
    if (next_ >= places_.size()) fail(support::cat("saved more than ", places_.size(), " tensors"));
    Place& place = places_[next_++];
    if (!place.is_wanted || place.is_there()) return;
    if (tensor.sizes() != place.sizes || tensor.scalar_type() != place.dtype) {
      fail(support::cat("saved a tensor ", c10::str(tensor.sizes()), " at place ", next_ - 1, ", expected ",
                        c10::str(at::IntArrayRef(place.sizes))));
    }
    if (is_offloading_ && OffloadFile::takes(tensor)) {
      place.offloaded = file_->store(tensor);
    } else {
      place.tensor = tensor.detach();
    }
    if (--n_missing_ == 0) throw EarlyStop();
  }

  [[noreturn]] void fail(const std::string& what) const {
    throw support::PluginError(support::cat(
        "segment ", segment_, " of the model family was computed again for backward and ", what,
        "; a segment's body must compute the same each time it runs, from its inputs and parameters alone"));
  }

  std::uint32_t segment_;
  SegmentBody body_;
  std::vector<SavedVariable> inputs_;
  std::vector<KeptTensor> trained_;  // that the body used: they must not change before backward
  RandomState random_;
  std::shared_ptr<OffloadFile> file_;
  FirstRun first_run_;
  SecondRun second_run_;

  std::mutex mutex_;  // backward may come from several threads
  std::vector<Place> places_;
  std::size_t next_ = 0, n_missing_ = 0;  // of the second run
  bool is_offloading_ = false;
};

class RecomputeHook : public model::SegmentHook {
 public:
  explicit RecomputeHook(std::vector<Decision> decisions) : decisions_(std::move(decisions)) {
    if (std::find(decisions_.begin(), decisions_.end(), Decision::kOffload) == decisions_.end()) return;
    file_ = std::make_shared<OffloadFile>();
    offload_ = offload_handler(file_);
  }

  Tensors run(std::uint32_t segment, const SegmentBody& body, const Tensors& inputs) override {
    const Decision decision = segment < decisions_.size() ? decisions_[segment] : Decision::kKeep;
    if (decision == Decision::kKeep || !c10::GradMode::is_enabled()) return body(inputs);
    if (decision == Decision::kRecompute) {
      return std::make_shared<Recomputation>(segment, body, inputs, file_)->run(inputs);
    }
    SavedTensorHandler* const around = SavedTensorScope::innermost();
    if (auto* const second_run = dynamic_cast<Recomputation::SecondRun*>(around)) {
      return second_run->offloading(body, inputs);
    }
    if (around != nullptr)
      return body(inputs);  // of a recomputed segment, which drops it, or of an offloaded one
    const SavedTensorScope scope(*offload_);
    const TouchedTensors touched;
    return body(inputs);
  }

 private:
  std::vector<Decision> decisions_;
  std::shared_ptr<OffloadFile> file_;
  std::unique_ptr<SavedTensorHandler> offload_;
};

}  // namespace

std::shared_ptr<model::SegmentHook> recompute_hook(std::vector<Decision> decisions) {
  return std::make_shared<RecomputeHook>(std::move(decisions));
}

}  // namespace graft::memory
