// SPDX-License-Identifier: Apache-2.0
// graft/sdk/error.hpp: errors and text at the border. Inside a plugin, failures are exceptions; guard() turns them
// into a status and a message before they reach the C ABI.
#ifndef GRAFT_SDK_ERROR_HPP
#define GRAFT_SDK_ERROR_HPP

#include <graft/abi.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <new>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace graft {

// ---- text ---------------------------------------------------------------------------------------------------------

// A borrowed view; `text` must outlive it.
constexpr graft_str to_str(std::string_view text) noexcept {
  return {text.data(), text.size()};
}

constexpr std::string_view to_view(graft_str text) noexcept {
  return text.len == 0 ? std::string_view() : std::string_view(text.ptr, static_cast<std::size_t>(text.len));
}

// Appends `piece` to what the receiver of a sink collects.
inline void write(const graft_sink* sink, std::string_view piece) {
  sink->write(sink->context, to_str(piece));
}

// A growable struct with its header filled in and everything else zero.
template <typename T>
constexpr T zeroed() noexcept {
  T value{};
  value.hdr.struct_size = static_cast<std::uint32_t>(sizeof(T));
  return value;
}

// ---- errors -------------------------------------------------------------------------------------------------------

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

// Writes `message` into `error` (NULL allowed), cut at a character border if it does not fit, and returns `status`.
inline graft_status fail(graft_error* error, graft_status status, std::string_view message) noexcept {
  if (error == nullptr || error->text == nullptr || error->capacity == 0) return status;
  std::size_t length = message.size();
  if (length > error->capacity - 1) {
    length = error->capacity - 1;
    while (length > 0 && (static_cast<unsigned char>(message[length]) & 0xC0u) == 0x80u) --length;
  }
  if (length > 0) std::memcpy(error->text, message.data(), length);
  error->text[length] = '\0';
  error->length = static_cast<std::uint32_t>(length);
  return status;
}

// The exception firewall: runs `body`, which returns nothing or a graft_status, and turns whatever it throws into a
// status with a message. Every slot that a plugin offers is wrapped in it.
template <typename Body>
graft_status guard(graft_error* error, Body&& body) noexcept {
  try {
    if constexpr (std::is_void_v<std::invoke_result_t<Body>>) {
      std::forward<Body>(body)();
      return GRAFT_OK;
    } else {
      return std::forward<Body>(body)();
    }
  } catch (const Error& e) {
    return fail(error, e.status() < 0 ? e.status() : GRAFT_E_INTERNAL, e.what());
  } catch (const std::bad_alloc&) {
    return fail(error, GRAFT_E_OUT_OF_MEMORY, "out of memory");
  } catch (const std::exception& e) {
    return fail(error, GRAFT_E_INTERNAL, e.what());
  } catch (...) {
    return fail(error, GRAFT_E_INTERNAL, "an exception of unknown type");
  }
}

// The other direction: calls a slot of the host, `call(graft_error*) -> graft_status`, and throws Error with the host's
// message if it fails.
template <typename Call>
void check(Call&& call) {
  char text[1024];
  graft_error error{text, sizeof text, 0};
  const graft_status status = std::forward<Call>(call)(&error);
  if (status != GRAFT_OK) {
    throw Error(status,
                error.length > 0 ? std::string(text, error.length) : std::string("the host gave no reason"));
  }
}

}  // namespace graft

#endif
