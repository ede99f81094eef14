// SPDX-License-Identifier: Apache-2.0
#include "support/child_process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "support/error.h"
#include "support/strings.h"

namespace graft::support {

namespace {

constexpr int kSocket = 3;        // in the program
constexpr int kNotStarted = 127;  // exit code, as shells have it

// Between fork and exec: async-signal-safe calls only.
[[noreturn]] void become(char* const* arguments, int socket, std::uint64_t max_data_bytes, pid_t parent) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(kNotStarted);
  setpgid(0, 0);  // Ctrl-C is for the host, which ends its children itself
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  if (max_data_bytes > 0) {
    const rlimit limit{max_data_bytes, max_data_bytes};
    setrlimit(RLIMIT_DATA, &limit);
  }
  const rlimit no_core{0, 0};
  setrlimit(RLIMIT_CORE, &no_core);
  const int nothing = open("/dev/null", O_RDONLY);
  if (nothing >= 0) dup2(nothing, STDIN_FILENO);
  dup2(STDERR_FILENO, STDOUT_FILENO);
  if (socket == kSocket) {
    fcntl(socket, F_SETFD, 0);
  } else {
    dup2(socket, kSocket);
  }
  execvp(arguments[0], arguments);
  _exit(kNotStarted);
}

}  // namespace

std::optional<std::string> LineBuffer::next() {
  const std::size_t end = text_.find('\n', searched_);
  if (end == std::string::npos) {
    searched_ = text_.size();
    return std::nullopt;
  }
  std::string line = text_.substr(0, end);
  text_.erase(0, end + 1);
  searched_ = 0;
  return line;
}

ChildProcess::ChildProcess(const std::vector<std::string>& arguments, std::uint64_t max_data_bytes) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
    throw UserError(cat("cannot start ", arguments.at(0), ": ", strerror(errno)));
  }
  std::vector<char*> raw;
  for (const std::string& argument : arguments) raw.push_back(const_cast<char*>(argument.c_str()));
  raw.push_back(nullptr);
  const pid_t parent = getpid();
  pid_ = fork();
  if (pid_ == 0) become(raw.data(), ends[1], max_data_bytes, parent);
  close(ends[1]);
  socket_ = ends[0];
  if (pid_ < 0) {
    const int error = errno;
    close(socket_);
    throw UserError(cat("cannot start ", arguments[0], ": ", strerror(error)));
  }
  fcntl(socket_, F_SETFL, O_NONBLOCK);
}

ChildProcess::~ChildProcess() {
  (void)end();
}

bool ChildProcess::wait(short events, Clock::time_point deadline) {
  while (true) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
    pollfd on{socket_, events, 0};
    const int ready = poll(&on, 1, static_cast<int>(std::clamp<std::int64_t>(left + 1, 0, 1 << 30)));
    if (ready > 0) return true;
    if (ready < 0 && errno == EINTR) continue;
    if (ready == 0 && Clock::now() < deadline) continue;
    timed_out_ = true;
    return false;
  }
}

bool ChildProcess::send(std::string_view line, Clock::time_point deadline) {
  if (pid_ < 0) return false;
  std::string text(line);
  text += '\n';
  std::string_view rest = text;
  while (!rest.empty()) {
    const ssize_t sent = ::send(socket_, rest.data(), rest.size(), MSG_NOSIGNAL);
    if (sent > 0) {
      rest.remove_prefix(static_cast<std::size_t>(sent));
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      if (!wait(POLLOUT, deadline)) return false;
    } else if (errno != EINTR) {
      return false;
    }
  }
  return true;
}

std::optional<std::string> ChildProcess::receive(Clock::time_point deadline) {
  if (pid_ < 0) return std::nullopt;
  while (true) {
    if (std::optional<std::string> line = received_.next()) return line;
    char block[65536];
    const ssize_t got = recv(socket_, block, sizeof(block), 0);
    if (got > 0) {
      received_.append({block, static_cast<std::size_t>(got)});
    } else if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
      if (!wait(POLLIN, deadline)) return std::nullopt;
    } else if (got == 0 || errno != EINTR) {
      return std::nullopt;
    }
  }
}

std::string ChildProcess::end() {
  if (pid_ < 0) return "has ended";
  close(socket_);
  // A program that closed its end is about to exit by itself, and how it did tells more than our signal.
  int status = 0;
  pid_t ended = 0;
  for (int i = 0; i < 100 && ended == 0 && !timed_out_; ++i) {
    ended = waitpid(pid_, &status, WNOHANG);
    if (ended == 0) usleep(2000);
  }
  const bool is_killed = ended == 0;
  if (is_killed) {
    kill(-pid_, SIGKILL);
    kill(pid_, SIGKILL);
    while (waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
  }
  pid_ = -1;
  if (timed_out_) return "took too long";
  if (WIFSIGNALED(status)) {
    return cat("was ended by signal ", WTERMSIG(status), " (", strsignal(WTERMSIG(status)), ")");
  }
  if (WEXITSTATUS(status) == kNotStarted) return "could not be started (is the program there?)";
  return cat("exited with code ", WEXITSTATUS(status));
}

}  // namespace graft::support
