// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "config/run_config.h"

namespace graft::config {

// Writes values at dotted paths into a configuration that is not validated yet ("rewards.iou.weight": items of lists by index or
// by their "name"), and remembers who wrote them. UserErrors begin with the origin: the argument as the user wrote it.
class Assignments {
 public:
  // `origins`: path -> origin of what was assigned. Both must outlive this object.
  Assignments(Command command, nlohmann::json& target, std::map<std::string, std::string>& origins)
      : command_(command), target_(target), origins_(origins) {}

  // UserError for a path that is no key, or of a key that has no effect on the command.
  void assign(const std::string& path, const nlohmann::json& value, const std::string& origin);
  // The value that a user means by `text` there.
  void assign_text(const std::string& path, const std::string& text, const std::string& origin);
  // One more item of the list there.
  void append(const std::string& path, const std::string& item, const std::string& origin);

  // Whether the file or an argument so far has that path.
  [[nodiscard]] bool is_given(const std::string& path) const;
  // The value that validation will see: as written so far, else the default.
  [[nodiscard]] nlohmann::json effective(const std::string& path) const;

 private:
  void set(const std::string& path, const nlohmann::json& value, const std::string& origin);

  Command command_;
  nlohmann::json& target_;
  std::map<std::string, std::string>& origins_;
};

}  // namespace graft::config
