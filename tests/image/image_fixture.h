// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "image/image.h"
#include "support/error.h"
#include "support/files.h"

namespace graft::image {

inline std::filesystem::path image_data(std::string_view name) {
  return std::filesystem::path(GRAFT_TEST_DATA) / "data" / "image" / name;
}

inline std::span<const std::uint8_t> as_bytes(std::string_view text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

// The message of the UserError that `action` throws; "no error" if it does not.
inline std::string error_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const support::UserError& error) {
    return error.what();
  }
  return "no error";
}

inline std::string decode_error(std::string_view bytes) {
  return error_of([bytes] { decode_image(as_bytes(bytes), "some/file"); });
}

inline bool contains(const std::string& message, std::string_view part) {
  return message.find(part) != std::string::npos;
}

}  // namespace graft::image
