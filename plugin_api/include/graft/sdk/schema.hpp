// SPDX-License-Identifier: Apache-2.0
// graft/sdk/schema.hpp: a component's parameters, declared once. The host validates what the user writes, fills in the
// defaults and prints help from it; the component reads the values through graft::Params.
//
//   static graft::Schema params() {
//     return graft::Schema()
//         .integer("r", 8, "rank of the update").minimum(1)
//         .number("alpha", 16, "scale of the update is alpha / r")
//         .number("dropout", 0, "on the input, in training").minimum(0).maximum(1)
//         .choice("space", {"pixels", "unit"}, "pixels", "coordinates of the boxes")
//         .boolean("rslora", false, "scale by alpha / sqrt(r)");
//   }
#ifndef GRAFT_SDK_SCHEMA_HPP
#define GRAFT_SDK_SCHEMA_HPP

#include <graft/sdk/error.hpp>
#include <graft/sdk/json.hpp>

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace graft {

// Declares properties; minimum() and the other limits belong to the property declared last.
class Schema {
 public:
  Schema& number(std::string_view name, double value, std::string_view description) {
    return add(name, "number", Json(value), description);
  }
  Schema& integer(std::string_view name, std::int64_t value, std::string_view description) {
    return add(name, "integer", Json(value), description);
  }
  Schema& boolean(std::string_view name, bool value, std::string_view description) {
    return add(name, "boolean", Json(value), description);
  }
  Schema& string(std::string_view name, std::string_view value, std::string_view description) {
    return add(name, "string", Json(value), description);
  }
  // A string out of a list.
  Schema& choice(std::string_view name, const std::vector<std::string>& values, std::string_view value,
                 std::string_view description) {
    add(name, "string", Json(value), description);
    return limit("enum", list(values));
  }
  Schema& strings(std::string_view name, const std::vector<std::string>& value,
                  std::string_view description) {
    return array(name, "string", list(value), description);
  }
  Schema& numbers(std::string_view name, const std::vector<double>& value, std::string_view description) {
    return array(name, "number", list(value), description);
  }
  Schema& integers(std::string_view name, const std::vector<std::int64_t>& value,
                   std::string_view description) {
    return array(name, "integer", list(value), description);
  }
  // Any JSON value; the component checks it by itself.
  Schema& any(std::string_view name, Json value, std::string_view description) {
    return add(name, "", std::move(value), description);
  }

  Schema& minimum(double value) { return limit("minimum", Json(value)); }
  Schema& maximum(double value) { return limit("maximum", Json(value)); }
  Schema& exclusive_minimum(double value) { return limit("exclusiveMinimum", Json(value)); }
  Schema& exclusive_maximum(double value) { return limit("exclusiveMaximum", Json(value)); }

  // The JSON Schema.
  std::string text() const {
    Json schema = Json::object();
    schema.set("type", Json("object"));
    Json properties = Json::object();
    for (const auto& property : properties_) properties.set(property.first, property.second);
    schema.set("properties", std::move(properties));
    return schema.dump();
  }

 private:
  template <typename T>
  static Json list(const std::vector<T>& values) {
    Json out = Json::array();
    for (const T& value : values) out.push(Json(value));
    return out;
  }

  Schema& add(std::string_view name, std::string_view type, Json value, std::string_view description) {
    Json property = Json::object();
    if (!type.empty()) property.set("type", Json(type));
    property.set("default", std::move(value));
    property.set("description", Json(description));
    properties_.emplace_back(std::string(name), std::move(property));
    return *this;
  }

  Schema& array(std::string_view name, std::string_view item, Json value, std::string_view description) {
    add(name, "array", std::move(value), description);
    Json items = Json::object();
    items.set("type", Json(item));
    return limit("items", std::move(items));
  }

  Schema& limit(const char* key, Json value) {
    if (properties_.empty())
      throw Error(std::string(key) + " before the first property of a parameter schema");
    properties_.back().second.set(key, std::move(value));
    return *this;
  }

  std::vector<std::pair<std::string, Json>> properties_;
};

// The resolved parameters of an instance. Every declared property is there; asking for another one, or for another
// type than declared, throws.
class Params {
 public:
  Params() : json_(Json::object()) {}
  explicit Params(Json json) : json_(std::move(json)) {}

  double number(std::string_view name) const { return json_.at(name).as_number(); }
  std::int64_t integer(std::string_view name) const { return json_.at(name).as_int(); }
  bool boolean(std::string_view name) const { return json_.at(name).as_bool(); }
  const std::string& string(std::string_view name) const { return json_.at(name).as_string(); }
  std::vector<std::string> strings(std::string_view name) const {
    std::vector<std::string> out;
    for (const Json& item : json_.at(name).items()) out.push_back(item.as_string());
    return out;
  }
  std::vector<double> numbers(std::string_view name) const {
    std::vector<double> out;
    for (const Json& item : json_.at(name).items()) out.push_back(item.as_number());
    return out;
  }
  std::vector<std::int64_t> integers(std::string_view name) const {
    std::vector<std::int64_t> out;
    for (const Json& item : json_.at(name).items()) out.push_back(item.as_int());
    return out;
  }
  const Json& json() const { return json_; }

 private:
  Json json_;
};

}  // namespace graft

#endif
