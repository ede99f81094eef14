// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace graft::train {

class Phases {
 public:
  void run(const std::string& name, const std::function<void()>& body) {
    const auto start = std::chrono::steady_clock::now();
    body();
    phases_.emplace_back(name,
                         std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  [[nodiscard]] double seconds(const std::string& name) const {
    double sum = 0.0;
    for (const auto& [phase, seconds] : phases_) sum += phase == name ? seconds : 0.0;
    return sum;
  }
  [[nodiscard]] double total() const {
    double sum = 0.0;
    for (const auto& [phase, seconds] : phases_) sum += seconds;
    return sum;
  }
  void add_to(nlohmann::ordered_json& metrics) const {
    for (const auto& [phase, seconds] : phases_) metrics["time/" + phase] = seconds;
  }

 private:
  std::vector<std::pair<std::string, double>> phases_;
};

}  // namespace graft::train
