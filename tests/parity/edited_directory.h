// SPDX-License-Identifier: Apache-2.0
// A model directory that differs from a fixture's in a key or two, to see what a family makes of it.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <initializer_list>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "support/error.h"
#include "tests/parity/golden.h"
#include "tests/support/errors.h"
#include "tests/support/temporary_directory.h"

namespace graft::parity {

// A directory with the fixture's tokenizer and edited configurations.
class EditedDirectory {
 public:
  explicit EditedDirectory(const std::string& family = "qwen2_5_vl") {
    const std::filesystem::path source = Fixture(family).directory();
    for (const char* name : {"tokenizer.json", "tokenizer_config.json", "generation_config.json",
                             "config.json", "preprocessor_config.json"}) {
      if (std::filesystem::exists(source / name))
        std::filesystem::copy_file(source / name, directory_ / name);
    }
  }

  void edit(const char* name, const std::function<void(nlohmann::json&)>& change) const {
    nlohmann::json content;
    std::ifstream(directory_ / name) >> content;
    change(content);
    std::ofstream(directory_ / name) << content;
  }

  void remove(const char* name) const { std::filesystem::remove(directory_ / name); }

  [[nodiscard]] std::unique_ptr<model::Model> open(const std::string& family_params = "{}") const {
    model::OpenOptions options;
    options.directory = directory_.path();
    options.family_params = family_params;
    options.random_init = true;
    return model::Model::open(tiny_registry(), options);
  }

 private:
  test::TemporaryDirectory directory_;
};

// The message that opening the directory gives after a change.
inline std::string failure_of(const char* file, const std::function<void(nlohmann::json&)>& change,
                              const std::string& family = "qwen2_5_vl") {
  const EditedDirectory directory(family);
  directory.edit(file, change);
  return test::message_of<support::UserError>([&] { static_cast<void>(directory.open()); });
}

inline void expect_mentions(const std::string& message, std::initializer_list<const char*> words) {
  for (const char* word : words) EXPECT_TRUE(test::contains(message, word));
}

}  // namespace graft::parity
