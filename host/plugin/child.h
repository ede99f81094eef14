// SPDX-License-Identifier: Apache-2.0
// Running code that may crash or hang in a child process. A shared library runs its static initialisers inside dlopen,
// before anything about it can be checked, so a broken one would take the host with it.
#pragma once

#include <chrono>
#include <functional>
#include <string>

namespace graft::plugin {

struct ChildResult {
  enum class Outcome { kReturned, kThrew, kCrashed, kExited, kTimedOut };
  Outcome outcome = Outcome::kExited;
  std::string result;  // kReturned: what the body returned; kThrew: the exception's text
  std::string output;  // the end of what it wrote to stdout and stderr
  int code = 0;        // kCrashed: the signal; kExited: the exit code

  // "crashed (signal 6, Aborted); it last wrote: …", for the outcomes other than kReturned.
  [[nodiscard]] std::string description() const;
};

// Forks, runs `body` in the child with default signal handlers, stdout and stderr caught and no core dump, and ends the
// child without running exit handlers. A child that takes longer than `limit` is killed. The body should not
// wait for other threads of this process: they do not exist in the child. Throws PluginError if the system cannot fork.
ChildResult run_in_child(const std::function<std::string()>& body, std::chrono::milliseconds limit);

}  // namespace graft::plugin
