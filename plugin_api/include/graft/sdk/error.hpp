// SPDX-License-Identifier: Apache-2.0
// graft/sdk/error.hpp: the exception that plugin code throws, and its way through the C ABI.
#pragma once

#include <graft/abi.h>

#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace graft {

// What a plugin throws to fail a slot. The message is one sentence in lower case that says what was found and what was
// expected; the host adds the plugin's name in front.
class Error : public std::runtime_error {
 public:
  explicit Error(const std::string& message) : Error(GRAFT_E_INVALID_ARGUMENT, message) {}
  Error(graft_status status, const std::string& message) : std::runtime_error(message), status_(status) {}
  [[nodiscard]] graft_status status() const noexcept { return status_; }

 private:
  graft_status status_;
};

inline graft_str to_str(std::string_view text) noexcept { return {text.data(), text.size()}; }
inline std::string_view to_view(graft_str text) noexcept {
  return {text.ptr, static_cast<std::size_t>(text.len)};
}

// Calls a host slot, `call(graft_error*) -> graft_status`, and throws Error with the host's message if it fails.
template <typename Call>
void check(Call&& call) {
  char text[1024];
  graft_error error{text, sizeof text, 0};
  const graft_status status = std::forward<Call>(call)(&error);
  if (status != GRAFT_OK) {
    throw Error(status, error.length > 0 ? std::string(text, error.length) : std::string("the host gave no reason"));
  }
}

}  // namespace graft
