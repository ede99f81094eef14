// SPDX-License-Identifier: Apache-2.0
// graft/sdk/json.hpp: a small JSON value for plugins: parameters, messages, samples.
#ifndef GRAFT_SDK_JSON_HPP
#define GRAFT_SDK_JSON_HPP

#include <graft/sdk/error.hpp>

#include <charconv>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

// GCC 12 takes the unused alternatives of a moved std::variant for reads of uninitialised memory.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

namespace graft {

// A JSON value. Members keep the order of the text; of equal keys the last one counts. Accessors throw Error
// when the value is of another type. Not shared between threads while it is being changed.
class Json {
 public:
  using Items = std::vector<Json>;
  using Members = std::vector<std::pair<std::string, Json>>;

  Json() = default;  // null
  Json(std::nullptr_t) {}
  Json(bool value) : value_(value) {}
  Json(int value) : value_(static_cast<std::int64_t>(value)) {}
  Json(std::int64_t value) : value_(value) {}
  Json(double value) : value_(value) {}
  Json(const char* value) : value_(std::string(value)) {}
  Json(std::string_view value) : value_(std::string(value)) {}
  Json(std::string value) : value_(std::move(value)) {}
  [[nodiscard]] static Json array(Items items = {}) { return Json(Value(std::move(items))); }
  [[nodiscard]] static Json object(Members members = {}) { return Json(Value(std::move(members))); }

  // Parses a whole text (RFC 8259, UTF-8). Throws Error with the byte offset of the fault; `max_depth` bounds
  // the nesting, so that a hostile text cannot exhaust the stack.
  [[nodiscard]] static Json parse(std::string_view text, int max_depth = 100);

  [[nodiscard]] bool is_null() const { return std::holds_alternative<std::nullptr_t>(value_); }
  [[nodiscard]] bool is_bool() const { return std::holds_alternative<bool>(value_); }
  [[nodiscard]] bool is_int() const { return std::holds_alternative<std::int64_t>(value_); }
  [[nodiscard]] bool is_number() const { return is_int() || std::holds_alternative<double>(value_); }
  [[nodiscard]] bool is_string() const { return std::holds_alternative<std::string>(value_); }
  [[nodiscard]] bool is_array() const { return std::holds_alternative<Items>(value_); }
  [[nodiscard]] bool is_object() const { return std::holds_alternative<Members>(value_); }

  [[nodiscard]] bool as_bool() const { return get<bool>("true or false"); }
  [[nodiscard]] double as_number() const;
  [[nodiscard]] std::int64_t as_int() const;  // also of a number such as 1e6 or 2.0
  [[nodiscard]] const std::string& as_string() const { return get<std::string>("a string"); }
  [[nodiscard]] const Items& items() const { return get<Items>("an array"); }
  [[nodiscard]] const Members& members() const { return get<Members>("an object"); }

  // The member of that name of an object; null pointer if there is none or this is no object.
  [[nodiscard]] const Json* find(std::string_view key) const;
  [[nodiscard]] const Json& at(std::string_view key) const;  // Error if there is none
  [[nodiscard]] bool contains(std::string_view key) const { return find(key) != nullptr; }

  // Adds or replaces a member; a null value becomes an object first.
  Json& set(std::string_view key, Json value);
  // Adds an item; a null value becomes an array first.
  Json& push(Json item);

  // One line, no spaces, UTF-8 left as it is. Numbers that JSON lacks (NaN, infinities) are written as null.
  [[nodiscard]] std::string dump() const;

 private:
  using Value = std::variant<std::nullptr_t, bool, std::int64_t, double, std::string, Items, Members>;
  explicit Json(Value value) : value_(std::move(value)) {}
  template <typename T>
  [[nodiscard]] const T& get(const char* expected) const {
    if (const T* value = std::get_if<T>(&value_)) return *value;
    throw Error(std::string("expected ") + expected + ", found " + type_name());
  }
  [[nodiscard]] const char* type_name() const {
    static constexpr const char* kNames[] = {"null",     "a boolean", "an integer", "a number",
                                             "a string", "an array",  "an object"};
    return kNames[value_.index()];
  }
  void write(std::string& out) const;
  static void write_string(std::string& out, std::string_view text);

  Value value_ = nullptr;
};

inline double Json::as_number() const {
  if (const auto* value = std::get_if<std::int64_t>(&value_)) return static_cast<double>(*value);
  return get<double>("a number");
}

inline std::int64_t Json::as_int() const {
  if (const auto* value = std::get_if<std::int64_t>(&value_)) return *value;
  const double value = get<double>("an integer");
  if (value != std::floor(value) || std::fabs(value) > 9007199254740992.0) {
    throw Error("expected an integer, found " + dump());
  }
  return static_cast<std::int64_t>(value);
}

inline const Json* Json::find(std::string_view key) const {
  const auto* members = std::get_if<Members>(&value_);
  if (members == nullptr) return nullptr;
  for (auto it = members->rbegin(); it != members->rend(); ++it) {
    if (it->first == key) return &it->second;
  }
  return nullptr;
}

inline const Json& Json::at(std::string_view key) const {
  if (const Json* value = find(key)) return *value;
  throw Error(is_object() ? "missing key \"" + std::string(key) + "\""
                          : std::string("expected an object with \"") + std::string(key) + "\", found " +
                                type_name());
}

inline Json& Json::set(std::string_view key, Json value) {
  if (is_null()) value_ = Members{};
  static_cast<void>(members());
  for (auto& [name, old] : std::get<Members>(value_)) {
    if (name == key) return old = std::move(value);
  }
  return std::get<Members>(value_).emplace_back(std::string(key), std::move(value)).second;
}

inline Json& Json::push(Json item) {
  if (is_null()) value_ = Items{};
  static_cast<void>(items());
  return std::get<Items>(value_).emplace_back(std::move(item));
}

inline std::string Json::dump() const {
  std::string out;
  write(out);
  return out;
}

inline void Json::write_string(std::string& out, std::string_view text) {
  static constexpr char kHex[] = "0123456789abcdef";
  out += '"';
  for (const char c : text) {
    switch (c) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\t':
        out += "\\t";
        break;
      default: {
        const auto byte = static_cast<unsigned char>(c);
        if (byte < 0x20) {
          out += "\\u00";
          out += kHex[byte >> 4];
          out += kHex[byte & 15];
        } else {
          out += c;
        }
      }
    }
  }
  out += '"';
}

inline void Json::write(std::string& out) const {
  char digits[32];
  const auto write_number = [&](auto number) {
    out.append(digits, std::to_chars(digits, digits + sizeof digits, number).ptr);
  };
  if (is_null()) {
    out += "null";
  } else if (is_bool()) {
    out += as_bool() ? "true" : "false";
  } else if (is_int()) {
    write_number(std::get<std::int64_t>(value_));
  } else if (const auto* number = std::get_if<double>(&value_)) {
    if (std::isfinite(*number)) {
      write_number(*number);
    } else {
      out += "null";
    }
  } else if (is_string()) {
    write_string(out, as_string());
  } else if (is_array()) {
    out += '[';
    const char* separator = "";
    for (const Json& item : items()) {
      out += separator;
      item.write(out);
      separator = ",";
    }
    out += ']';
  } else {
    out += '{';
    const char* separator = "";
    for (const auto& [key, value] : members()) {
      out += separator;
      write_string(out, key);
      out += ':';
      value.write(out);
      separator = ",";
    }
    out += '}';
  }
}

}  // namespace graft

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif

#include <graft/sdk/json_parser.hpp>

#endif
