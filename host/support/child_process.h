// SPDX-License-Identifier: Apache-2.0
// A program that answers lines with lines.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace graft::support {

// Lines out of blocks of text.
class LineBuffer {
 public:
  void append(std::string_view block) { text_ += block; }
  // The next whole line, without its end; nothing until there is one.
  [[nodiscard]] std::optional<std::string> next();

 private:
  std::string text_;
  std::size_t searched_ = 0;  // of text_, without an end of line
};

// Starts a program and talks to it over a socket that the program has as file descriptor 3, so that whatever it prints stays
// out of the way (its stdout and stderr are this process's stderr). It gets no signals of the terminal, ends with this
// object, and when this process dies. One thread at a time.
class ChildProcess {
 public:
  using Clock = std::chrono::steady_clock;

  // `arguments[0]` is searched in PATH. With `max_data_bytes` > 0 the program cannot have more private memory. UserError if the
  // system cannot start a process; a program that is not there shows at the first receive().
  ChildProcess(const std::vector<std::string>& arguments, std::uint64_t max_data_bytes);
  ~ChildProcess();
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  // A line, without its end. False if the program ended, or did not take it before `deadline`.
  [[nodiscard]] bool send(std::string_view line, Clock::time_point deadline);
  // The next line, without its end. Nothing if the program ended, or wrote none before `deadline`.
  [[nodiscard]] std::optional<std::string> receive(Clock::time_point deadline);
  // Kills the program if it still runs. "was ended by signal 11 (Segmentation fault)", "exited with code 1", "took too long".
  [[nodiscard]] std::string end();
  [[nodiscard]] bool timed_out() const { return timed_out_; }

 private:
  // False at the deadline.
  [[nodiscard]] bool wait(short events, Clock::time_point deadline);
  int socket_ = -1;
  pid_t pid_ = -1;
  bool timed_out_ = false;
  LineBuffer received_;
};

}  // namespace graft::support
