// SPDX-License-Identifier: Apache-2.0
// Assertions on error messages.
#pragma once

#include <gtest/gtest.h>

#include <string>

namespace graft::test {

// The message of the exception of type E that `body` throws; a test failure and "" if it throws none or
// another one.
template <typename E, typename Body>
std::string message_of(Body&& body) {
  try {
    body();
  } catch (const E& error) {
    return error.what();
  } catch (const std::exception& error) {
    ADD_FAILURE() << "another exception was thrown: " << error.what();
    return {};
  }
  ADD_FAILURE() << "no exception was thrown";
  return {};
}

inline ::testing::AssertionResult contains(const std::string& text, const std::string& part) {
  if (text.find(part) != std::string::npos) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure() << "\"" << text << "\" does not contain \"" << part << "\"";
}

}  // namespace graft::test
