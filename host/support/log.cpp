// SPDX-License-Identifier: Apache-2.0
#include "support/log.h"

#include <spdlog/logger.h>
#include <spdlog/sinks/ansicolor_sink.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <set>
#include <string>

#include "support/error.h"
#include "support/strings.h"

namespace graft::support {

namespace {

using Sink = spdlog::sinks::ansicolor_stderr_sink_mt;

bool wants_colour() {
  const char* no_color = std::getenv("NO_COLOR");  // https://no-color.org
  return stderr_is_terminal() && (no_color == nullptr || *no_color == '\0');
}

// Everything with state. Never destroyed: static destructors and late threads may still log.
struct State {
  State()
      : logger("graft", std::make_shared<Sink>(wants_colour() ? spdlog::color_mode::always
                                                              : spdlog::color_mode::never)) {
    logger.set_pattern("%^%H:%M:%S %L%$ %v");
    logger.set_level(spdlog::level::info);
    logger.flush_on(spdlog::level::debug);
  }

  std::mutex mutex;
  spdlog::logger logger;
  std::string status_line;
  std::set<std::string, std::less<>> seen;
};

State& state() {
  static State* instance = new State;
  return *instance;
}

spdlog::level::level_enum to_spdlog(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return spdlog::level::debug;
    case LogLevel::kInfo:
      return spdlog::level::info;
    case LogLevel::kWarn:
      return spdlog::level::warn;
    case LogLevel::kError:
      return spdlog::level::err;
    case LogLevel::kOff:
      break;
  }
  return spdlog::level::off;
}

void erase_status_line() {
  std::fputs("\r\x1b[K", stderr);
}

void draw_status_line(const std::string& line) {
  std::fwrite(line.data(), 1, line.size(), stderr);
  std::fflush(stderr);
}

}  // namespace

void log(LogLevel level, std::string_view message) {
  if (level == LogLevel::kOff) return;
  State& s = state();
  const std::lock_guard lock(s.mutex);
  if (!s.logger.should_log(to_spdlog(level))) return;
  if (!s.status_line.empty()) erase_status_line();
  s.logger.log(to_spdlog(level), spdlog::string_view_t(message.data(), message.size()));
  if (!s.status_line.empty()) draw_status_line(s.status_line);
}

void log_debug(std::string_view message) {
  log(LogLevel::kDebug, message);
}
void log_info(std::string_view message) {
  log(LogLevel::kInfo, message);
}
void log_warn(std::string_view message) {
  log(LogLevel::kWarn, message);
}
void log_error(std::string_view message) {
  log(LogLevel::kError, message);
}

void set_log_level(LogLevel level) {
  state().logger.set_level(to_spdlog(level));
}

LogLevel log_level() {
  switch (state().logger.level()) {
    case spdlog::level::trace:
    case spdlog::level::debug:
      return LogLevel::kDebug;
    case spdlog::level::info:
      return LogLevel::kInfo;
    case spdlog::level::warn:
      return LogLevel::kWarn;
    case spdlog::level::err:
    case spdlog::level::critical:
      return LogLevel::kError;
    default:
      return LogLevel::kOff;
  }
}

LogLevel parse_log_level(std::string_view word) {
  const std::string name = to_lower(word);
  if (name == "debug") return LogLevel::kDebug;
  if (name == "info") return LogLevel::kInfo;
  if (name == "warn" || name == "warning") return LogLevel::kWarn;
  if (name == "error") return LogLevel::kError;
  if (name == "off") return LogLevel::kOff;
  throw UserError(cat("log level \"", word, "\" is unknown; expected debug, info, warn, error or off"));
}

bool first_time(std::string_view key) {
  State& s = state();
  const std::lock_guard lock(s.mutex);
  return s.seen.emplace(key).second;
}

void log_once(LogLevel level, std::string_view key, std::string_view message) {
  if (first_time(key)) log(level, message);
}

void set_status_line(std::string_view line) {
  if (!stderr_is_terminal()) return;
  State& s = state();
  const std::lock_guard lock(s.mutex);
  if (!s.status_line.empty() || !line.empty()) erase_status_line();
  s.status_line = line;
  draw_status_line(s.status_line);
}

bool stderr_is_terminal() {
  static const bool answer = [] {
    const char* term = std::getenv("TERM");
    return isatty(STDERR_FILENO) == 1 && term != nullptr && std::string_view(term) != "dumb";
  }();
  return answer;
}

}  // namespace graft::support
