// SPDX-License-Identifier: Apache-2.0
// Fields of PEFT's adapter_config.json.
#pragma once

#include <graft/sdk/peft.hpp>

#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

namespace peft {

// A number as PEFT's files have it: 16 and not 16.0 if it is whole.
[[nodiscard]] graft::Json number(double value);

// A parameter of a strategy and the field that holds it.
using Fields = std::initializer_list<std::pair<const char*, const char*>>;  // {theirs, ours}

// The parameters that the fields of `config` stand for; those that are missing or null are left out.
[[nodiscard]] graft::Json read_fields(const graft::Json& config, Fields fields);

// Sets fields to null, or to false.
void set_null(graft::Json& config, std::initializer_list<const char*> fields);
void set_false(graft::Json& config, std::initializer_list<const char*> fields);

// Fails unless `field` is absent, null or this text.
void require_text(const graft::Json& config, const char* field, const char* text);

}  // namespace peft
