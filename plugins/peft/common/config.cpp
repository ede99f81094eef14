// SPDX-License-Identifier: Apache-2.0
#include "common/config.h"

#include <cmath>
#include <cstdint>

namespace peft {

using graft::Json;

Json number(double value) {
  const bool is_whole = value == std::floor(value) && std::fabs(value) < 1e15;
  return is_whole ? Json(static_cast<std::int64_t>(value)) : Json(value);
}

Json read_fields(const Json& config, Fields fields) {
  Json params = Json::object();
  for (const auto& [theirs, ours] : fields) {
    const Json* value = config.find(theirs);
    if (value != nullptr && !value->is_null()) params.set(ours, *value);
  }
  return params;
}

void set_null(Json& config, std::initializer_list<const char*> fields) {
  for (const char* field : fields) config.set(field, Json());
}

void set_false(Json& config, std::initializer_list<const char*> fields) {
  for (const char* field : fields) config.set(field, false);
}

void require_text(const Json& config, const char* field, const char* text) {
  const Json* value = config.find(field);
  if (value == nullptr || value->is_null()) return;
  if (value->is_string() && value->as_string() == text) return;
  throw graft::Error(GRAFT_E_UNSUPPORTED,
                     std::string(field) + " = " + value->dump() + " is not offered, only \"" + text + '"');
}

}  // namespace peft
