// SPDX-License-Identifier: Apache-2.0
// The exceptions of the host. Each carries the exit code the graft command ends with, so that main() needs
// one handler and scripts can tell a typo from a diverged run.
#pragma once

#include <stdexcept>
#include <string>

namespace graft::support {

// Exit codes of the graft command; 0 is success.
enum ExitCode : int {
  kExitDone = 0,
  kExitInternal = 1,      // a defect of graft itself
  kExitUser = 2,          // the user's input: config, data, files, flags
  kExitPlugin = 3,        // a plugin or the ABI
  kExitPreflight = 4,     // the preflight found the run pointless
  kExitDiverged = 5,      // loss or gradients stopped being finite
  kExitMemory = 6,        // out of memory
  kExitInterrupted = 75,  // stopped by a signal after saving; `--resume auto` continues (EX_TEMPFAIL)
};

// Base class: a message for a person, one paragraph, and an exit code.
class Error : public std::runtime_error {
 public:
  int exit_code() const noexcept { return exit_code_; }

 protected:
  Error(const std::string& message, int exit_code) : std::runtime_error(message), exit_code_(exit_code) {}

 private:
  int exit_code_;
};

class UserError : public Error {
 public:
  explicit UserError(const std::string& message) : Error(message, kExitUser) {}
};

class PluginError : public Error {
 public:
  explicit PluginError(const std::string& message) : Error(message, kExitPlugin) {}
};

class PreflightError : public Error {
 public:
  explicit PreflightError(const std::string& message) : Error(message, kExitPreflight) {}
};

class DivergedError : public Error {
 public:
  explicit DivergedError(const std::string& message) : Error(message, kExitDiverged) {}
};

class MemoryError : public Error {
 public:
  explicit MemoryError(const std::string& message) : Error(message, kExitMemory) {}
};

class Interrupted : public Error {
 public:
  explicit Interrupted(const std::string& message) : Error(message, kExitInterrupted) {}
};

}  // namespace graft::support
