// SPDX-License-Identifier: Apache-2.0
// The small tokenizer of tests/data/tokenizer, as it is or with changes.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "support/error.h"
#include "support/files.h"
#include "text/tokenizer.h"

namespace graft::text {

inline std::filesystem::path tokenizer_data(std::string_view name) {
  return std::filesystem::path(GRAFT_TEST_DATA) / "data" / "tokenizer" / name;
}

inline nlohmann::json read_json(const std::filesystem::path& path) {
  return nlohmann::json::parse(support::read_file(path));
}

// A tokenizer.json in a directory of its own, removed at the end of the scope.
class TemporaryTokenizer {
 public:
  explicit TemporaryTokenizer(std::string_view contents) {
    const auto* test = ::testing::UnitTest::GetInstance()->current_test_info();
    directory_ = std::filesystem::temp_directory_path() /
                 (std::string("graft-") + test->test_suite_name() + "-" + test->name() + "-" +
                  std::to_string(reinterpret_cast<std::uintptr_t>(this)));
    std::filesystem::create_directories(directory_);
    std::ofstream(file(), std::ios::binary) << contents;
  }
  ~TemporaryTokenizer() { std::filesystem::remove_all(directory_); }
  TemporaryTokenizer(const TemporaryTokenizer&) = delete;
  TemporaryTokenizer& operator=(const TemporaryTokenizer&) = delete;

  std::filesystem::path file() const { return directory_ / "tokenizer.json"; }

 private:
  std::filesystem::path directory_;
};

using Change = std::function<void(nlohmann::json&)>;

inline std::string changed_json(const Change& change) {
  nlohmann::json data = read_json(tokenizer_data("tokenizer.json"));
  change(data);
  return data.dump();
}

inline Tokenizer changed_tokenizer(const Change& change) {
  const TemporaryTokenizer temporary(changed_json(change));
  return Tokenizer::load(temporary.file());
}

// The message of the error that loading a file with these contents gives, without the directory.
inline std::string load_error(std::string_view contents) {
  const TemporaryTokenizer temporary(contents);
  try {
    Tokenizer::load(temporary.file());
  } catch (const support::UserError& error) {
    const std::string message = error.what();
    const std::string path = temporary.file().string();
    EXPECT_TRUE(message.find(path) != std::string::npos) << message;
    return message.substr(message.find(path) + path.size());
  }
  return "no error";
}

}  // namespace graft::text
