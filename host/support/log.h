// SPDX-License-Identifier: Apache-2.0
// Logging to stderr (stdout belongs to results). spdlog stays inside log.cpp: LibTorch carries its own fmt,
// which shadows the one spdlog was built with. All functions are thread-safe.
#pragma once

#include <string_view>

namespace graft::support {

enum class LogLevel { kDebug, kInfo, kWarn, kError, kOff };

void log_debug(std::string_view message);
void log_info(std::string_view message);
void log_warn(std::string_view message);
void log_error(std::string_view message);
void log(LogLevel level, std::string_view message);

// Messages below `level` are dropped; kInfo at start.
void set_log_level(LogLevel level);
LogLevel log_level();

// "debug", "info", "warn"/"warning", "error", "off"; throws UserError for another word.
LogLevel parse_log_level(std::string_view word);

// Logs the message the first time this process comes with `key`; later calls with it do nothing.
void log_once(LogLevel level, std::string_view key, std::string_view message);

// True the first time this process asks with `key`.
bool first_time(std::string_view key);

// A line that stays the last one on the terminal: log messages are written above it. The progress bar uses
// it. An empty line removes it. Does nothing when stderr is not a terminal.
void set_status_line(std::string_view line);

// True if stderr is a terminal that understands cursor control (and TERM is not "dumb").
bool stderr_is_terminal();

}  // namespace graft::support
