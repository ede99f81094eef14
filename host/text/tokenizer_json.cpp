// SPDX-License-Identifier: Apache-2.0
#include "text/tokenizer_json.h"

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "support/error.h"
#include "support/files.h"
#include "support/strings.h"
#include "text/byte_level.h"

namespace graft::text {

namespace {

using nlohmann::json;
using support::cat;

constexpr std::int32_t kMaxIds = 4194304;  // tables are indexed by id; published vocabularies have under 2^18

// A value of the file together with the place where it stands ("model.merges[3]"), for messages.
class Node {
 public:
  Node(const json& value, const std::filesystem::path& file) : value_(&value), file_(&file) {}

  [[noreturn]] void fail(std::string_view problem) const {
    throw support::UserError(cat(*file_, ": ", path_.empty() ? "the document" : path_, " ", problem));
  }

  bool is_null() const { return value_->is_null(); }
  bool is_string() const { return value_->is_string(); }
  bool is_array() const { return value_->is_array(); }
  bool is_true() const { return value_->is_boolean() && value_->get<bool>(); }

  // The member, or a null node if there is none.
  Node operator[](const char* key) const {
    static const json null;
    require(value_->is_object(), "an object");
    const auto member = value_->find(key);
    return Node(member == value_->end() ? null : *member, *file_, path_.empty() ? key : cat(path_, ".", key));
  }

  std::vector<Node> elements() const {
    require(value_->is_array(), "an array");
    std::vector<Node> nodes;
    nodes.reserve(value_->size());
    for (const json& element : *value_) {
      nodes.push_back(Node(element, *file_, cat(path_, "[", nodes.size(), "]")));
    }
    return nodes;
  }

  const std::string& string() const {
    require(value_->is_string(), "a string");
    return value_->get_ref<const std::string&>();
  }

  bool boolean(bool missing) const {
    if (is_null()) return missing;
    require(value_->is_boolean(), "true or false");
    return value_->get<bool>();
  }

  std::int32_t id() const {
    const bool ok = value_->is_number_integer() && *value_ >= 0 && *value_ < kMaxIds;
    require(ok, "a token id, a whole number from 0 to 4194303");
    return value_->get<std::int32_t>();
  }

  const json::object_t& members() const {
    require(value_->is_object(), "an object");
    return value_->get_ref<const json::object_t&>();
  }

  Node member(const std::string& key, const json& value) const {
    return Node(value, *file_, cat(path_, "[\"", key, "\"]"));
  }

  void unsupported(std::string_view supported) const {
    std::string shown = value_->dump(-1, ' ', false, json::error_handler_t::replace);
    if (shown.size() > 200) shown = shown.substr(0, 200) + "…";
    fail(cat("is ", shown, ", which this tokenizer does not support; it reads ", supported));
  }

 private:
  Node(const json& value, const std::filesystem::path& file, std::string path)
      : value_(&value), file_(&file), path_(std::move(path)) {}

  void require(bool ok, std::string_view expected) const {
    if (!ok)
      fail(cat("must be ", expected, ", found ", value_->is_number() ? value_->dump() : value_->type_name()));
  }

  const json* value_;
  const std::filesystem::path* file_;
  std::string path_;
};

std::string type_of(const Node& node) {
  return node["type"].string();
}

// The stages of a pipeline: none, one, or the members of a Sequence.
std::vector<Node> stages(const Node& node, const char* members) {
  if (node.is_null()) return {};
  if (type_of(node) == "Sequence") return node[members].elements();
  return {node};
}

Bpe::Pair read_merge(const Node& node) {
  if (node.is_string()) {
    const std::string& text = node.string();
    const std::size_t space = text.find(' ');
    if (space == std::string::npos || text.find(' ', space + 1) != std::string::npos) {
      node.fail(cat("must be two tokens separated by one space, found \"", text, "\""));
    }
    return {text.substr(0, space), text.substr(space + 1)};
  }
  const std::vector<Node> parts = node.elements();
  if (parts.size() != 2) node.fail(cat("must be a pair of tokens, found ", parts.size()));
  return {parts[0].string(), parts[1].string()};
}

// An option that must have its neutral value: null, false, "" or 0.
void require_neutral(const Node& model, const char* key) {
  const Node option = model[key];
  if (option.is_null() || (option.is_string() && option.string().empty())) return;
  const json& value = model.members().at(key);
  if (value.is_boolean() ? !value.get<bool>() : value.is_number() && value.get<double>() == 0) return;
  option.unsupported("byte-level BPE without it");
}

// Pieces of text with "▁" for a space and bytes as "<0x0A>": recognised only to say so.
void refuse_sentencepiece(const Node& model) {
  constexpr std::string_view kWhat =
      ": a SentencePiece-style tokenizer, as of Llama-2 and InternLM2, which is not supported; this "
      "tokenizer reads "
      "byte-level BPE, as of Qwen, Llama-3 and GLM-4";
  const Node type = model["type"];
  if (type.is_string() && type.string() == "Unigram") type.fail(cat("is \"Unigram\"", kWhat));
  if (model["byte_fallback"].is_true()) model["byte_fallback"].fail(cat("is true", kWhat));
}

Bpe read_model(const Node& model) {
  refuse_sentencepiece(model);
  // Very old files leave the type out.
  if (!model["type"].is_null() && type_of(model) != "BPE") model["type"].unsupported("\"BPE\"");
  for (const char* key : {"dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix"}) {
    require_neutral(model, key);
  }
  const Node vocab = model["vocab"];
  Bpe::Vocabulary vocabulary;
  std::vector<bool> taken;
  vocabulary.reserve(vocab.members().size());
  for (const auto& [token, value] : vocab.members()) {
    const Node entry = vocab.member(token, value);
    const auto id = static_cast<std::size_t>(entry.id());
    if (id >= taken.size()) taken.resize(id + 1);
    if (taken[id]) entry.fail(cat("has the id ", id, ", as another token does"));
    taken[id] = true;
    vocabulary.emplace(token, entry.id());
  }
  std::vector<Bpe::Pair> merges;
  for (const Node& merge : model["merges"].elements()) merges.push_back(read_merge(merge));
  try {
    return Bpe(std::move(vocabulary), merges, model["ignore_merges"].boolean(false));
  } catch (const support::UserError& error) {
    model["merges"].fail(cat("does not fit model.vocab: ", error.what()));
  }
}

std::vector<AddedToken> read_added_tokens(const Node& list, const Bpe::Vocabulary& vocabulary) {
  std::vector<AddedToken> tokens;
  if (list.is_null()) return tokens;
  std::unordered_map<std::int64_t, std::string_view> owner;
  std::unordered_set<std::string> contents;
  owner.reserve(vocabulary.size());
  for (const auto& [token, id] : vocabulary) owner.emplace(id, token);
  for (const Node& entry : list.elements()) {
    AddedToken token;
    token.id = entry["id"].id();
    token.content = entry["content"].string();
    token.special = entry["special"].boolean(false);
    token.normalized = entry["normalized"].boolean(!token.special);
    token.single_word = entry["single_word"].boolean(false);
    token.lstrip = entry["lstrip"].boolean(false);
    token.rstrip = entry["rstrip"].boolean(false);
    if (token.content.empty()) continue;  // `tokenizers` never finds it either
    const auto known = contents.insert(token.content);
    const auto in_model = vocabulary.find(token.content);
    if (!known.second || (in_model != vocabulary.end() && in_model->second != token.id)) {
      entry.fail(cat("gives the token \"", token.content, "\" a second id, ", token.id));
    }
    const auto [other, free] = owner.emplace(token.id, *known.first);
    if (!free && other->second != token.content) {
      entry.fail(cat("gives \"", token.content, "\" the id ", token.id, ", which is that of \"",
                     other->second, "\""));
    }
    tokens.push_back(std::move(token));
  }
  return tokens;
}

bool read_normalizer(const Node& normalizer) {
  bool nfc = false;
  for (const Node& stage : stages(normalizer, "normalizers")) {
    if (type_of(stage) != "NFC") stage.unsupported("NFC, a Sequence of it, or null");
    nfc = true;
  }
  return nfc;
}

SplitRegex read_split(const Node& stage) {
  const Node behavior = stage["behavior"];
  if (behavior.string() != "Isolated") behavior.unsupported("\"Isolated\"");
  if (stage["invert"].boolean(false)) stage["invert"].unsupported("false");
  const Node pattern = stage["pattern"];
  const Node expression = pattern["Regex"];
  const Node literal = pattern["String"];
  if (expression.is_null() && (literal.is_null() || literal.string().empty())) {
    pattern.unsupported("{\"Regex\": …} and {\"String\": …}");
  }
  try {
    return expression.is_null() ? SplitRegex::from_literal(literal.string())
                                : SplitRegex::from_expression(expression.string());
  } catch (const support::UserError& error) {
    pattern.fail(cat("cannot be used: ", error.what()));
  }
}

void read_pre_tokenizer(const Node& pre_tokenizer, TokenizerDescription& description) {
  constexpr std::string_view supported = "Split stages followed by one ByteLevel, or ByteLevel alone";
  const std::vector<Node> list = stages(pre_tokenizer, "pretokenizers");
  if (list.empty() || type_of(list.back()) != "ByteLevel") pre_tokenizer.unsupported(supported);
  for (std::size_t i = 0; i + 1 < list.size(); ++i) {
    if (type_of(list[i]) != "Split") list[i].unsupported(supported);
    description.splits.push_back(read_split(list[i]));
  }
  description.add_prefix_space = list.back()["add_prefix_space"].boolean(true);
  description.byte_level_split = list.back()["use_regex"].boolean(true);
  if (description.byte_level_split)
    description.splits.push_back(SplitRegex::from_expression(kGpt2Expression));
}

void check_decoder(const Node& decoder) {
  const std::vector<Node> list = stages(decoder, "decoders");
  if (list.size() != 1 || type_of(list.front()) != "ByteLevel") decoder.unsupported("ByteLevel");
}

// The ids of one special token of a template, which are listed apart.
void append_template_token(const Node& tokens, const Node& token, std::vector<std::int64_t>& ids) {
  const Node entry = tokens[token["id"].string().c_str()];
  if (entry.is_null())
    token.fail(cat("names \"", token["id"].string(), "\", which special_tokens does not have"));
  for (const Node& id : entry["ids"].elements()) ids.push_back(id.id());
}

// The template of a single text: special tokens, the text ("A") once, special tokens.
void read_template(const Node& stage, TokenizerDescription& description) {
  const Node single = stage["single"];
  std::vector<std::int64_t> before, after;
  bool has_text = false;
  for (const Node& piece : single.elements()) {
    const Node text = piece["Sequence"];
    const bool fits =
        text.is_null() ? !piece["SpecialToken"].is_null() : text["id"].string() == "A" && !has_text;
    if (!fits) single.unsupported("special tokens around one {\"Sequence\": {\"id\": \"A\"}}");
    if (text.is_null()) {
      append_template_token(stage["special_tokens"], piece["SpecialToken"], has_text ? after : before);
    } else {
      has_text = true;
    }
  }
  if (!has_text) single.unsupported("special tokens around one {\"Sequence\": {\"id\": \"A\"}}");
  // A later stage goes around what an earlier one made.
  description.before.insert(description.before.begin(), before.begin(), before.end());
  description.after.insert(description.after.end(), after.begin(), after.end());
}

// ByteLevel here only moves offsets.
void read_post_processor(const Node& post_processor, TokenizerDescription& description) {
  for (const Node& stage : stages(post_processor, "processors")) {
    const std::string type = type_of(stage);
    if (type == "TemplateProcessing") {
      read_template(stage, description);
    } else if (type != "ByteLevel") {
      stage.unsupported("ByteLevel, TemplateProcessing, a Sequence of them, or null");
    }
  }
}

// Says what to do with a directory that has its tokenizer in another form.
[[noreturn]] void fail_without_file(const std::filesystem::path& file) {
  std::string text = cat(file, " does not exist");
  for (const char* other : {"tokenizer.model", "vocab.json"}) {
    if (!std::filesystem::exists(file.parent_path() / other)) continue;
    text +=
        cat("; the directory has its tokenizer as ", other,
            ", which is not read: AutoTokenizer.from_pretrained(…).save_pretrained(…) of transformers writes "
            "tokenizer.json");
    break;
  }
  throw support::UserError(text);
}

json parse(const std::filesystem::path& file) {
  if (!std::filesystem::exists(file)) fail_without_file(file);
  const std::string text = support::read_file(file);
  try {
    return json::parse(text);
  } catch (const json::exception& error) {
    throw support::UserError(cat(file, ": not valid JSON: ", error.what()));
  }
}

}  // namespace

TokenizerDescription read_tokenizer_json(const std::filesystem::path& file) {
  const json document = parse(file);
  const Node root(document, file);
  TokenizerDescription description{.model = read_model(root["model"])};
  description.added_tokens = read_added_tokens(root["added_tokens"], description.model.vocabulary());
  description.nfc = read_normalizer(root["normalizer"]);
  read_pre_tokenizer(root["pre_tokenizer"], description);
  check_decoder(root["decoder"]);
  read_post_processor(root["post_processor"], description);
  return description;
}

}  // namespace graft::text
