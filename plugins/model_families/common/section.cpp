// SPDX-License-Identifier: Apache-2.0
#include "common/section.h"

namespace families {

using graft::Error;
using graft::Json;

namespace {

template <typename Result>
Result read(const Section& section, std::string_view key, Result (Json::*as)() const) {
  const Json* value = section.find(key);
  section.require(value != nullptr, key, "is missing");
  try {
    return (value->*as)();
  } catch (const Error& error) {
    throw Error(section.where() + ": " + std::string(key) + ": " + error.what());
  }
}

template <typename Result>
std::vector<Result> list(const Section& section, std::string_view key, Result (Json::*as)() const) {
  std::vector<Result> out;
  const Json* value = section.find(key);
  try {
    for (const Json& item : value->items()) out.push_back((item.*as)());
  } catch (const Error& error) {
    throw Error(section.where() + ": " + std::string(key) + ": " + error.what());
  }
  return out;
}

}  // namespace

Json parse_file(std::string_view text, const std::string& where) {
  try {
    return Json::parse(text);
  } catch (const Error& error) {
    throw Error(where + ": " + error.what());
  }
}

bool Section::is_empty() const {
  return json_->is_object() && json_->members().empty();
}

const Json* Section::find(std::string_view key) const {
  const Json* value = json_->find(key);
  return value != nullptr && !value->is_null() ? value : nullptr;
}

std::optional<Section> Section::child(std::string_view key) const {
  const Json* value = find(key);
  if (value == nullptr) return std::nullopt;
  return Section(*value, where_ + ": " + std::string(key));
}

std::int64_t Section::integer(std::string_view key, std::int64_t fallback) const {
  return find(key) != nullptr ? read(*this, key, &Json::as_int) : fallback;
}

double Section::number(std::string_view key, double fallback) const {
  return find(key) != nullptr ? number(key) : fallback;
}

double Section::number(std::string_view key) const {
  return read(*this, key, &Json::as_number);
}

bool Section::boolean(std::string_view key, bool fallback) const {
  return find(key) != nullptr ? read(*this, key, &Json::as_bool) : fallback;
}

std::string Section::string(std::string_view key, std::string_view fallback) const {
  return find(key) != nullptr ? std::string(read(*this, key, &Json::as_string)) : std::string(fallback);
}

std::vector<double> Section::numbers(std::string_view key, const std::vector<double>& fallback) const {
  return find(key) != nullptr ? list(*this, key, &Json::as_number) : fallback;
}

std::vector<std::int64_t> Section::integers(std::string_view key,
                                            const std::vector<std::int64_t>& fallback) const {
  return find(key) != nullptr ? list(*this, key, &Json::as_int) : fallback;
}

std::int64_t Section::count(std::string_view key) const {
  const std::int64_t value = read(*this, key, &Json::as_int);
  require(value > 0 && value < (std::int64_t{1} << 40), key,
          "is " + std::to_string(value) + ", expected 1 or more");
  return value;
}

std::int64_t Section::count(std::string_view key, std::int64_t fallback) const {
  return find(key) != nullptr ? count(key) : fallback;
}

void Section::require(bool condition, std::string_view key, const std::string& problem) const {
  if (!condition) throw Error(where_ + ": " + std::string(key) + " " + problem);
}

void Section::expect(std::string_view key, std::string_view only) const {
  const std::string value = string(key, only);
  require(value == only, key, "is \"" + value + "\", expected \"" + std::string(only) + "\"");
}

void Section::expect(std::string_view key, std::int64_t only) const {
  const std::int64_t value = integer(key, only);
  require(value == only, key, "is " + std::to_string(value) + ", expected " + std::to_string(only));
}

bool is_config_of(const Json& config, std::string_view model_type, std::string_view architecture) {
  if (const Json* type = config.find("model_type"))
    return type->is_string() && type->as_string() == model_type;
  const Json* architectures = config.find("architectures");
  if (architectures == nullptr || !architectures->is_array() || architectures->items().empty()) return false;
  const Json& first = architectures->items().front();
  return first.is_string() && first.as_string() == architecture;
}

}  // namespace families
