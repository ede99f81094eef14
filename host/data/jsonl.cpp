// SPDX-License-Identifier: Apache-2.0
#include "data/jsonl.h"

#include <nlohmann/json.hpp>
#include <system_error>

#include "config/json.h"
#include "support/error.h"
#include "support/files.h"
#include "support/log.h"
#include "support/strings.h"

namespace graft::data {

namespace {

using config::DataFile;
using nlohmann::json;
using support::cat;
using support::UserError;

constexpr std::string_view kPlaceholder = "<image>";
constexpr std::int64_t kShownWarnings = 10;

std::int64_t count_placeholders(std::string_view text) {
  std::int64_t count = 0;
  for (std::size_t at = text.find(kPlaceholder); at != std::string_view::npos;
       at = text.find(kPlaceholder, at + 1)) {
    ++count;
  }
  return count;
}

std::string without_placeholders(std::string_view text) {
  return support::replace_all(text, kPlaceholder, "");
}

// True if nothing but white space stands before or between the placeholders.
bool placeholders_lead(std::string_view text) {
  for (std::int64_t left = count_placeholders(text); left > 0; --left) {
    const std::size_t at = text.find(kPlaceholder);
    if (!support::trim(text.substr(0, at)).empty()) return false;
    text.remove_prefix(at + kPlaceholder.size());
  }
  return true;
}

// Makes one sample of one record.
class Parser {
 public:
  Parser(const DataFile& file, std::int64_t line, ImagePosition position) : file_(file), position_(position) {
    sample_.file = file.path;
    sample_.line = line;
  }

  Sample parse(std::string_view text) {
    record_ = config::parse_json(text, file_.path, sample_.line);
    if (!record_.is_object()) fail(cat("found ", config::shown(record_), "; expected an object"));
    sample_.record = record_.dump();
    read_id();
    read_images();
    read_turns();
    place_images();
    return std::move(sample_);
  }

 private:
  [[noreturn]] void fail(const std::string& what) const { throw UserError(cat(sample_.where(), ": ", what)); }

  void read_id() {
    const json id = record_.value("id", json());
    if (id.is_null()) {
      sample_.id = std::to_string(sample_.line);
    } else {
      sample_.id = id.is_string() ? id.get<std::string>() : id.dump();
    }
  }

  void read_images() {
    json images = record_.value("image", json());
    if (images.is_null()) return;
    if (images.is_string()) images = json::array({images});
    if (!images.is_array())
      fail(cat("image is ", config::shown(images), "; expected a path or a list of paths"));
    for (const json& image : images) {
      if (!image.is_string() || image.get<std::string>().empty()) {
        fail(cat("image contains ", config::shown(image), "; expected a path"));
      }
      const auto path = std::filesystem::path(file_.image_root) / image.get<std::string>();
      std::error_code error;
      if (!std::filesystem::is_regular_file(path, error)) {
        fail(cat("the image ", path,
                 std::filesystem::exists(path, error) ? " is not a file" : " does not exist",
                 "; paths are relative to data.image_root (now \"", file_.image_root, "\")"));
      }
      sample_.images.push_back(path);
    }
  }

  void read_turns() {
    const json conversations = record_.value("conversations", json());
    if (!conversations.is_array() || conversations.empty()) {
      fail(cat("conversations is ", conversations.is_null() ? "missing" : config::shown(conversations),
               "; expected a list of turns {\"from\": \"human\" or \"gpt\", \"value\": …}"));
    }
    for (const json& turn : conversations) read_turn(turn);
    std::vector<Turn>& turns = sample_.turns;
    if (turns.back().role == "assistant") {
      sample_.has_answer = true;
      sample_.answer = turns.back().text;
      const std::string bare =
          support::replace_all(support::replace_all(sample_.answer, "<answer>", ""), "</answer>", "");
      sample_.solution = support::trim(bare);
      turns.pop_back();
    }
    if (turns.empty() || turns.back().role != "user")
      fail("conversations has no question: a turn from \"human\" before the answer");
    sample_.question = without_placeholders(turns.back().text);
  }

  void read_turn(const json& turn) {
    if (!turn.is_object()) fail(cat("conversations contains ", config::shown(turn), "; expected an object"));
    const json from = turn.contains("from") ? turn["from"] : turn.value("role", json());
    const json value = turn.contains("value") ? turn["value"] : turn.value("content", json());
    const std::string role = role_of(from);
    if (value.is_null()) fail(cat("the turn from ", config::shown(from), " has no value"));
    if (role != "assistant" && !value.is_string()) {
      fail(cat("the value of the turn from ", config::shown(from), " is ", config::shown(value),
               "; expected text"));
    }
    const bool is_first = sample_.turns.empty();
    const std::string before = is_first ? "" : sample_.turns.back().role;
    if (role == "system" ? !is_first : role == "assistant" ? before != "user" : before == "user") {
      fail(cat("the turn from ", config::shown(from),
               is_first ? " is the first one" : cat(" follows one from ", before),
               "; expected an optional system turn, then human and gpt in turns"));
    }
    sample_.turns.push_back({role, value.is_string() ? value.get<std::string>() : value.dump(), 0});
  }

  std::string role_of(const json& from) const {
    if (from == "human" || from == "user") return "user";
    if (from == "gpt" || from == "assistant") return "assistant";
    if (from == "system") return "system";
    fail(cat("a turn is from ", from.is_null() ? "nobody" : config::shown(from),
             "; expected human, gpt or system"));
  }

  void place_images() {
    std::int64_t placeholders = 0;
    bool lead = true;
    for (Turn& turn : sample_.turns) {
      turn.n_images = turn.role == "user" ? count_placeholders(turn.text) : 0;
      placeholders += turn.n_images;
      lead = lead && (turn.n_images == 0 || placeholders_lead(turn.text));
    }
    const auto images = static_cast<std::int64_t>(sample_.images.size());
    if (placeholders != images) {
      if (placeholders != 0 && position_ == ImagePosition::kInterleaved)
        fail(disagreement(placeholders, images));
      give_all_to_first_question(images);
    }
    if (lead || position_ == ImagePosition::kFirst) delete_placeholders();
  }

  static std::string disagreement(std::int64_t placeholders, std::int64_t images) {
    return cat("the conversation has ", placeholders, " <image> placeholder", placeholders == 1 ? "" : "s",
               " for ", images, " image", images == 1 ? "" : "s",
               "; expected one each, or none: then the images go first (data.image_position=first puts them "
               "there in any case)");
  }

  void give_all_to_first_question(std::int64_t images) {
    for (Turn& turn : sample_.turns) {
      turn.n_images = turn.role == "user" ? images : 0;
      if (turn.role == "user") images = 0;
    }
  }

  // A turn without them has its images before its text.
  void delete_placeholders() {
    for (Turn& turn : sample_.turns) {
      if (turn.role == "user") turn.text = without_placeholders(turn.text);
    }
  }

  const DataFile& file_;
  ImagePosition position_;
  json record_;
  Sample sample_;
};

void warn_skipped(std::int64_t skipped, const std::string& reason) {
  if (skipped <= kShownWarnings) support::log_warn(cat("bad sample skipped: ", reason));
  if (skipped == kShownWarnings) support::log_warn("further bad samples are counted, not shown");
}

}  // namespace

Sample parse_sample(std::string_view text, const DataFile& file, std::int64_t line, ImagePosition position) {
  return Parser(file, line, position).parse(text);
}

Dataset load_samples(const std::vector<DataFile>& files, const LoadOptions& options) {
  Dataset out;
  std::string first_reason;
  const auto is_full = [&] {
    return options.limit && static_cast<std::int64_t>(out.samples.size()) >= *options.limit;
  };
  for (const DataFile& file : files) {
    const std::string text = support::read_file(file.path);
    std::string_view rest = text;
    for (std::int64_t line = 1; !rest.empty() && !is_full(); ++line) {
      const std::size_t end = rest.find('\n');
      const std::string_view record = rest.substr(0, end);
      rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
      if (support::trim(record).empty()) continue;
      try {
        out.samples.push_back(parse_sample(record, file, line, options.image_position));
      } catch (const UserError& error) {
        if (options.strict) throw;
        if (out.skipped++ == 0) first_reason = error.what();
        warn_skipped(out.skipped, error.what());
      }
    }
  }
  if (out.samples.empty()) {
    std::vector<std::string> names;
    for (const DataFile& file : files) names.push_back(file.path);
    throw UserError(cat(
        support::join(names, ", "), out.skipped == 0 ? ": the data set is empty" : ": no sample is usable",
        out.skipped == 0 ? "; expected one JSON record a line" : cat("; the first reason: ", first_reason)));
  }
  if (out.skipped > 0) {
    support::log_warn(cat(out.skipped, " bad samples skipped, ", out.samples.size(),
                          " left (data.strict=true makes them an error)"));
  }
  return out;
}

}  // namespace graft::data
