// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "plugin/registry.h"

namespace graft::rewards {

struct ImageSize {
  std::int64_t original_width = 0, original_height = 0, processed_width = 0, processed_height = 0;
};

// What a reward sees of one completion. Views must outlive the call.
struct Item {
  std::string_view prompt, completion, completion_raw, solution, sample_json;
  std::span<const std::int64_t> token_ids;
  std::vector<ImageSize> images;
  bool is_finished = true;
  std::uint64_t group = 0;
};

enum class Status : std::int32_t {
  kOk = 0,
  kNoOpinion = 1,
  kUnparsable = 2,
  kError = 3,
  kTimeout = 4
};  // GRAFT_SCORE_*

// What a reward found in one completion, for diagnosis (graft_observation).
struct Observation {
  std::string answer, key;
  std::vector<std::array<double, 4>> boxes;  // numbers as written
  std::uint32_t parts = 0;                   // GRAFT_PART_*
  std::uint32_t box_notations = 0;           // GRAFT_BOX_*
};

struct Scores {
  std::vector<std::vector<double>> values;        // [item][component]; NaN where there is no score
  std::vector<std::vector<Status>> statuses;      // [item][reward]
  std::vector<std::vector<std::string>> reasons;  // [item][reward]
  // [item][reward] where observations were asked for and the reward makes them; else empty.
  std::vector<std::vector<std::optional<Observation>>> observations;
};

struct RewardSpec {
  std::string name;  // of a plugin, or "python:FILE.py:FUNCTION"
  double weight = 1.0;
  nlohmann::json params = nlohmann::json::object();
  // For rewards in a process of their own, which Python functions always are:
  bool isolate = false;
  std::optional<double> timeout{};     // seconds for a batch; null: kDefaultTimeout
  std::optional<double> max_memory{};  // GiB of the process; null: kDefaultMemory
};

inline constexpr double kDefaultTimeout = 60.0;  // seconds
inline constexpr double kDefaultMemory = 4.0;    // GiB

struct Contract {
  std::string format, example;
  std::int32_t coordinate_space = 0;
  std::uint32_t parts = 0, box_notations = 0;  // GRAFT_PART_*, GRAFT_BOX_*
};

// A reward as the run knows it.
struct RewardInfo {
  std::string name;  // as in names()
  Contract contract;
  nlohmann::json params;                // with defaults
  std::size_t first_component = 0;      // of its scores among components()
  double minimum = 0.0, maximum = 0.0;  // of each score
};

// The rewards of a run. A failing or misbehaving plugin (error status, NaN, out of range) makes the items' scores NaN and is
// counted; it never ends the run.
class RewardSet {
 public:
  RewardSet(plugin::Registry& registry,
            const std::vector<RewardSpec>& specs);  // UserError/PluginError for bad specs
  ~RewardSet();
  [[nodiscard]] const std::vector<std::string>& components() const;  // metric names: "iou", "format"; unique
  [[nodiscard]] const std::vector<double>& weights() const;          // one per component
  [[nodiscard]] const std::vector<std::string>& names() const;       // one per reward
  // Smallest and largest weighted sum of all components, from the ranges that the rewards declare; may be infinite.
  [[nodiscard]] std::pair<double, double> range() const;
  [[nodiscard]] std::vector<RewardInfo> infos() const;  // one per reward
  // `observe`: also collect what each reward found in each completion.
  [[nodiscard]] Scores score(std::span<const Item> items, std::uint64_t step, bool observe = false) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// A score for JSON output: null where there is none.
[[nodiscard]] nlohmann::ordered_json score_json(double value);

}  // namespace graft::rewards
