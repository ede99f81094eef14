// SPDX-License-Identifier: Apache-2.0
#include "plugin/host_services.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <map>
#include <mutex>

#include "support/error.h"
#include "support/interrupt.h"
#include "support/log.h"
#include "support/random.h"
#include "support/strings.h"

namespace graft::plugin {
namespace {

// Written while the program starts, read from any thread. Never destroyed: plugins may call until the process ends.
struct Services {
  std::mutex mutex;
  std::map<std::string, const void*, std::less<>> tables;
};

Services& services() {
  static auto* const instance = new Services;
  return *instance;
}

std::atomic<std::uint64_t> run_seed{0};

void rng_bits(const graft_rng* /*rng*/, graft_str stream, std::uint64_t counter, std::uint64_t* out,
              std::uint64_t n) {
  const std::uint64_t key = support::hash_string(view(stream));
  const std::uint64_t seed = run_seed.load(std::memory_order_relaxed);
  // Each number has its own key, so that a draw does not depend on how a caller cuts its requests.
  for (std::uint64_t i = 0; i < n; ++i) out[i] = support::KeyedRandom(seed, {key, counter + i}).next();
}

const void* get_service(const graft_host* /*host*/, graft_str id) {
  Services& all = services();
  const std::lock_guard lock(all.mutex);
  const auto found = all.tables.find(view(id));
  return found == all.tables.end() ? nullptr : found->second;
}

void log_line(const graft_host* /*host*/, std::int32_t level, graft_str message) {
  using support::LogLevel;
  constexpr std::array kLevels = {LogLevel::kDebug, LogLevel::kInfo, LogLevel::kWarn, LogLevel::kError};
  const auto index = static_cast<std::size_t>(std::clamp(level, GRAFT_LOG_DEBUG, GRAFT_LOG_ERROR));
  try {
    support::log(kLevels[index], view(message));
  } catch (...) {  // a lost line is better than an exception in a plugin's frames
  }
}

std::int32_t is_cancelled(const graft_host* /*host*/) {
  return support::interrupt_requested() ? 1 : 0;
}

constexpr graft_str literal(std::string_view text) {
  return {text.data(), text.size()};
}

const graft_host kHost = {GRAFT_HDR(graft_host), GRAFT_ABI_MAJOR,        GRAFT_ABI_MINOR, nullptr,
                          literal("graft"),      literal(GRAFT_VERSION), &get_service,    &log_line,
                          &is_cancelled};

const graft_rng kRng = {GRAFT_HDR(graft_rng), &kHost, &rng_bits};

}  // namespace

const graft_host* host_table() {
  static const bool registered = [] {
    register_service(GRAFT_SERVICE_RNG, &kRng);
    return true;
  }();
  static_cast<void>(registered);
  return &kHost;
}

void register_service(std::string_view id, const void* table) {
  Services& all = services();
  const std::lock_guard lock(all.mutex);
  all.tables.insert_or_assign(std::string(id), table);
}

void set_run_seed(std::uint64_t seed) {
  run_seed.store(seed, std::memory_order_relaxed);
}

void call(std::string_view who, const std::function<graft_status(graft_error*)>& body) {
  std::array<char, 4096> text{};
  graft_error error{text.data(), static_cast<std::uint32_t>(text.size()), 0};
  const graft_status status = body(&error);
  if (status == GRAFT_OK) return;
  std::string reason(text.data(), strnlen(text.data(), text.size()));
  if (reason.empty()) reason = support::cat("failed with status ", status, " and no message");
  const std::string message = support::cat(who, ": ", reason);
  if (status == GRAFT_E_CANCELLED) throw support::Interrupted(message);
  if (status == GRAFT_E_OUT_OF_MEMORY) throw support::MemoryError(message);
  throw support::PluginError(message);
}

graft_status fail(graft_error* error, graft_status status, std::string_view message) {
  if (error == nullptr || error->text == nullptr || error->capacity == 0) return status;
  std::size_t length = std::min<std::size_t>(message.size(), error->capacity - 1);
  // Cut before a character, not within it.
  while (length > 0 && length < message.size() &&
         (static_cast<unsigned char>(message[length]) & 0xC0U) == 0x80U) {
    --length;
  }
  if (length > 0) std::memcpy(error->text, message.data(), length);
  error->text[length] = '\0';
  error->length = static_cast<std::uint32_t>(length);
  return status;
}

graft_sink string_sink(std::string& out) {
  return {&out, [](void* context, graft_str piece) {
            if (piece.len > 0) static_cast<std::string*>(context)->append(view(piece));
          }};
}

}  // namespace graft::plugin
