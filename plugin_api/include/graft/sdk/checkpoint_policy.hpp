// SPDX-License-Identifier: Apache-2.0
// graft/sdk/checkpoint_policy.hpp: a checkpoint policy as a class.
//
//   struct Alternate : graft::CheckpointPolicy {
//     static constexpr auto name = "alternate";
//     static constexpr auto summary = "recompute every second decoder block";
//     std::vector<graft::Decision> plan(const graft::Segments& segments, std::uint64_t) override {
//       std::vector<graft::Decision> out(segments.size(), graft::Decision::keep);
//       for (std::size_t i = 0, block = 0; i < segments.size(); ++i) {
//         if (segments[i].parent == -1 && block++ % 2 == 0) out[i] = graft::Decision::recompute;
//       }
//       return out;
//     }
//   };
//   GRAFT_PLUGIN(Alternate);
#ifndef GRAFT_SDK_CHECKPOINT_POLICY_HPP
#define GRAFT_SDK_CHECKPOINT_POLICY_HPP

#include <graft/checkpoint_policy.h>
#include <graft/sdk/plugin.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace graft {

enum class Decision : std::int32_t {
  keep = GRAFT_SEGMENT_KEEP,            // keep all activations
  recompute = GRAFT_SEGMENT_RECOMPUTE,  // keep the inputs, run the segment again in backward
  offload = GRAFT_SEGMENT_OFFLOAD,      // keep the activations in host memory
};

// The pieces of the forward pass, parents before their children. A view: valid during the call.
class Segments {
 public:
  Segments(const graft_segment_info* const* raw, std::uint64_t n)
      : raw_(raw), n_(static_cast<std::size_t>(n)) {}
  [[nodiscard]] std::size_t size() const { return n_; }
  [[nodiscard]] const graft_segment_info& operator[](std::size_t index) const { return *raw_[index]; }
  [[nodiscard]] std::string_view name(std::size_t index) const { return to_view(raw_[index]->name); }

 private:
  const graft_segment_info* const* raw_;
  std::size_t n_;
};

template <typename T>
struct CheckpointPolicyKind;

// Base class of policies. plan() is called by the control thread.
class CheckpointPolicy : public Component {
 public:
  template <typename T>
  using Kind = CheckpointPolicyKind<T>;

  // One decision per segment. budget_bytes is the memory that activations may take, 0 if there is no limit.
  virtual std::vector<Decision> plan(const Segments& segments, std::uint64_t budget_bytes) = 0;
};

// How graft.checkpoint_policy/1 reaches a class T.
template <typename T>
struct CheckpointPolicyKind {
  static constexpr std::string_view kind = GRAFT_KIND_CHECKPOINT_POLICY;
  static const void* interface(std::string_view id) {
    return id == GRAFT_INTERFACE_CHECKPOINT_POLICY ? &vtable : nullptr;
  }

 private:
  static graft_status plan(graft_instance* instance, const graft_segment_info* const* segments,
                           std::uint64_t n, std::uint64_t budget_bytes, std::int32_t* decisions,
                           graft_error* error) noexcept {
    return guard(error, [&] {
      const std::vector<Decision> made = self<T>(instance).plan(Segments(segments, n), budget_bytes);
      if (made.size() != n) {
        throw Error(GRAFT_E_INTERNAL, "plan() returned " + std::to_string(made.size()) + " decisions for " +
                                          std::to_string(n) + " segments");
      }
      std::transform(made.begin(), made.end(), decisions,
                     [](Decision decision) { return static_cast<std::int32_t>(decision); });
    });
  }

  static constexpr graft_checkpoint_policy vtable = {GRAFT_HDR(graft_checkpoint_policy), &plan};
};

}  // namespace graft

#endif
