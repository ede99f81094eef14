// SPDX-License-Identifier: Apache-2.0
// VLM-R1's JSONL: one record a line,
//
//   {"id": 1, "image": "a.png", "conversations": [{"from": "human", "value": "<image>Where is the cat?"},
//                                                 {"from": "gpt", "value": "[10, 20, 30, 40]"}], …}
//
// "image" is a path or a list of paths relative to an image root, and may be missing. The answer may be any
// JSON value, or missing if the rewards need none. Conversations may begin with a "system" turn and have
// several rounds; "user" and "assistant" are accepted for "human" and "gpt". All other columns are kept in
// the record for rewards and templates.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config/run_config.h"
#include "data/sample.h"

namespace graft::data {

// Where the images of a user's turn stand in the prompt.
enum class ImagePosition {
  // Where its "<image>" placeholders do. Placeholders before all text, and none at all, say that the images
  // come first; white space between such placeholders stays after the images.
  kInterleaved,
  // Before its text, whose placeholders are deleted: VLM-R1's prompts. If placeholders and images do not
  // agree in number, all images belong to the first turn of the user; VLM-R1 does not count either.
  kFirst,
};

struct LoadOptions {
  bool strict = false;                // a bad sample is an error instead of being skipped with a warning
  std::optional<std::int64_t> limit;  // stop after so many good samples
  ImagePosition image_position = ImagePosition::kInterleaved;
};

struct Dataset {
  std::vector<Sample> samples;  // in the order of the files and lines
  std::int64_t skipped = 0;     // bad samples left out
};

// Parses one line and checks it, the existence of its images included. Throws UserError "file:line: …".
[[nodiscard]] Sample parse_sample(std::string_view text, const config::DataFile& file, std::int64_t line,
                                  ImagePosition position = ImagePosition::kInterleaved);

// Reads all files. Blank lines are ignored. Throws UserError for a file that cannot be read, for a bad sample
// if `strict`, and if no sample is left.
[[nodiscard]] Dataset load_samples(const std::vector<config::DataFile>& files, const LoadOptions& options);

}  // namespace graft::data
