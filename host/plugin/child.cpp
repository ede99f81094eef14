// SPDX-License-Identifier: Apache-2.0
#include "plugin/child.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <exception>
#include <string_view>
#include <utility>

#include "support/error.h"
#include "support/strings.h"

namespace graft::plugin {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::size_t kOutputKept = 2000;

class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() { close(); }
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    close();
    fd_ = std::exchange(other.fd_, -1);
    return *this;
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  [[nodiscard]] int get() const { return fd_; }
  void close() {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
  }

 private:
  int fd_ = -1;
};

struct Pipe {
  Descriptor read, write;
  Pipe() {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) {
      throw support::PluginError(
          support::cat("cannot make a pipe for a child process: ", std::strerror(errno)));
    }
    read = Descriptor(ends[0]);
    write = Descriptor(ends[1]);
  }
};

void write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return;
    bytes.remove_prefix(static_cast<std::size_t>(n));
  }
}

// A crash of the plugin must look like one: no handler of the host or of a test framework, no core file. The child dies
// with its parent and does not share the terminal's signals.
void isolate(int output) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  ::setpgid(0, 0);
  for (const int signal : {SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGTRAP, SIGINT, SIGTERM, SIGPIPE}) {
    std::signal(signal, SIG_DFL);
  }
  const rlimit none{0, 0};
  ::setrlimit(RLIMIT_CORE, &none);
  ::dup2(output, STDOUT_FILENO);
  ::dup2(output, STDERR_FILENO);
}

// The answer is a letter, the text, and a final letter that tells a whole answer from a torn one.
[[noreturn]] void run_child(const std::function<std::string()>& body, int result, int output) {
  isolate(output);
  std::string answer;
  try {
    answer = support::cat('R', body(), '.');
  } catch (const std::exception& error) {
    answer = support::cat('T', error.what(), '.');
  } catch (...) {
    answer = "Tan exception of unknown type.";
  }
  write_all(result, answer);
  ::_exit(0);
}

// Reads what there is; false at the end of the stream.
bool drain(int fd, std::string& text) {
  std::array<char, 4096> buffer;
  const ssize_t n = ::read(fd, buffer.data(), buffer.size());
  if (n < 0) return errno == EINTR || errno == EAGAIN;
  text.append(buffer.data(), static_cast<std::size_t>(n));
  return n > 0;
}

int milliseconds_until(Clock::time_point deadline) {
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now());
  return static_cast<int>(std::clamp<std::int64_t>(left.count(), 0, 1'000'000));
}

// Collects both streams until the child has closed its answer, or the deadline.
void collect(const Descriptor& result, const Descriptor& output, Clock::time_point deadline,
             ChildResult& out) {
  bool output_open = true;
  for (;;) {
    std::array<pollfd, 2> fds{pollfd{result.get(), POLLIN, 0},
                              pollfd{output_open ? output.get() : -1, POLLIN, 0}};
    const int left = milliseconds_until(deadline);
    const int ready = ::poll(fds.data(), fds.size(), left);
    if (ready == 0 || (ready < 0 && errno != EINTR)) return;
    if (ready < 0) continue;
    if (fds[1].revents != 0) output_open = drain(output.get(), out.output);
    if (out.output.size() > 2 * kOutputKept) out.output.erase(0, out.output.size() - kOutputKept);
    if (fds[0].revents != 0 && !drain(result.get(), out.result)) break;
  }
  // What it wrote just before it ended may still be in the pipe.
  pollfd rest{output.get(), POLLIN, 0};
  while (output_open && ::poll(&rest, 1, 0) > 0 && drain(output.get(), out.output)) {
  }
}

// Waits for the child's end. Its answer has come or time is up, so this is short either way.
int reap(pid_t child, Clock::time_point deadline, bool& timed_out) {
  int status = 0;
  for (;;) {
    const pid_t ended = ::waitpid(child, &status, timed_out ? 0 : WNOHANG);
    if (ended == child) return status;
    if (ended < 0 && errno != EINTR) return 0;
    if (ended == 0 && Clock::now() >= deadline) {
      timed_out = true;
      ::kill(-child, SIGKILL);  // its group: whatever it started ends too
      ::kill(child, SIGKILL);   // if it was killed before it had made the group
    } else if (ended == 0) {
      ::poll(nullptr, 0, 1);
    }
  }
}

}  // namespace

ChildResult run_in_child(const std::function<std::string()>& body, std::chrono::milliseconds limit) {
  Pipe result;
  Pipe output;
  const Clock::time_point deadline = Clock::now() + limit;
  const pid_t child = ::fork();
  if (child < 0) {
    throw support::PluginError(support::cat("cannot start a child process: ", std::strerror(errno)));
  }
  if (child == 0) run_child(body, result.write.get(), output.write.get());
  result.write.close();
  output.write.close();

  ChildResult out;
  collect(result.read, output.read, deadline, out);
  bool timed_out = false;
  const int status = reap(child, deadline, timed_out);
  if (out.output.size() > kOutputKept) out.output.erase(0, out.output.size() - kOutputKept);

  using Outcome = ChildResult::Outcome;
  const std::string answer = std::exchange(out.result, {});
  const bool is_whole = answer.size() >= 2 && answer.back() == '.';
  if (timed_out) {
    out.outcome = Outcome::kTimedOut;
  } else if (WIFSIGNALED(status)) {
    out.outcome = Outcome::kCrashed;
    out.code = WTERMSIG(status);
  } else if (WEXITSTATUS(status) == 0 && is_whole) {
    out.outcome = answer.front() == 'R' ? Outcome::kReturned : Outcome::kThrew;
    out.result = answer.substr(1, answer.size() - 2);
  } else {
    out.outcome = Outcome::kExited;
    out.code = WEXITSTATUS(status);
  }
  return out;
}

std::string ChildResult::description() const {
  std::string text;
  switch (outcome) {
    case Outcome::kReturned:
      return "returned";
    case Outcome::kThrew:
      text = support::cat("threw an exception: ", result);
      break;
    case Outcome::kCrashed:
      text = support::cat("crashed (signal ", code, ", ", ::strsignal(code), ")");
      break;
    case Outcome::kExited:
      text = support::cat("ended the process with exit code ", code);
      break;
    case Outcome::kTimedOut:
      text = "did not come back in time";
      break;
  }
  const std::string_view last = support::trim(output);
  if (!last.empty()) text += support::cat("; it last wrote: ", last);
  return text;
}

}  // namespace graft::plugin
