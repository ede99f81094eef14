// SPDX-License-Identifier: Apache-2.0
#include "cli/jsonl_stream.h"

#include <iostream>

#include "image/image.h"
#include "support/error.h"
#include "support/strings.h"

namespace graft::cli {

using support::cat;

std::string dump_line(const nlohmann::ordered_json& row) {
  return row.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

void for_each_row(std::istream& in, const std::string& name,
                  const std::function<void(const nlohmann::json&)>& use) {
  std::int64_t number = 0;
  for (std::string line; std::getline(in, line);) {
    ++number;
    if (support::trim(line).empty()) continue;
    const nlohmann::json row = nlohmann::json::parse(line, nullptr, false);
    if (!row.is_object()) {
      throw support::UserError(
          cat(name, ':', number, ": not a JSON object; expected one a line, found ", line.substr(0, 80)));
    }
    try {
      use(row);
    } catch (const support::UserError& error) {
      throw support::UserError(cat(name, ':', number, ": ", error.what()));
    }
  }
}

void for_each_line(const std::function<nlohmann::ordered_json(const nlohmann::json&)>& answer) {
  for_each_row(std::cin, "stdin",
               [&](const nlohmann::json& row) { std::cout << dump_line(answer(row)) << std::flush; });
}

std::string text_member(const nlohmann::json& row, const std::string& key) {
  if (!row.contains(key)) throw support::UserError(cat("\"", key, "\" is missing; it has to be a string"));
  if (!row[key].is_string()) {
    throw support::UserError(
        cat("\"", key, "\" is ", row[key].dump().substr(0, 60), "; it has to be a string"));
  }
  return row[key].get<std::string>();
}

std::string text_member(const nlohmann::json& row, const std::string& key, const std::string& fallback) {
  return row.contains(key) ? text_member(row, key) : fallback;
}

model::Prompt prepare_prompt(const model::Model& model, const std::string& question,
                             const std::vector<std::string>& image_files,
                             const std::optional<std::string>& system_prompt) {
  std::vector<model::Message> messages;
  if (system_prompt) messages.push_back({"system", *system_prompt, 0});
  messages.push_back({"user", question, static_cast<std::int64_t>(image_files.size())});
  std::vector<image::Image> images;
  for (const std::string& file : image_files) images.push_back(image::load_image(file));
  return model.prepare(messages, images, image_files);
}

}  // namespace graft::cli
