// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace graft::config {

// What the type of a key's member does not say.
struct KeySpec {
  const char* description;
  const char* flag =
      "";  // name of TRL or VLM-R1, usable as --flag, if it differs from the key only in its section
  const char* unit = "";
  std::optional<double> minimum{}, maximum{}, above{}, below{};
  std::vector<std::string> words{};  // the only strings allowed
  unsigned commands = 0;             // where it has an effect; 0: as its section
};

}  // namespace graft::config
