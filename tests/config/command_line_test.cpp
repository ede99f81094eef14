// SPDX-License-Identifier: Apache-2.0
// The flags of TRL and VLM-R1.
#include "config/command_line.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>

#include "config/flags.h"
#include "config/reference.h"
#include "config/run_schema.h"
#include "support/error.h"
#include "support/files.h"
#include "tests/support/errors.h"

namespace graft::config {
namespace {

using nlohmann::json;
using support::UserError;
using test::contains;
using test::message_of;
using Args = std::vector<std::string>;

RunConfig load(Args args, Command command = kTrain) {
  const Args base = {"--model_name_or_path", "m",  "--output_dir",      "o",
                     "--max_steps",          "10", "--data_file_paths", "d.jsonl"};
  args.insert(args.begin(), base.begin(), base.end());
  if (command == kTrain) args.insert(args.begin(), {"--reward_funcs", "iou"});
  return load_run_config(std::nullopt, args, command).config;
}

std::string error_of(const Args& args, Command command = kTrain) {
  return message_of<UserError>([&] { (void)load(args, command); });
}

TEST(Flags, TheFamiliarLineOfLoraFlagsWorks) {
  const RunConfig c = load({"--use_peft", "true", "--lora_r", "8", "--lora_alpha", "32", "--lora_dropout",
                            "0.1", "--lora_target_modules", "q_proj", "k_proj", "v_proj", "o_proj",
                            "gate_proj", "up_proj", "down_proj", "--gradient_checkpointing", "true"});
  EXPECT_EQ(c.peft.strategy, "lora");
  EXPECT_EQ(c.peft.params, json::parse(R"({"r": 8, "alpha": 32, "dropout": 0.1})"));
  EXPECT_EQ(std::get<std::vector<std::string>>(c.peft.target_modules).size(), 7U);
  EXPECT_EQ(c.checkpoint_policy.name, "full");
}

TEST(Flags, OtherLoraFlagsOfTrl) {
  const RunConfig c =
      load({"--use_peft", "--lora_modules_to_save", "lm_head", "norm", "--use_rslora", "--use_dora", "true"});
  EXPECT_EQ(c.peft.modules_to_save, (std::vector<std::string>{"lm_head", "norm"}));
  EXPECT_EQ(c.peft.params, json::parse(R"({"use_rslora": true, "use_dora": true})"));
  EXPECT_EQ(load({"--use_rslora", "false"}).peft.params, json::object());  // as it is anyway
  EXPECT_TRUE(contains(error_of({"--lora_modules_to_save", "lm_head"}), "peft.strategy is \"full\""));
  EXPECT_TRUE(contains(error_of({"--lora_r", "4", "peft.strategy=layers"}), "peft.strategy is \"layers\""));
  EXPECT_EQ(load({"--lora_r", "4", "peft.strategy=vera"}).peft.params, json::parse(R"({"r": 4})"));
  EXPECT_TRUE(contains(error_of({"--lora_target_parameters", "x"}), "has no counterpart"));
}

TEST(Flags, RenamedKeysReachTheirSection) {
  const RunConfig c = load({"--num_generations",
                            "4",
                            "--max_completion_length",
                            "64",
                            "--learning_rate",
                            "1e-5",
                            "--beta",
                            "0.04",
                            "--epsilon",
                            "0.1",
                            "--epsilon_high",
                            "0.3",
                            "--temperature",
                            ".9",
                            "--top_p",
                            "0.95",
                            "--top_k",
                            "50",
                            "--num_iterations",
                            "2",
                            "--save_steps",
                            "5",
                            "--logging_steps",
                            "2",
                            "--seed",
                            "42",
                            "--loss_type",
                            "dr_grpo",
                            "--max_grad_norm",
                            "0.5",
                            "--weight_decay",
                            "0.01",
                            "--warmup_steps",
                            "3",
                            "--lr_scheduler_type",
                            "cosine",
                            "--use_peft",
                            "true",
                            "--torch_dtype",
                            "bfloat16",
                            "--max_pixels",
                            "50176",
                            "--min_pixels",
                            "3136",
                            "--save_total_limit",
                            "2",
                            "--scale_rewards",
                            "false",
                            "--resume_from_checkpoint",
                            "True"});
  EXPECT_EQ(c.rollout.num_generations, 4);
  EXPECT_EQ(c.rollout.max_completion_length, 64);
  EXPECT_EQ(c.optimizer.learning_rate, 1e-5);
  EXPECT_EQ(c.objective.beta, 0.04);
  EXPECT_EQ(c.objective.epsilon, 0.1);
  EXPECT_EQ(c.objective.clip_high(), 0.3);
  EXPECT_EQ(c.rollout.temperature, 0.9);
  EXPECT_EQ(c.rollout.top_p, 0.95);
  EXPECT_EQ(c.rollout.top_k, 50);
  EXPECT_EQ(c.objective.num_iterations, 2);
  EXPECT_EQ(c.train.steps, 10);
  EXPECT_EQ(c.train.save_steps, 5);
  EXPECT_EQ(c.train.logging_steps, 2);
  EXPECT_EQ(c.seed, 42);
  EXPECT_EQ(c.objective.loss_type, "dr_grpo");
  EXPECT_EQ(c.optimizer.max_grad_norm, 0.5);
  EXPECT_EQ(c.optimizer.weight_decay, 0.01);
  EXPECT_EQ(c.optimizer.warmup_steps, 3);
  EXPECT_EQ(c.optimizer.schedule, "cosine");
  EXPECT_EQ(c.model.dtype, "bfloat16");
  EXPECT_EQ(c.model.max_pixels, 50176);
  EXPECT_EQ(c.model.min_pixels, 3136);
  EXPECT_EQ(c.train.max_saved, 2);
  EXPECT_EQ(c.objective.scale_rewards, "none");
  EXPECT_EQ(c.train.resume, "auto");
}

TEST(Flags, DataAndRewards) {
  const RunConfig c =
      load({"--data_file_paths", "a.jsonl:b.jsonl", "--image_folders", "i:j", "--reward_funcs", "iou",
            "format", "--reward_weights", "1", "0.5", "--freeze_vision_modules", "true"});
  EXPECT_EQ(c.data.train, (std::vector<std::string>{"a.jsonl", "b.jsonl"}));
  EXPECT_EQ(c.data.image_root, (std::vector<std::string>{"i", "j"}));
  ASSERT_EQ(c.rewards.size(), 2U);
  EXPECT_EQ(c.rewards[1].name, "format");
  EXPECT_EQ(c.rewards[1].weight, 0.5);
  EXPECT_EQ(c.peft.components, (std::vector<std::string>{"language"}));
  EXPECT_EQ(load({"--freeze_vision_modules", "false"}).peft.components,
            (std::vector<std::string>{"language", "vision", "projector"}));
  EXPECT_TRUE(contains(error_of({"--reward_weights", "1", "2"}), "gives 2 weights for 1 rewards"));
}

// Storage and arithmetic as --bf16 sets them.
std::string precision(const Args& args, Command command = kTrain) {
  const RunConfig c = command == kTrain ? load(args) : load_run_config(std::nullopt, args, command).config;
  return c.model.dtype + ", " + c.model.compute_dtype.value_or("null");
}

TEST(Flags, Bf16IsMixedPrecision) {
  EXPECT_EQ(precision({}), "float32, null");
  EXPECT_EQ(precision({"--bf16"}), "float32, bfloat16");  // full fine-tuning: float32 masters
  EXPECT_EQ(precision({"--bf16", "true", "--use_peft", "true"}), "bfloat16, bfloat16");
  EXPECT_EQ(precision({"--use_peft", "true", "--bf16", "true"}), "bfloat16, bfloat16");
  EXPECT_EQ(precision({"--use_peft", "--bf16", "--torch_dtype", "float32"}), "float32, bfloat16");
  EXPECT_EQ(precision({"--use_peft", "model.dtype=float32", "--bf16"}), "float32, bfloat16");
  EXPECT_EQ(precision({"--use_peft", "--torch_dtype", "bfloat16", "--bf16"}), "bfloat16, bfloat16");
  EXPECT_EQ(precision({"--use_peft", "--torch_dtype", "bfloat16"}), "bfloat16, null");
  EXPECT_EQ(precision({"--use_peft", "--bf16", "false"}), "float32, float32");
  EXPECT_EQ(precision({"peft.strategy=layers", "--bf16", "true"}), "float32, bfloat16");
  EXPECT_EQ(precision({"--use_peft", "--bf16", "true", "--bf16", "false"}), "float32, float32");
  EXPECT_EQ(precision({"--bf16", "model.path=m", "data.eval=d.jsonl"}, kEval), "bfloat16, bfloat16");
  EXPECT_EQ(precision({"--bf16", "model.path=m"}, kGenerate), "bfloat16, bfloat16");
}

TEST(Flags, PrecisionsThatMakeNoSenseAreRefused) {
  EXPECT_TRUE(contains(error_of({"--use_peft", "model.dtype=bfloat16", "model.compute_dtype=float32"}),
                       "model.compute_dtype is float32 over model.dtype=bfloat16"));
  EXPECT_TRUE(contains(error_of({"--torch_dtype", "bfloat16", "--bf16"}),
                       "use model.dtype=float32 with model.compute_dtype=bfloat16"));
  EXPECT_TRUE(contains(error_of({"--fp16"}), "use --bf16 true"));
}

TEST(Flags, AListEndsAtAnOverride) {
  const RunConfig c = load({"--use_peft", "true", "--lora_target_modules", "q_proj", "seed=5"});
  EXPECT_EQ(std::get<std::vector<std::string>>(c.peft.target_modules), (std::vector<std::string>{"q_proj"}));
  EXPECT_EQ(c.seed, 5);
  EXPECT_EQ(std::get<std::string>(
                load({"--use_peft", "true", "--lora_target_modules", "all-linear"}).peft.target_modules),
            "all-linear");
}

TEST(Flags, LoraFlagsNeedTheStrategy) {
  EXPECT_EQ(error_of({"--lora_r", "8"}),
            "--lora_r 8: has no effect, because peft.strategy is \"full\"; add --use_peft true "
            "(peft.strategy=lora) or leave "
            "the lora_* flags out");
  EXPECT_TRUE(contains(error_of({"--lora_dropout", "0.1", "--use_peft", "false"}), "has no effect"));
  EXPECT_TRUE(contains(error_of({"--use_peft", "true", "peft.strategy=full", "--lora_target_modules", "q"}),
                       "has no effect"));
  EXPECT_NO_THROW((void)load({"--lora_r", "8", "peft.strategy=lora"}));
}

TEST(Flags, BatchFlagsCountCompletions) {
  RunConfig c = load({"--per_device_train_batch_size", "16", "--gradient_accumulation_steps", "3",
                      "--num_generations", "8"});
  EXPECT_EQ(c.train.prompts_per_micro_batch(), 2);
  EXPECT_EQ(c.train.prompts_per_step, 6);
  c = load({"--per_device_train_batch_size", "8"});
  EXPECT_EQ(c.train.prompts_per_step, 1);
  c = load({"--gradient_accumulation_steps", "2", "train.micro_prompts=3"});
  EXPECT_EQ(c.train.prompts_per_step, 6);
  EXPECT_TRUE(
      contains(error_of({"--per_device_train_batch_size", "12"}),
               "must be a multiple of rollout.num_generations (8), because a group is never split; use 16"));
  c = load({"--per_device_train_batch_size", "4", "--gradient_accumulation_steps", "2"}, kSft);
  EXPECT_EQ(c.train.samples_per_micro_batch(), 4);
  EXPECT_EQ(c.train.batch_size, 8);
}

TEST(Flags, AGenerationBatchServesWholeOptimizerSteps) {
  const Args batch = {
      "--num_generations", "4", "--per_device_train_batch_size", "8", "--gradient_accumulation_steps", "2"};
  const auto with = [&](const Args& more) {
    Args args = batch;
    args.insert(args.end(), more.begin(), more.end());
    return args;
  };
  EXPECT_EQ(load(with({"--steps_per_generation", "6"})).train.num_mini_batches, 3);
  EXPECT_EQ(load(with({"--generation_batch_size", "32"})).train.num_mini_batches, 2);
  EXPECT_EQ(load(with({"--generation_batch_size", "32"})).train.prompts_per_rollout(), 8);
  EXPECT_TRUE(contains(error_of(with({"--steps_per_generation", "3"})), "a multiple of 2"));
  EXPECT_TRUE(contains(error_of(with({"--generation_batch_size", "24"})), "a multiple of 16"));
  EXPECT_TRUE(
      contains(error_of(with({"--generation_batch_size", "32", "--steps_per_generation", "4"})), "twice"));
}

TEST(Flags, PluginsAccumulate) {
  EXPECT_EQ(load({"--plugin", "a.so", "--plugin", "b.so"}).plugins,
            (std::vector<std::string>{"a.so", "b.so"}));
}

TEST(Flags, NamesAreUniqueAndSorted) {
  std::vector<std::string> names;
  for (const SpecialFlag& flag : special_flags()) names.emplace_back(flag.name);
  EXPECT_TRUE(std::is_sorted(names.begin(), names.end()));
  for (const KeyInfo& key : run_schema().keys) {
    if (!key.flag.empty()) names.push_back(key.flag);
  }
  std::sort(names.begin(), names.end());
  EXPECT_EQ(std::adjacent_find(names.begin(), names.end()), names.end());
}

TEST(Reference, NamesEveryKeyAndFlag) {
  const std::string text = reference_markdown();
  for (const KeyInfo& key : run_schema().keys) {
    EXPECT_TRUE(contains(text, "| `" + key.path + "` |"));
    EXPECT_TRUE(key.flag.empty() || contains(text, "`--" + key.flag + "`")) << key.flag;
  }
  for (const SpecialFlag& flag : special_flags())
    EXPECT_TRUE(contains(text, std::string("| `--") + flag.name + "` |"));
  EXPECT_TRUE(contains(text, "## `optimizer`: AdamW and its learning rate"));
  EXPECT_TRUE(contains(text, "| `rewards[].weight` | a number | `1.0` |"));
}

TEST(Reference, TheCommittedOneIsUpToDate) {
  const std::string committed =
      support::read_file(std::filesystem::path(GRAFT_SOURCE_DIR) / "configs/README.md");
  EXPECT_TRUE(committed == reference_markdown()) << "run: graft config reference > configs/README.md";
}

TEST(Reference, HelpShowsTheKeysOfItsCommandOnly) {
  const std::string eval = help_text(kEval);
  EXPECT_TRUE(contains(eval, "eval.batch_size  (--per_device_eval_batch_size)"));
  EXPECT_FALSE(contains(eval, "objective.epsilon"));
  EXPECT_TRUE(contains(help_text(kTrain), "objective.epsilon"));
  EXPECT_TRUE(contains(help_text(kTrain), "--use_peft"));
}

}  // namespace
}  // namespace graft::config
