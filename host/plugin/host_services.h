// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <graft/host.h>

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace graft::plugin {

// The process's graft_host: log, cancellation (support/interrupt.h) and the services registered below.
const graft_host* host_table();

// Offers `table` (static lifetime) under `id`. The tensor services register themselves this way from model/, so that
// this folder does not know LibTorch.
void register_service(std::string_view id, const void* table);

// The seed behind graft.rng/1.
void set_run_seed(std::uint64_t seed);

// Calls `body` with a fresh graft_error and throws support::PluginError "<who>: <message>" if it returns a failure.
// GRAFT_E_CANCELLED throws support::Interrupted, GRAFT_E_OUT_OF_MEMORY support::MemoryError.
void call(std::string_view who, const std::function<graft_status(graft_error*)>& body);

// Writes `message` into `error` (NULL allowed) and returns `status`: for host callbacks.
graft_status fail(graft_error* error, graft_status status, std::string_view message);

// A graft_sink that appends to a string.
graft_sink string_sink(std::string& out);

inline graft_str view(std::string_view text) {
  return {text.data(), text.size()};
}
inline std::string_view view(graft_str text) {
  return {text.ptr, static_cast<std::size_t>(text.len)};
}

}  // namespace graft::plugin
