// SPDX-License-Identifier: Apache-2.0
#include "support/interrupt.h"

#include <unistd.h>

#include <atomic>
#include <csignal>

namespace graft::support {

namespace {

std::atomic<int> received{0};
static_assert(std::atomic<int>::is_always_lock_free, "the signal handler needs a lock-free flag");

extern "C" void on_signal(int signal_number) {
  if (received.exchange(signal_number, std::memory_order_relaxed) != 0) {
    ::_exit(128 + signal_number);  // the user asks again: no saving, no destructors
  }
  constexpr char kNotice[] = "\ninterrupted: saving; a second signal ends at once\n";
  // Nothing can be done if stderr is closed; the variable silences warn_unused_result.
  [[maybe_unused]] const auto ignored = ::write(STDERR_FILENO, kNotice, sizeof(kNotice) - 1);
}

}  // namespace

void install_interrupt_handlers() {
  struct sigaction action {};
  action.sa_handler = on_signal;
  sigemptyset(&action.sa_mask);
  action.sa_flags = SA_RESTART;
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

bool interrupt_requested() noexcept {
  return received.load(std::memory_order_relaxed) != 0;
}
int interrupt_signal() noexcept {
  return received.load(std::memory_order_relaxed);
}
void request_interrupt() noexcept {
  received.store(SIGTERM, std::memory_order_relaxed);
}
void clear_interrupt() noexcept {
  received.store(0, std::memory_order_relaxed);
}

}  // namespace graft::support
