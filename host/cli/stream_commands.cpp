// SPDX-License-Identifier: Apache-2.0
// tokenize, logprobs, score: small commands that read JSONL on stdin and write JSONL on stdout.
#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "cli/jsonl_stream.h"
#include "cli/recorded_completions.h"
#include "objective/logprobs.h"
#include "rewards/rewards.h"
#include "support/error.h"
#include "support/strings.h"
#include "text/tokenizer.h"
#include "train/session.h"
#include "train/update.h"

namespace graft::cli {

using support::cat;

namespace {

struct StreamOptions {
  std::string model, adapter, dtype = "float32";
  std::vector<std::string> plugins, rewards;
  bool add_special_tokens = false, skip_special_tokens = false;
};

void run_tokenize(const StreamOptions& options) {
  const text::Tokenizer tokenizer =
      text::Tokenizer::load(std::filesystem::path(options.model) / "tokenizer.json");
  for_each_line([&](const nlohmann::json& row) {
    nlohmann::ordered_json result;
    if (row.contains("ids")) {
      const auto ids = row["ids"].get<std::vector<std::int64_t>>();
      result["text"] = tokenizer.decode(ids, options.skip_special_tokens);
    } else {
      result["ids"] = tokenizer.encode(text_member(row, "text"), options.add_special_tokens);
    }
    return result;
  });
}

std::vector<std::string> image_members(const nlohmann::json& row) {
  if (!row.contains("image") || row["image"].is_null()) return {};
  if (row["image"].is_string()) return {row["image"].get<std::string>()};
  if (!row["image"].is_array())
    throw support::UserError("\"image\" has to be a file name or a list of file names");
  return row["image"].get<std::vector<std::string>>();
}

void run_logprobs(const StreamOptions& options) {
  config::RunConfig config;
  config.model.path = options.model;
  config.model.dtype = options.dtype;
  config.plugins = options.plugins;
  if (!options.adapter.empty()) config.peft.adapter = options.adapter;
  const train::Session session = train::open_inference(config);
  at::NoGradGuard no_grad;
  for_each_line([&](const nlohmann::json& row) {
    std::optional<std::string> system;
    if (row.contains("system")) system = text_member(row, "system");
    const model::Prompt prompt =
        prepare_prompt(*session.model, text_member(row, "prompt"), image_members(row), system);
    const std::vector<std::int64_t> ids =
        row.contains("token_ids") ? row["token_ids"].get<std::vector<std::int64_t>>()
                                  : session.model->tokenizer().encode(text_member(row, "completion"));
    const std::vector<at::Tensor> features = model::encode_prompt_images(*session.model, {&prompt}, {});
    const std::vector<objective::ScoredGroup> groups = {{&prompt, features.front(), {ids}}};
    const at::Tensor scored =
        objective::completion_logprobs(*session.model, groups, {}).logprobs.to(at::kDouble).contiguous();
    nlohmann::ordered_json result;
    result["token_ids"] = ids;
    result["logprobs"] = std::vector<double>(scored.const_data_ptr<double>(),
                                             scored.const_data_ptr<double>() + scored.numel());
    return result;
  });
}

const char* status_word(rewards::Status status) {
  switch (status) {
    case rewards::Status::kOk:
      return "ok";
    case rewards::Status::kNoOpinion:
      return "no opinion";
    case rewards::Status::kUnparsable:
      return "unparsable";
    case rewards::Status::kError:
      return "error";
    case rewards::Status::kTimeout:
      return "timeout";
  }
  return "error";
}

// "iou" or "iou:{\"space\": \"unit\"}".
rewards::RewardSpec reward_spec(const std::string& text) {
  rewards::RewardSpec spec;
  const std::size_t colon = text.find(":{");
  spec.name = text.substr(0, colon);
  if (colon == std::string::npos) return spec;
  spec.params = nlohmann::json::parse(text.substr(colon + 1), nullptr, false);
  if (!spec.params.is_object()) {
    throw support::UserError(
        cat("--reward ", text, ": what follows the colon has to be a JSON object of parameters"));
  }
  return spec;
}

void run_score(const StreamOptions& options) {
  const auto registry = train::open_registry(options.plugins);
  std::vector<rewards::RewardSpec> specs;
  for (const std::string& reward : options.rewards) specs.push_back(reward_spec(reward));
  const rewards::RewardSet set(*registry, specs);
  for_each_line([&](const nlohmann::json& row) {
    RecordedCompletions completions;
    completions.add(row);
    const std::vector<rewards::Item> items = completions.items();
    const rewards::Scores scores = set.score(items, 0);
    nlohmann::ordered_json result;
    for (std::size_t k = 0; k < set.components().size(); ++k) {
      result["scores"][set.components()[k]] = rewards::score_json(scores.values[0][k]);
    }
    for (std::size_t r = 0; r < set.names().size(); ++r) {
      result["status"][set.names()[r]] = status_word(scores.statuses[0][r]);
      result["reason"][set.names()[r]] = scores.reasons[0][r];
    }
    return result;
  });
}

}  // namespace

void add_stream_commands(CLI::App& app) {
  auto options = std::make_shared<StreamOptions>();
  CLI::App* tokenize =
      app.add_subcommand("tokenize", "{\"text\"} -> {\"ids\"}, or {\"ids\"} -> {\"text\"}, JSONL on stdin");
  tokenize->add_option("--model", options->model, "Hugging Face directory with tokenizer.json")->required();
  tokenize->add_flag("--add-special-tokens", options->add_special_tokens,
                     "put the post-processor's tokens around each text, such as Llama-3's <|begin_of_text|>");
  tokenize->add_flag("--skip-special-tokens", options->skip_special_tokens,
                     "leave special tokens out of each decoded text");
  tokenize->callback([options] { run_tokenize(*options); });

  CLI::App* logprobs = app.add_subcommand(
      "logprobs", "{\"image\", \"prompt\", \"completion\"} -> {\"token_ids\", \"logprobs\"}, JSONL on stdin");
  logprobs->add_option("--model", options->model, "Hugging Face directory")->required();
  logprobs->add_option("--adapter", options->adapter, "PEFT directory");
  logprobs->add_option("--dtype", options->dtype, "float32 or bfloat16")->capture_default_str();
  logprobs->add_option("--plugin", options->plugins, "more plugin files");
  logprobs->callback([options] { run_logprobs(*options); });

  CLI::App* score = app.add_subcommand("score",
                                       "{\"completion\", \"solution\", \"image_size\", …} -> {\"scores\", "
                                       "\"status\", \"reason\"}, JSONL on stdin");
  score->add_option("--reward", options->rewards, "reward plugins: NAME or NAME:{\"param\": value}")
      ->required();
  score->add_option("--plugin", options->plugins, "more plugin files");
  score->callback([options] { run_score(*options); });
}

}  // namespace graft::cli
