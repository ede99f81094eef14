// SPDX-License-Identifier: Apache-2.0
// llm_judge: a language model behind an OpenAI-compatible server grades each answer.
#include <graft/sdk/reward.hpp>

#include <cmath>
#include <cstdlib>

#include "common/boxes.h"
#include "common/http.h"
#include "common/json.h"
#include "common/numbers.h"
#include "common/params.h"
#include "common/unicode.h"

namespace {

using graft::Json;

constexpr const char* kTemplate =
    "Question: {question}\nReference answer: {solution}\nAnswer to grade: {answer}\n"
    "Does the answer mean the same as the reference? Reply with one number: 1 if it does, 0 if it does not.";

// The template with its names filled in; text that is put in is not looked at again.
std::string filled(std::string_view form,
                   const std::vector<std::pair<std::string_view, std::string_view>>& values) {
  std::string out;
  for (std::size_t at = 0; at < form.size();) {
    bool found = false;
    for (const auto& [name, value] : values) {
      if (form.compare(at, name.size(), name) != 0) continue;
      out += value;
      at += name.size();
      found = true;
      break;
    }
    if (!found) out += form[at++];
  }
  return out;
}

struct LlmJudge : graft::Reward {
  static constexpr auto name = "llm_judge";
  static constexpr auto summary = "grade of a language model behind an OpenAI-compatible server, 0 to 1";
  static constexpr std::uint32_t properties = GRAFT_REWARD_BLOCKING_IO | GRAFT_REWARD_RANDOM;

  static graft::Schema params() {
    graft::Schema schema;
    schema.string("url", "http://127.0.0.1:8000/v1", "base of the API; /chat/completions is added")
        .string("model", "", "name of the model, as the server knows it")
        .string("template", kTemplate,
                "what is asked; {question}, {solution}, {answer}, {completion} are filled in")
        .string("api_key_variable", "OPENAI_API_KEY",
                "environment variable that holds the key, if the server wants one")
        .number("timeout", 60, "seconds for a batch; items without a grade by then have none")
        .exclusive_minimum(0)
        .integer("parallel", 8, "requests at a time")
        .minimum(1)
        .maximum(64)
        .integer("max_tokens", 16, "tokens of a grade")
        .minimum(1);
    return rewards::add_where(schema, "anywhere");
  }

  explicit LlmJudge(const graft::Params& params)
      : poster_(address(params.string("url")), headers(params.string("api_key_variable")),
                params.number("timeout"), static_cast<std::size_t>(params.integer("parallel"))),
        model_(params.string("model")),
        template_(params.string("template")),
        max_tokens_(params.integer("max_tokens")),
        where_(rewards::where_from(params)) {
    if (template_.find("{answer}") == std::string::npos &&
        template_.find("{completion}") == std::string::npos)
      throw graft::Error("\"template\" shows the judge no {answer} and no {completion}");
  }

  std::optional<graft::Observation> observe(const graft::RewardItem& item) override {
    return rewards::observe(item);
  }

  std::vector<graft::Score> score_batch(const graft::RewardBatch& batch) override {
    std::vector<graft::Score> scores(batch.size(), graft::Score::unparsable(0.0, rewards::kNoAnswer));
    std::vector<std::string> bodies;
    std::vector<std::size_t> asked;
    for (std::size_t i = 0; i < batch.size(); ++i) {
      const auto answer = rewards::scored_text(batch[i].completion(), where_);
      if (!answer) continue;
      asked.push_back(i);
      bodies.push_back(body_of(batch[i], *answer));
    }
    const std::vector<rewards::Reply> replies = poster_.post(bodies);
    for (std::size_t k = 0; k < replies.size(); ++k) scores[asked[k]] = grade_of(replies[k]);
    return scores;
  }

 private:
  static rewards::Address address(const std::string& url) {
    rewards::Address address = rewards::Address::parse(url);
    address.path += "/chat/completions";
    return address;
  }
  static std::vector<std::pair<std::string, std::string>> headers(const std::string& variable) {
    const char* key = variable.empty() ? nullptr : std::getenv(variable.c_str());
    if (key == nullptr) return {};
    return {{"Authorization", std::string("Bearer ") + key}};
  }

  std::string body_of(const graft::RewardItem& item, std::string_view answer) const {
    const std::string content = filled(template_, {{"{question}", item.prompt()},
                                                   {"{solution}", rewards::bare_solution(item.solution())},
                                                   {"{answer}", rewards::strip(answer)},
                                                   {"{completion}", item.completion()}});
    Json message = Json::object({{"role", Json("user")}, {"content", Json(rewards::valid_utf8(content))}});
    return Json::object({{"model", Json(model_)},
                         {"messages", Json::array({std::move(message)})},
                         {"temperature", Json(0)},
                         {"max_tokens", Json(max_tokens_)}})
        .dump();
  }

  static graft::Score grade_of(const rewards::Reply& reply) {
    if (reply.state == rewards::Reply::State::kTimeout)
      return graft::Score::timed_out("no reply within the time");
    if (reply.state == rewards::Reply::State::kFailed) return graft::Score::failed(reply.text);
    const std::optional<Json> value = rewards::load_json(reply.text);
    const Json* choices = value ? value->find("choices") : nullptr;
    if (choices == nullptr || !choices->is_array() || choices->items().empty())
      return graft::Score::failed("the reply has no choices: " + reply.text.substr(0, 200));
    const Json* message = choices->items()[0].find("message");
    const Json* content = message == nullptr ? nullptr : message->find("content");
    if (content == nullptr || !content->is_string()) return graft::Score::failed("the reply has no message");
    const auto grade = rewards::last_number(content->as_string());
    if (!grade || grade->value < 0.0 || grade->value > 1.0)
      return graft::Score::failed("the judge said \"" + content->as_string().substr(0, 200) +
                                  "\", expected a number of 0 to 1");
    return graft::Score(grade->value, content->as_string().substr(0, 200));
  }

  rewards::Poster poster_;
  std::string model_, template_;
  std::int64_t max_tokens_;
  rewards::Where where_;
};

}  // namespace

GRAFT_PLUGIN(LlmJudge);
