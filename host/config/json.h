// SPDX-License-Identifier: Apache-2.0
// JSON for people: comments (// and /* */) are allowed, duplicate keys are errors, and every message names
// the file, the line and the column.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace graft::config {

// A parsed text that remembers where its keys and list items stand.
struct JsonDocument {
  nlohmann::json value;
  std::string name;                  // of the file, for messages
  std::map<std::string, int> lines;  // dotted path ("rewards.0.name") -> line, counted from 1

  // "run.json:12" for a path that the text contains, "run.json" otherwise.
  [[nodiscard]] std::string where(const std::string& path) const;
};

// Parses a text. Throws UserError "name:line:column: …" for malformed JSON, duplicate keys and text that is
// not UTF-8.
[[nodiscard]] JsonDocument parse_json_document(std::string_view text, const std::string& name);

// Reads and parses a file; UserError also if it cannot be read.
[[nodiscard]] JsonDocument load_json_document(const std::filesystem::path& path);

// The same for large machine-written files: no positions are kept and duplicate keys are not looked for.
// `first_line` is the number of the text's first line in the file `name`.
[[nodiscard]] nlohmann::json parse_json(std::string_view text, const std::string& name,
                                        std::int64_t first_line = 1);
[[nodiscard]] nlohmann::json load_json(const std::filesystem::path& path);

// A value for a message: its JSON text, shortened to about 60 characters.
[[nodiscard]] std::string shown(const nlohmann::json& value);

// `prefix` + "." + `key`, or just `key` at the top.
[[nodiscard]] std::string dotted(const std::string& prefix, std::string_view key);

}  // namespace graft::config
