// SPDX-License-Identifier: Apache-2.0
// train, sft, eval, generate: the commands with a run configuration.
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>

#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "cli/config_arguments.h"
#include "cli/jsonl_stream.h"
#include "config/run_config.h"
#include "rollout/rollout.h"
#include "support/error.h"
#include "support/files.h"
#include "support/interrupt.h"
#include "support/log.h"
#include "support/strings.h"
#include "train/evaluate.h"
#include "train/run.h"
#include "train/session.h"
#include "train/update.h"

namespace graft::cli {

using support::cat;

namespace {

void write_jsonl(const std::filesystem::path& file, const std::vector<nlohmann::ordered_json>& rows) {
  std::string text;
  for (const auto& row : rows) text += dump_line(row);
  support::write_file_atomic(file, text);
}

void run_eval(std::vector<std::string> args) {
  support::install_interrupt_handlers();
  const config::LoadedConfig loaded = load_config(std::move(args), config::kEval);
  const config::RunConfig& config = loaded.config;
  if (config.rewards.empty()) {
    throw support::UserError(
        "rewards is empty: there is nothing to evaluate with; add --reward_funcs iou format");
  }
  data::Dataset dataset = train::load_samples(config::eval_files(config.data), config, config.eval.samples);
  const train::Session session = train::open_inference(config);
  const train::PromptSource prompts(*session.model, config.data, std::move(dataset.samples), 0);
  const train::Evaluation evaluation = train::evaluate(*session.model, *session.rewards, prompts, config);
  std::cout << evaluation.summary.dump(2) << "\n";
  if (config.output_dir.empty()) return;
  const std::filesystem::path directory = config.output_dir;
  support::make_directories(directory);
  write_jsonl(directory / "samples.jsonl", evaluation.samples);
  support::write_file_atomic(directory / "summary.json", evaluation.summary.dump(2) + "\n");
  support::log_info(cat("written to ", directory, ": summary.json and samples.jsonl"));
}

void run_generate(std::vector<std::string> args) {
  support::install_interrupt_handlers();
  const std::vector<std::string> questions = take_values(args, "--prompt");
  const std::vector<std::string> image_files = take_values(args, "--image");
  if (questions.size() != 1) {
    throw support::UserError(
        "graft generate needs one --prompt TEXT, and an --image FILE for each image of the prompt");
  }
  args.insert(args.begin(), "rollout.num_generations=1");  // one completion unless the arguments say more
  const config::LoadedConfig loaded = load_config(std::move(args), config::kGenerate);
  const config::RunConfig& config = loaded.config;
  const train::Session session = train::open_inference(config);
  at::NoGradGuard no_grad;
  const model::Prompt prompt = prepare_prompt(*session.model, questions.front(), image_files, std::nullopt);
  const std::vector<const model::Prompt*> prompts = {&prompt};
  const std::vector<at::Tensor> features = model::encode_prompt_images(*session.model, prompts, {});
  const rollout::SamplingOptions options = train::sampling_options(*session.model, config);
  const std::vector<std::uint64_t> keys = {0};
  const rollout::Rollouts rollouts = rollout::generate(*session.model, prompts, features, keys, options,
                                                       [] { return support::interrupt_requested(); });
  for (const rollout::Completion& completion : rollouts.completions) {
    nlohmann::ordered_json row;
    row["completion"] = completion.text;
    row["token_ids"] = completion.ids;
    row["logprobs"] = completion.logprobs;
    row["finished"] = completion.is_finished;
    std::cout << dump_line(row);
  }
}

}  // namespace

void add_run_commands(CLI::App& app) {
  add_config_command(app, "train", "Trains with GRPO: samples completions, scores them, improves the policy.",
                     config::kTrain, [](std::vector<std::string> args) {
                       train::run_grpo(load_config(std::move(args), config::kTrain));
                     });
  add_config_command(
      app, "sft", "Supervised fine-tuning on the reference answers.", config::kSft,
      [](std::vector<std::string> args) { train::run_sft(load_config(std::move(args), config::kSft)); });
  add_config_command(app, "eval",
                     "Answers held-out samples and scores them: mean IoU, accuracy, format rate.",
                     config::kEval, run_eval);
  add_config_command(app, "generate", "Completions of one prompt: --prompt TEXT [--image FILE …].",
                     config::kGenerate, run_generate);
}

}  // namespace graft::cli
