// SPDX-License-Identifier: Apache-2.0
#include "model/directory.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <optional>

#include "support/error.h"
#include "support/files.h"
#include "support/strings.h"

namespace graft::model {

namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using support::cat;
using support::UserError;

std::string read_optional(const fs::path& file) {
  return fs::exists(file) ? support::read_file(file) : std::string();
}

// The object of a file that is there, an empty object for an empty text.
json parse_object(const std::string& text, const fs::path& file) {
  if (text.empty()) return json::object();
  try {
    json parsed = json::parse(text);
    if (parsed.is_object()) return parsed;
    throw UserError(cat(file, " holds a JSON ", parsed.type_name(), ", expected an object"));
  } catch (const json::exception& e) {
    throw UserError(cat(file, " is not JSON: ", e.what()));
  }
}

std::string template_of(const json& object) {
  const auto found = object.find("chat_template");
  if (found == object.end()) return {};
  if (found->is_string()) return found->get<std::string>();
  if (!found->is_array()) return {};
  for (const json& entry : *found) {  // several named templates
    if (entry.is_object() && entry.value("name", json()) == "default" &&
        entry.value("template", json()).is_string()) {
      return entry["template"].get<std::string>();
    }
  }
  return {};
}

std::string read_chat_template(const ModelDirectory& directory) {
  std::string text = read_optional(directory.path / "chat_template.jinja");
  if (!text.empty()) return text;
  const fs::path file = directory.path / "chat_template.json";
  text = template_of(parse_object(read_optional(file), file));
  if (!text.empty()) return text;
  return template_of(parse_object(directory.tokenizer, directory.path / "tokenizer_config.json"));
}

// Families read min_pixels and max_pixels at the top level, or as "shortest_edge" and "longest_edge" of
// "size".
std::string with_pixel_limits(const std::string& text, const fs::path& file, const OpenOptions& options) {
  if (!options.min_pixels && !options.max_pixels) return text;
  json object = parse_object(text, file);
  const auto set = [&](const char* key, const char* edge, std::optional<std::int64_t> value) {
    if (!value) return;
    object[key] = *value;
    const auto size = object.find("size");
    if (size != object.end() && size->is_object() && size->contains(edge)) (*size)[edge] = *value;
  };
  set("min_pixels", "shortest_edge", options.min_pixels);
  set("max_pixels", "longest_edge", options.max_pixels);
  return object.dump();
}

// An id or a list of ids; null and absent count as none.
std::vector<std::int64_t> ids_at(const json& object, const char* key, const fs::path& file) {
  const auto found = object.find(key);
  if (found == object.end() || found->is_null()) return {};
  std::vector<std::int64_t> ids;
  const json list = found->is_array() ? *found : json::array({*found});
  for (const json& id : list) {
    if (!id.is_number_integer()) {
      throw UserError(cat(file, ": \"", key, "\" is ", found->dump(), ", expected an id or a list of ids"));
    }
    ids.push_back(id.get<std::int64_t>());
  }
  return ids;
}

// A special token of tokenizer_config.json: a text, or an object with the text as "content".
std::vector<std::int64_t> token_at(const json& object, const char* key, const text::Tokenizer& tokenizer) {
  const auto found = object.find(key);
  if (found == object.end()) return {};
  const json text = found->is_object() ? found->value("content", json()) : *found;
  if (!text.is_string()) return {};
  const auto id = tokenizer.token_id(text.get<std::string>());
  return id ? std::vector<std::int64_t>{*id} : std::vector<std::int64_t>{};
}

// Looks where an id may be given, most specific first.
std::vector<std::int64_t> find_ids(const ModelDirectory& directory, const text::Tokenizer& tokenizer,
                                   const char* id_key, const char* token_key) {
  const fs::path generation = directory.path / "generation_config.json",
                 config = directory.path / "config.json";
  std::vector<std::int64_t> ids = ids_at(parse_object(directory.generation, generation), id_key, generation);
  if (!ids.empty()) return ids;
  const json root = parse_object(directory.config, config);
  ids = ids_at(root, id_key, config);
  if (ids.empty() && root.contains("text_config") && root["text_config"].is_object()) {
    ids = ids_at(root["text_config"], id_key, config);
  }
  if (!ids.empty()) return ids;
  return token_at(parse_object(directory.tokenizer, directory.path / "tokenizer_config.json"), token_key,
                  tokenizer);
}

}  // namespace

ModelDirectory read_directory(const OpenOptions& options) {
  ModelDirectory out;
  out.path = options.directory;
  if (!fs::is_directory(out.path)) {
    throw UserError(
        cat("the model directory ", out.path, fs::exists(out.path) ? " is a file" : " does not exist",
            "; expected a directory in Hugging Face's layout, with config.json and model.safetensors"));
  }
  if (!fs::exists(out.path / "config.json")) {
    throw UserError(cat("the model directory ", out.path, " has no config.json"));
  }
  out.config = support::read_file(out.path / "config.json");
  parse_object(out.config, out.path / "config.json");
  const fs::path preprocessor = out.path / "preprocessor_config.json";
  out.preprocessor = with_pixel_limits(read_optional(preprocessor), preprocessor, options);
  out.generation = read_optional(out.path / "generation_config.json");
  out.tokenizer = read_optional(out.path / "tokenizer_config.json");
  out.chat_template = read_chat_template(out);
  return out;
}

std::vector<std::int64_t> find_stop_ids(const ModelDirectory& directory, const text::Tokenizer& tokenizer) {
  return find_ids(directory, tokenizer, "eos_token_id", "eos_token");
}

std::int64_t find_eos_id(const ModelDirectory& directory, const text::Tokenizer& tokenizer,
                         const std::vector<std::int64_t>& stop_ids) {
  const std::vector<std::int64_t> ids = token_at(
      parse_object(directory.tokenizer, directory.path / "tokenizer_config.json"), "eos_token", tokenizer);
  if (!ids.empty()) return ids.front();
  return stop_ids.empty() ? -1 : stop_ids.front();
}

std::int64_t find_pad_id(const ModelDirectory& directory, const text::Tokenizer& tokenizer,
                         const std::vector<std::int64_t>& stop_ids) {
  const std::vector<std::int64_t> ids = find_ids(directory, tokenizer, "pad_token_id", "pad_token");
  if (!ids.empty()) return ids.front();
  return stop_ids.empty() ? 0 : stop_ids.front();
}

std::vector<fs::path> companion_files(const fs::path& directory) {
  constexpr std::array<std::string_view, 4> kSuffixes = {".json", ".jinja", ".txt", ".model"};
  std::vector<fs::path> out;
  for (const fs::path& file : support::list_files(directory)) {
    const std::string name = file.filename().string();
    const bool is_wanted = std::any_of(kSuffixes.begin(), kSuffixes.end(),
                                       [&](std::string_view suffix) { return name.ends_with(suffix); });
    if (is_wanted && !name.ends_with(".safetensors.index.json")) out.push_back(file);
  }
  return out;
}

}  // namespace graft::model
