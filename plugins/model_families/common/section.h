// SPDX-License-Identifier: Apache-2.0
// Reading config.json and its neighbours: typed values, with messages that name the file and the key.
#pragma once

#include <graft/sdk/json.hpp>
#include <graft/sdk/model_family.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace families {

// Parses a whole file; throws graft::Error that begins with `where`.
[[nodiscard]] graft::Json parse_file(std::string_view text, const std::string& where);

// One object of a file, which it borrows. A null member counts as absent. Every reader throws graft::Error that names `where`
// and the key if the value is missing (without a fallback) or of another type.
class Section {
 public:
  Section(const graft::Json& json, std::string where) : json_(&json), where_(std::move(where)) {}

  [[nodiscard]] const std::string& where() const { return where_; }
  [[nodiscard]] bool is_empty() const;  // an object without members
  [[nodiscard]] const graft::Json* find(std::string_view key) const;
  [[nodiscard]] std::optional<Section> child(std::string_view key) const;  // empty if absent

  [[nodiscard]] std::int64_t integer(std::string_view key, std::int64_t fallback) const;
  [[nodiscard]] double number(std::string_view key, double fallback) const;
  [[nodiscard]] double number(std::string_view key) const;
  [[nodiscard]] bool boolean(std::string_view key, bool fallback) const;
  [[nodiscard]] std::string string(std::string_view key, std::string_view fallback) const;
  [[nodiscard]] std::vector<double> numbers(std::string_view key, const std::vector<double>& fallback) const;
  [[nodiscard]] std::vector<std::int64_t> integers(std::string_view key,
                                                   const std::vector<std::int64_t>& fallback) const;
  // A count of things: 1 or more.
  [[nodiscard]] std::int64_t count(std::string_view key) const;
  [[nodiscard]] std::int64_t count(std::string_view key, std::int64_t fallback) const;

  void require(bool condition, std::string_view key, const std::string& problem) const;
  // For keys of which the families offer one value: anything else that is written there is refused.
  void expect(std::string_view key, std::string_view only) const;
  void expect(std::string_view key, std::int64_t only) const;

 private:
  const graft::Json* json_;
  std::string where_;
};

// config.json as parsed, with its place for messages.
struct ConfigFile {
  explicit ConfigFile(const graft::FamilyFiles& files)
      : where(std::string(files.directory()) + "/config.json"), json(parse_file(files.config(), where)) {}
  ConfigFile(const ConfigFile&) = delete;
  ConfigFile& operator=(const ConfigFile&) = delete;
  [[nodiscard]] Section root() const { return {json, where}; }

  std::string where;
  graft::Json json;
};

// Whether config.json is that of a model: by its model_type, or by its architecture if it names no type. What probe() answers.
[[nodiscard]] bool is_config_of(const graft::Json& config, std::string_view model_type,
                                std::string_view architecture);

}  // namespace families
