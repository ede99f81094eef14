// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <istream>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "model/model.h"

namespace graft::cli {

// One line of JSONL, newline included; text that is not UTF-8 is written with replacement characters.
[[nodiscard]] std::string dump_line(const nlohmann::ordered_json& row);

// Reads JSON objects, one a line (empty lines are skipped). UserError naming the line, as "NAME:LINE", for anything that is not an
// object, and for the UserErrors of `use`.
void for_each_row(std::istream& in, const std::string& name,
                  const std::function<void(const nlohmann::json&)>& use);

// Reads JSON objects from stdin, one a line (empty lines are skipped), and writes what `answer` returns for each to stdout, in
// order. UserError naming the line for anything that is not an object.
void for_each_line(const std::function<nlohmann::ordered_json(const nlohmann::json&)>& answer);

// A member of a row; UserError naming the line and key if it is missing or of another type.
[[nodiscard]] std::string text_member(const nlohmann::json& row, const std::string& key);
[[nodiscard]] std::string text_member(const nlohmann::json& row, const std::string& key,
                                      const std::string& fallback);

// A one-turn prompt with its images loaded from files.
[[nodiscard]] model::Prompt prepare_prompt(const model::Model& model, const std::string& question,
                                           const std::vector<std::string>& image_files,
                                           const std::optional<std::string>& system_prompt);

}  // namespace graft::cli
