// SPDX-License-Identifier: Apache-2.0
// Where a step spends its time and memory.
#pragma once

#include <chrono>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace graft::train {

// Resident memory of this process in bytes: now, and at its peak since start or the last reset_peak_memory(). Nothing where
// the system does not tell (only Linux's /proc/self/status is asked).
[[nodiscard]] std::optional<std::int64_t> current_memory();
[[nodiscard]] std::optional<std::int64_t> peak_memory();

// Starts a new peak from the current memory (Linux: /proc/self/clear_refs); false where that is not possible. The peak that
// the system reports for the process as a whole (ru_maxrss) then counts from the last reset, too.
bool reset_peak_memory();

// A stopwatch for the phases of one step: seconds and peak memory by name. Phases run one after the other, not inside each
// other; one that is entered again adds to its seconds and may raise its peak. One thread.
class Phases {
 public:
  // Runs while the object lives, so that a phase ends however it is left.
  class Scope {
   public:
    Scope(Phases& phases, std::string name);
    ~Scope();
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;
    Scope(Scope&&) = delete;
    Scope& operator=(Scope&&) = delete;

   private:
    Phases& phases_;
    std::string name_;
    bool has_own_peak_;
    std::chrono::steady_clock::time_point start_;
  };

  // What `body` returns, run as the phase `name`.
  template <typename Body>
  decltype(auto) run(const char* name, Body&& body) {
    const Scope scope(*this, name);
    return std::forward<Body>(body)();
  }

  // Seconds of a phase so far; 0 for one that was not entered.
  [[nodiscard]] double seconds(const std::string& name) const;
  [[nodiscard]] double total() const;  // seconds of all phases

  // time/NAME in seconds and memory/NAME_gib in GiB, in the order in which the phases were entered first. Memory is the peak
  // of resident memory during the phase, or the memory at its end where the system has no peak by phase; left out where it
  // tells neither.
  void add_to(nlohmann::ordered_json& metrics) const;

 private:
  struct Phase {
    std::string name;
    double seconds = 0.0;
    std::optional<std::int64_t> peak_bytes;
  };
  void add(const std::string& name, double seconds, std::optional<std::int64_t> peak_bytes);

  std::vector<Phase> phases_;
};

}  // namespace graft::train
