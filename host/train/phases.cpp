// SPDX-License-Identifier: Apache-2.0
#include "train/phases.h"

#include <algorithm>
#include <fstream>

#include "support/strings.h"

namespace graft::train {

using support::cat;

namespace {

constexpr double kGib = 1024.0 * 1024.0 * 1024.0;

// The line "VmRSS:   1676 kB" of /proc/self/status, in bytes (proc(5)).
std::optional<std::int64_t> status_bytes(const std::string& key) {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    if (word != key) continue;
    std::int64_t kib = 0;
    if (status >> kib) return kib * 1024;
    break;
  }
  return std::nullopt;
}

}  // namespace

std::optional<std::int64_t> current_memory() {
  return status_bytes("VmRSS:");
}

std::optional<std::int64_t> peak_memory() {
  return status_bytes("VmHWM:");
}

bool reset_peak_memory() {
  std::ofstream file("/proc/self/clear_refs");
  file << "5" << std::flush;  // proc(5): 5 resets the peak resident set size, and nothing else
  return file.good();
}

Phases::Scope::Scope(Phases& phases, std::string name)
    : phases_(phases),
      name_(std::move(name)),
      has_own_peak_(reset_peak_memory()),
      start_(std::chrono::steady_clock::now()) {}

Phases::Scope::~Scope() {
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start_;
  phases_.add(name_, elapsed.count(), has_own_peak_ ? peak_memory() : current_memory());
}

double Phases::seconds(const std::string& name) const {
  for (const Phase& phase : phases_) {
    if (phase.name == name) return phase.seconds;
  }
  return 0.0;
}

double Phases::total() const {
  double sum = 0.0;
  for (const Phase& phase : phases_) sum += phase.seconds;
  return sum;
}

void Phases::add(const std::string& name, double seconds, std::optional<std::int64_t> peak_bytes) {
  auto phase = std::find_if(phases_.begin(), phases_.end(), [&](const Phase& p) { return p.name == name; });
  if (phase == phases_.end()) phase = phases_.insert(phases_.end(), Phase{name, 0.0, std::nullopt});
  phase->seconds += seconds;
  if (peak_bytes) phase->peak_bytes = std::max(phase->peak_bytes.value_or(0), *peak_bytes);
}

void Phases::add_to(nlohmann::ordered_json& metrics) const {
  for (const Phase& phase : phases_) metrics[cat("time/", phase.name)] = phase.seconds;
  for (const Phase& phase : phases_) {
    if (phase.peak_bytes) {
      metrics[cat("memory/", phase.name, "_gib")] = static_cast<double>(*phase.peak_bytes) / kGib;
    }
  }
}

}  // namespace graft::train
