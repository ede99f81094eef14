// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "model/model.h"
#include "text/tokenizer.h"

namespace graft::model {

// The texts of a Hugging Face model directory. Absent optional files are empty.
struct ModelDirectory {
  std::filesystem::path path;
  std::string config;        // config.json, required
  std::string preprocessor;  // preprocessor_config.json, with the limits of OpenOptions put in
  std::string generation;    // generation_config.json
  std::string tokenizer;     // tokenizer_config.json
  std::string
      chat_template;  // chat_template.jinja, or the one within chat_template.json or tokenizer_config.json
};

// Throws UserError naming the file that is missing or malformed.
[[nodiscard]] ModelDirectory read_directory(const OpenOptions& options);

// The ids that end a completion: eos_token_id of generation_config.json, else of config.json, else the
// tokenizer's eos token. Empty if the directory names none.
[[nodiscard]] std::vector<std::int64_t> find_stop_ids(const ModelDirectory& directory,
                                                      const text::Tokenizer& tokenizer);
// The tokenizer's own eos token (tokenizer_config.json), which may be one of several stop ids; else the first stop id, or -1.
[[nodiscard]] std::int64_t find_eos_id(const ModelDirectory& directory, const text::Tokenizer& tokenizer,
                                       const std::vector<std::int64_t>& stop_ids);
// pad_token_id, looked up as the stop ids are; falls back to the first stop id, then to 0.
[[nodiscard]] std::int64_t find_pad_id(const ModelDirectory& directory, const text::Tokenizer& tokenizer,
                                       const std::vector<std::int64_t>& stop_ids);

// The files beside the weights that make the directory usable elsewhere: configurations, tokenizer,
// templates. Sorted.
[[nodiscard]] std::vector<std::filesystem::path> companion_files(const std::filesystem::path& directory);

}  // namespace graft::model
