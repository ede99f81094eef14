// SPDX-License-Identifier: Apache-2.0
#include "data/sample.h"

#include <algorithm>
#include <cctype>
#include <functional>
#include <nlohmann/json.hpp>
#include <string_view>

#include "support/error.h"
#include "support/strings.h"

namespace graft::data {

namespace {

using nlohmann::json;
using support::cat;

using Lookup = std::function<std::optional<std::string>(const std::string& name)>;

bool is_name(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_';
  });
}

// Replaces {name} for the names that `lookup` knows; everything else, braces of JSON included, stays. What is
// put in is not looked at again.
std::string filled(std::string_view text, const Lookup& lookup) {
  std::string out;
  for (;;) {
    const std::size_t open = text.find('{');
    out += text.substr(0, open);
    if (open == std::string_view::npos) return out;
    text.remove_prefix(open);
    const std::size_t close = text.find('}');
    const std::string_view name =
        close == std::string_view::npos ? std::string_view() : text.substr(1, close - 1);
    const auto value = is_name(name) ? lookup(std::string(name)) : std::nullopt;
    out += value ? *value : std::string(text.substr(0, 1));
    text.remove_prefix(value ? close + 1 : 1);
  }
}

// The columns of the record, parsed when the first one is asked for.
class Columns {
 public:
  explicit Columns(const std::string& record) : record_(record) {}

  std::optional<std::string> find(const std::string& name) {
    if (parsed_.is_null()) parsed_ = json::parse(record_);
    const auto found = parsed_.find(name);
    if (found == parsed_.end() || found->is_structured() || found->is_null()) return std::nullopt;
    return found->is_string() ? found->get<std::string>() : found->dump();
  }

 private:
  const std::string& record_;
  json parsed_;
};

}  // namespace

std::string Sample::where() const {
  return cat(file, ':', line);
}

std::vector<Turn> prompt_turns(const Sample& sample, const std::string& question_template,
                               const std::optional<std::string>& system_prompt) {
  std::vector<Turn> turns;
  const bool has_system = !sample.turns.empty() && sample.turns.front().role == "system";
  if (system_prompt && !has_system) turns.push_back({"system", *system_prompt, 0});
  turns.insert(turns.end(), sample.turns.begin(), sample.turns.end());
  Columns columns(sample.record);
  Turn& last = turns.back();
  last.text = filled(question_template, [&](const std::string& name) -> std::optional<std::string> {
    if (name == "question" || name == "Question") return last.text;
    return columns.find(name);
  });
  return turns;
}

std::string completion_text(const Sample& sample, const std::string& answer_template) {
  if (!sample.has_answer) {
    throw support::UserError(
        cat(sample.where(), ": the sample has no answer to learn; expected a last turn from \"gpt\""));
  }
  Columns columns(sample.record);
  return filled(answer_template, [&](const std::string& name) -> std::optional<std::string> {
    if (name == "answer") return sample.answer;
    if (name == "solution") return sample.solution;
    return columns.find(name);
  });
}

}  // namespace graft::data
