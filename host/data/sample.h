// SPDX-License-Identifier: Apache-2.0
// One sample of a data set, and the prompt and completion made from it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace graft::data {

// One turn of a conversation. `text` contains one "<image>" for each image if they stand between words; if
// all images come first, or the data set does not say where they stand, it contains none, and n_images images
// go before the text.
struct Turn {
  std::string role;  // "system", "user" or "assistant"
  std::string text;
  std::int64_t n_images = 0;
};

struct Sample {
  std::string id;
  std::vector<Turn> turns;  // the conversation before the answer; the last one is the user's question
  std::string question;     // text of the last turn without "<image>"
  bool has_answer = false;
  std::string
      answer;  // last turn of the assistant, as it stands in the data (JSON text if it is not a string)
  std::string solution;  // the answer without <answer> and </answer>, trimmed: what rewards compare with
  std::vector<std::filesystem::path> images;  // joined with the image root
  std::string record;                         // the whole record as one JSON line, extra columns included
  std::string file;                           // the JSONL file,
  std::int64_t line = 0;                      // and the line in it, counted from 1

  // "train.jsonl:12", for messages.
  [[nodiscard]] std::string where() const;
};

// The prompt: the sample's turns, the last one written by `question_template`, after `system_prompt` if the
// sample has no system turn of its own. In the template {question} (or {Question}) stands for the question
// and {column} for any column of the record that is a string, number or boolean; other braces are plain text.
[[nodiscard]] std::vector<Turn> prompt_turns(const Sample& sample, const std::string& question_template,
                                             const std::optional<std::string>& system_prompt);

// The completion that supervised training teaches: {answer}, {solution} and {column} are replaced in
// `answer_template`. Throws UserError if the sample has no answer.
[[nodiscard]] std::string completion_text(const Sample& sample, const std::string& answer_template);

}  // namespace graft::data
