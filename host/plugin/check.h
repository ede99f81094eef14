// SPDX-License-Identifier: Apache-2.0
// `graft plugins check FILE`: does a plugin keep the contract of its headers? Finds what loading cannot: unknown ids that
// get an answer, leaks, scores that depend on order, outputs out of range, crashes on hostile input.
#pragma once

#include <graft/host.h>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace graft::plugin {

struct CheckFinding {
  enum class Level { kPass, kWarn, kFail };
  Level level = Level::kPass;
  std::string component;  // "reward iou"; empty: the library as a whole
  std::string check;      // "deterministic"
  std::string detail;     // what was found and what was expected
};

struct CheckReport {
  std::filesystem::path file;
  std::uint64_t seed = 0;
  std::vector<CheckFinding> findings;

  [[nodiscard]] std::size_t count(CheckFinding::Level level) const;
  [[nodiscard]] bool passed() const { return count(CheckFinding::Level::kFail) == 0; }
  [[nodiscard]] std::string text() const;  // for people, several lines
  [[nodiscard]] nlohmann::json json() const;
};

struct CheckOptions {
  std::uint64_t seed = 1;  // of everything that is generated; a report names it
  std::chrono::milliseconds limit = std::chrono::seconds(45);
  int instances = 1000;  // made and destroyed in the search for leaks
};

// Loads the library in a child process and checks everything there, so that a plugin that crashes or hangs becomes a
// finding. Throws only for what has nothing to do with the plugin.
CheckReport check_plugin(const std::filesystem::path& file, const graft_host* host,
                         const CheckOptions& options = {});

}  // namespace graft::plugin
