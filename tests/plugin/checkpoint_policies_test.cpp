// SPDX-License-Identifier: Apache-2.0
// What the checkpoint policies decide. Memory and arithmetic of a decision are counted here as plugins/checkpoint_policies/budget/search.h
// describes them.
#include <graft/checkpoint_policy.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>
#include <numeric>
#include <optional>

#include "plugin/host_services.h"
#include "plugin/registry.h"
#include "support/error.h"
#include "support/random.h"

namespace graft::plugin {
namespace {

using nlohmann::json;
using Decisions = std::vector<std::int32_t>;

constexpr std::int32_t kKeep = GRAFT_SEGMENT_KEEP, kRecompute = GRAFT_SEGMENT_RECOMPUTE;

struct Segment {
  std::string name;
  std::int32_t parent;
  std::uint64_t activation, input, flops;
  std::int32_t component = GRAFT_COMPONENT_LANGUAGE;
};

Decisions decide(const std::string& policy, const json& params, const std::vector<Segment>& segments,
                 std::uint64_t budget = 0) {
  Registry registry(host_table());
  registry.add_default_search_path();
  const auto instance =
      registry.create(registry.find(GRAFT_KIND_CHECKPOINT_POLICY, policy), params, "params");
  const auto& table = instance->interface<graft_checkpoint_policy>(GRAFT_INTERFACE_CHECKPOINT_POLICY);
  std::vector<graft_segment_info> infos;
  std::vector<const graft_segment_info*> pointers;
  for (const Segment& s : segments) {
    infos.push_back(
        {GRAFT_HDR(graft_segment_info), view(s.name), s.parent, s.component, s.activation, s.input, s.flops});
  }
  for (const graft_segment_info& info : infos) pointers.push_back(&info);
  Decisions out(segments.size(), -1);
  call(policy, [&](graft_error* error) {
    return table.plan(instance->raw(), pointers.data(), pointers.size(), budget, out.data(), error);
  });
  return out;
}

// Blocks of two parts.
std::vector<Segment> decoder(int n_blocks) {
  std::vector<Segment> out;
  for (int i = 0; i < n_blocks; ++i) {
    const std::string name = "language.layers." + std::to_string(i);
    const auto parent = static_cast<std::int32_t>(out.size());
    out.push_back({name, -1, 160, 8, 120});
    out.push_back({name + ".attn", parent, 60, 8, 30});
    out.push_back({name + ".mlp", parent, 100, 8, 90});
  }
  return out;
}

struct Cost {
  std::uint64_t stored = 0, extra = 0, flops = 0;
};

Cost cost_of(const std::vector<Segment>& segments, const Decisions& decisions, std::size_t index) {
  std::uint64_t own = segments[index].activation;
  Cost out;
  for (std::size_t i = 0; i < segments.size(); ++i) {
    if (segments[i].parent != static_cast<std::int32_t>(index)) continue;
    const Cost child = cost_of(segments, decisions, i);
    own -= std::min(own, segments[i].activation);
    out.stored += child.stored;
    out.extra = std::max(out.extra, child.extra);
    out.flops += child.flops;
  }
  out.stored += own;
  if (decisions[index] == kKeep) return out;
  const std::uint64_t input = segments[index].input;
  out.extra += out.stored - std::min(out.stored, input);
  out.stored = input;
  out.flops += segments[index].flops;
  return out;
}

std::uint64_t gradients(const std::vector<Segment>& segments) {
  std::uint64_t largest = 0;
  for (std::size_t i = 0; i < segments.size(); ++i) {
    const bool is_leaf = std::none_of(segments.begin(), segments.end(), [&](const Segment& other) {
      return other.parent == static_cast<std::int32_t>(i);
    });
    if (is_leaf) largest = std::max(largest, segments[i].activation);
  }
  return static_cast<std::uint64_t>(0.55 * static_cast<double>(largest));
}

// The peak of backward, and the arithmetic that is done twice.
Cost total(const std::vector<Segment>& segments, const Decisions& decisions) {
  Cost sum;
  for (std::size_t i = 0; i < segments.size(); ++i) {
    if (segments[i].parent >= 0) continue;
    const Cost one = cost_of(segments, decisions, i);
    sum.stored += one.stored;
    sum.extra = std::max(sum.extra, sum.stored + one.extra);  // the peak so far
    sum.flops += one.flops;
  }
  return {sum.stored, sum.extra + gradients(segments), sum.flops};
}

// The least arithmetic of all decisions that fit.
std::optional<std::uint64_t> best_of_all(const std::vector<Segment>& segments, std::uint64_t limit) {
  std::optional<std::uint64_t> best;
  for (std::uint32_t bits = 0; bits < (1U << segments.size()); ++bits) {
    Decisions decisions;
    for (std::size_t i = 0; i < segments.size(); ++i)
      decisions.push_back((bits >> i & 1U) != 0 ? kRecompute : kKeep);
    const Cost cost = total(segments, decisions);
    if (cost.extra <= limit) best = std::min(best.value_or(cost.flops), cost.flops);
  }
  return best;
}

TEST(CheckpointPolicies, EveryNthTakesTheFirstOfEachN) {
  std::vector<Segment> segments = decoder(5);
  for (Segment s : decoder(3)) {
    s.component = GRAFT_COMPONENT_VISION;
    if (s.parent >= 0) s.parent += 15;
    segments.push_back(s);
  }
  const Decisions found = decide("every_nth", {{"n", 2}}, segments);
  Decisions blocks;
  for (std::size_t i = 0; i < segments.size(); ++i) {
    if (segments[i].parent < 0) {
      blocks.push_back(found[i]);
    } else {
      EXPECT_EQ(found[i], kKeep);
    }
  }
  EXPECT_EQ(blocks, (Decisions{1, 0, 1, 0, 1, 1, 0, 1}));
  EXPECT_EQ(decide("every_nth", {{"n", 1}}, segments), decide("full", json::object(), segments));
}

TEST(CheckpointPolicies, SelectiveTakesOnePartOfEveryBlock) {
  EXPECT_EQ(decide("selective", json::object(), decoder(2)), (Decisions{0, 0, 1, 0, 0, 1}));
  EXPECT_EQ(decide("selective", {{"part", "attention"}}, decoder(2)), (Decisions{0, 1, 0, 0, 1, 0}));
}

TEST(CheckpointPolicies, OffloadTakesEveryBlock) {
  EXPECT_EQ(decide("offload", json::object(), decoder(2)), (Decisions{2, 0, 0, 2, 0, 0}));
}

TEST(CheckpointPolicies, BudgetIsTheCheapestOfAllDecisionsThatFit) {
  support::KeyedRandom random(3, {support::hash_string("budget")});
  int compared = 0;
  for (int round = 0; round < 120; ++round) {
    std::vector<Segment> segments;
    const auto n = static_cast<std::size_t>(random.between(2, 9));
    for (std::size_t i = 0; i < n; ++i) {
      const bool is_root = i == 0 || random.below(2) == 0;
      segments.push_back({"s" + std::to_string(i), is_root ? -1 : static_cast<std::int32_t>(random.below(i)),
                          1 + random.below(100), random.below(20), random.below(1000)});
    }
    for (std::size_t i = n; i-- > 0;) {  // a segment keeps at least what its parts keep
      const std::int32_t parent = segments[i].parent;
      if (parent >= 0) segments[static_cast<std::size_t>(parent)].activation += segments[i].activation;
    }
    const std::uint64_t most = total(segments, Decisions(n, kKeep)).extra;
    const std::uint64_t limit = std::max<std::uint64_t>(most * (1 + random.below(10)) / 10, 1);
    const std::optional<std::uint64_t> best = best_of_all(segments, limit);
    const Decisions found = decide("budget", {{"memory", std::to_string(limit)}}, segments);
    if (!best) continue;
    ++compared;
    EXPECT_LE(total(segments, found).extra, limit);
    EXPECT_EQ(total(segments, found).flops, *best) << "round " << round;
  }
  EXPECT_GT(compared, 30);
}

TEST(CheckpointPolicies, BudgetIsExactForTwoHundredSegments) {
  support::KeyedRandom random(9, {support::hash_string("budget")});
  std::vector<Segment> segments;
  for (int i = 0; i < 200; ++i) {
    segments.push_back({"s" + std::to_string(i), -1, 1 + random.below(1000), 0, 1 + random.below(1000000)});
  }
  const std::uint64_t most = total(segments, Decisions(200, kKeep)).extra;
  const std::uint64_t reserve = gradients(segments);
  for (const std::uint64_t limit : {most / 4, most / 2}) {
    // The least arithmetic for each number of bytes stored so far.
    constexpr std::uint64_t kNone = std::numeric_limits<std::uint64_t>::max();
    std::vector<std::uint64_t> least(limit - reserve + 1, kNone);
    least[0] = 0;
    for (const Segment& s : segments) {
      std::vector<std::uint64_t> next(least.size(), kNone);
      for (std::size_t bytes = 0; bytes < least.size(); ++bytes) {
        if (least[bytes] == kNone || bytes + s.activation >= least.size()) continue;
        next[bytes] = std::min(next[bytes], least[bytes] + s.flops);
        next[bytes + s.activation] = std::min(next[bytes + s.activation], least[bytes]);
      }
      // Above, both ways need room for the whole segment: kept, it stays; recomputed, it is there during its backward.
      least = std::move(next);
    }
    const Decisions found = decide("budget", {{"memory", std::to_string(limit)}}, segments);
    const Cost cost = total(segments, found);
    EXPECT_LE(cost.extra, limit);
    EXPECT_EQ(cost.flops, *std::min_element(least.begin(), least.end()));
  }
}

TEST(CheckpointPolicies, BudgetTakesAShareOrAnAmount) {
  const std::vector<Segment> segments = decoder(12);
  EXPECT_EQ(decide("budget", {{"fraction", 1.0}}, segments), Decisions(36, kKeep));
  const std::uint64_t most = total(segments, Decisions(36, kKeep)).extra;
  std::uint64_t flops = 0;
  for (const double fraction : {0.9, 0.7, 0.5, 0.3}) {
    const Cost cost = total(segments, decide("budget", {{"fraction", fraction}}, segments));
    EXPECT_LE(static_cast<double>(cost.extra), fraction * static_cast<double>(most) + 1);
    EXPECT_GE(static_cast<double>(cost.extra), 0.9 * fraction * static_cast<double>(most));
    EXPECT_GT(cost.flops, flops);
    flops = cost.flops;
  }
  const Decisions by_bytes = decide("budget", {{"memory", "1 KiB"}}, segments);
  EXPECT_EQ(by_bytes, decide("budget", {{"memory", "1024"}}, segments));
  EXPECT_EQ(by_bytes, decide("budget", {{"fraction", 1.0}}, segments, 1024));
  EXPECT_THROW(decide("budget", {{"memory", "much"}}, segments), support::Error);
}

TEST(CheckpointPolicies, BudgetRecomputesEverythingWhereNothingFits) {
  const std::vector<Segment> segments = decoder(3);
  const Decisions found = decide("budget", {{"memory", "1"}}, segments);
  for (std::size_t i = 0; i < segments.size(); ++i) {
    if (segments[i].parent >= 0) continue;
    EXPECT_EQ(found[i], kRecompute);
  }
}

}  // namespace
}  // namespace graft::plugin
