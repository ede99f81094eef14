// SPDX-License-Identifier: Apache-2.0
// SIGINT and SIGTERM. The first one only sets a flag, which the trainer reads between micro-batches to save
// and leave with exit code 75; the second ends the process at once.
#pragma once

namespace graft::support {

// Installs the handlers; calling it again is harmless. Affects the whole process.
void install_interrupt_handlers();

// True once a signal has come. Any thread; async-signal-safe.
bool interrupt_requested() noexcept;

// The signal that came (SIGINT, SIGTERM), 0 if none.
int interrupt_signal() noexcept;

// As if a signal had come, and as if none had come. For embedding hosts and tests.
void request_interrupt() noexcept;
void clear_interrupt() noexcept;

}  // namespace graft::support
