// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "plugin/registry.h"

namespace graft::adapt {

// What a PEFT directory says of itself, without its base model.
struct AdapterInfo {
  // Tensors of modules that share their last name.
  struct Row {
    std::string layer;                 // "q_proj"
    std::vector<std::string> tensors;  // "lora_A.weight [8, 128]", a range where shapes differ
    std::int64_t layers = 0;
    std::int64_t parameters = 0;
  };

  std::string strategy;
  nlohmann::json params;  // of the strategy
  std::string base_model;
  nlohmann::ordered_json targets;  // target_modules as written
  std::int64_t tensors = 0;
  std::int64_t parameters = 0;
  std::uint64_t bytes = 0;
  std::string dtype;  // "float32", or "mixed"
  std::vector<Row> rows;

  [[nodiscard]] nlohmann::ordered_json json() const;
  [[nodiscard]] std::string text() const;  // for people, several lines
};

// UserError for a directory that is no adapter or of no known strategy.
[[nodiscard]] AdapterInfo read_adapter_info(plugin::Registry& registry,
                                            const std::filesystem::path& directory);

}  // namespace graft::adapt
