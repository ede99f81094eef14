// SPDX-License-Identifier: Apache-2.0
// Every key of a run's configuration: the one table behind validation, help, configs/README.md and the
// structs.
//
// describe_keys() shows each key to a visitor together with the struct member that holds it. The schema
// visitor (run_schema.cpp) takes type and default from the member of a default RunConfig; the reading visitor
// (run_config.cpp) assigns it. So a key cannot be documented but not read, or the other way round.
#pragma once

#include "config/monitor_keys.h"
#include "config/peft_keys.h"
#include "config/run_config.h"

namespace graft::config {

template <typename Visitor>
void describe_keys(RunConfig& c, Visitor& v) {
  v.section("", "The run", kAllCommands);
  v.key("seed", c.seed,
        {.description = "Seed of everything random: initialisation, data order, dropout, sampling.",
         .flag = "seed",
         .minimum = 0});
  v.key("output_dir", c.output_dir,
        {.description = "Directory of metrics, checkpoints, adapter and resolved configuration.",
         .flag = "output_dir",
         .commands = kTrain | kSft | kEval});
  v.key("plugins", c.plugins,
        {.description = "Plugin files to load besides those on the search path.", .flag = "plugin"});

  v.section("model", "The model that is trained or run", kAllCommands);
  v.key("path", c.model.path,
        {.description = "Directory in Hugging Face layout: config.json, safetensors, tokenizer.",
         .flag = "model_name_or_path"});
  v.key("family", c.model.family,
        {.description = "Model family plugin, or \"auto\": the one that recognises config.json."});
  v.key("family_params", c.model.family_params, {.description = "Parameters of the model family."});
  v.key("dtype", c.model.dtype,
        {.description = "Type of the base weights in memory. Trained tensors are float32 always.",
         .flag = "torch_dtype",
         .words = {"float32", "bfloat16"}});
  v.key("compute_dtype", c.model.compute_dtype,
        {.description =
             "Type of matrix products and attention; null: dtype, beside which adapters compute in float32. "
             "\"bfloat16\" is mixed precision as torch.autocast does it: bfloat16 products of float32 "
             "weights or "
             "adapters, float32 gradients and updates.",
         .words = {"float32", "bfloat16"}});
  v.key(
      "quantize", c.model.quantize,
      {.description =
           "\"int8\" holds the frozen weights of linear layers, the head aside, in eight bits with one scale "
           "for each output row, and computes with them in dtype; null: in dtype.",
       .words = {"int8"}});
  v.key("init", c.model.init,
        {.description =
             "\"random\" ignores stored weights and draws them from the seed: training from scratch.",
         .words = {"pretrained", "random"}});
  v.key("min_pixels", c.model.min_pixels,
        {.description = "Smaller images are enlarged to this area; null: the model's own setting.",
         .flag = "min_pixels",
         .unit = "pixels",
         .minimum = 1});
  v.key("max_pixels", c.model.max_pixels,
        {.description = "Larger images are reduced to this area; null: the model's own setting.",
         .flag = "max_pixels",
         .unit = "pixels",
         .minimum = 1});

  v.section("data", "Samples with images", kTrain | kSft | kEval);
  v.key("train", c.data.train, {.description = "JSONL files to train on.", .commands = kTrain | kSft});
  v.key("eval", c.data.eval, {.description = "JSONL files to evaluate on."});
  v.key("image_root", c.data.image_root,
        {.description =
             "Directory that image paths are relative to: one for all files, or one each. Default: the "
             "directory of the JSONL file."});
  v.key("eval_image_root", c.data.eval_image_root,
        {.description = "The same for data.eval, where it differs from data.image_root."});
  v.key("question_template", c.data.question_template,
        {.description = "Text of the user's turn; {question} and other columns of the sample, as {column}, "
                        "are replaced."});
  v.key("answer_template", c.data.answer_template,
        {.description =
             "Completion that SFT teaches; {answer} (as in the data), {solution} (without <answer> tags) and "
             "{column} are replaced.",
         .commands = kSft});
  v.key("system_prompt", c.data.system_prompt,
        {.description = "System turn before each question; null: the chat template's own.",
         .flag = "system_prompt"});
  v.key("image_position", c.data.image_position,
        {.description =
             "\"interleaved\": images stand where <image> does in the text; without it, before the text. "
             "\"first\": always before the text of their turn, and <image> is deleted, as VLM-R1 does. "
             "Null: interleaved; first with objective.parity=vlm_r1.",
         .flag = "image_position",
         .words = {"interleaved", "first"}});
  v.key("max_prompt_length", c.data.max_prompt_length,
        {.description = "A sample with a longer prompt is a bad sample; null: no limit.",
         .flag = "max_prompt_length",
         .unit = "tokens",
         .minimum = 1});
  v.key("limit", c.data.limit,
        {.description = "Use only the first samples of the training data; null: all.",
         .unit = "samples",
         .minimum = 1,
         .commands = kTrain | kSft});
  v.key("shuffle", c.data.shuffle,
        {.description = "A new order each epoch, drawn from the seed.",
         .flag = "shuffle_dataset",
         .commands = kTrain | kSft});
  v.key("strict", c.data.strict,
        {.description = "A bad sample ends the run; otherwise it is skipped, with a warning.",
         .flag = "strict"});

  describe_peft_keys(c.peft, v);

  v.section("checkpoint_policy", "Gradient checkpointing: memory for time", kTrain | kSft);
  v.key("name", c.checkpoint_policy.name,
        {.description =
             "Checkpoint policy plugin: \"none\", \"full\", \"every_nth\", \"selective\", \"offload\", "
             "\"budget\", …"});
  v.key("params", c.checkpoint_policy.params, {.description = "Parameters of the policy."});
  v.key("vision", c.checkpoint_policy.vision,
        {.description = "Policy of the vision tower's blocks, if they are to have one of their own and are "
                        "trained; null: the policy above decides for them as well."});
  v.key("vision_params", c.checkpoint_policy.vision_params, {.description = "Parameters of that policy."});

  v.section("", "Rewards", kTrain | kSft | kEval);
  v.rewards("rewards", c.rewards,
            "Rewards, summed with their weights. A name alone stands for {\"name\": …}. One may stand twice "
            "with different params. graft eval without any uses iou and format.");

  v.section("rollout", "Sampling of completions", kTrain | kEval | kGenerate);
  v.key("num_generations", c.rollout.num_generations,
        {.description = "Completions per prompt: the group that a completion's reward is compared with.",
         .flag = "num_generations",
         .minimum = 1,
         .commands = kTrain | kGenerate});
  v.key("max_completion_length", c.rollout.max_completion_length,
        {.description = "A completion without a stop token ends here.",
         .flag = "max_completion_length",
         .unit = "tokens",
         .minimum = 1});
  v.key("temperature", c.rollout.temperature,
        {.description = "Divides the logits before sampling; 0: greedy (generate).",
         .flag = "temperature",
         .minimum = 0,
         .commands = kTrain | kGenerate});
  v.key("top_k", c.rollout.top_k,
        {.description = "Sample among the k most likely tokens; 0: all.", .flag = "top_k", .minimum = 0});
  v.key("top_p", c.rollout.top_p,
        {.description = "Sample among the most likely tokens with this probability together; 1: all.",
         .flag = "top_p",
         .maximum = 1,
         .above = 0});
  v.key("ban_image_tokens", c.rollout.ban_image_tokens,
        {.description = "Never sample image placeholders, which would promise images that are not there."});

  v.section("objective", "The loss", kTrain);
  v.key("loss_type", c.objective.loss_type,
        {.description = "grpo: mean over completions of their token means; bnpo: mean over the tokens of the "
                        "step; dapo: the same over "
                        "the mean tokens of the rollout's steps; dr_grpo: sum by completions times "
                        "max_completion_length; cispo: "
                        "capped weights on the log-probabilities, averaged as dapo; gspo: grpo with one "
                        "ratio a completion.",
         .flag = "loss_type",
         .words = {"grpo", "bnpo", "dr_grpo", "dapo", "cispo", "gspo"}});
  v.key(
      "importance_sampling_level", c.objective.importance_sampling_level,
      {.description =
           "Probability ratio by token, or one for the sequence (gspo). Null: sequence for gspo, else token.",
       .flag = "importance_sampling_level",
       .words = {"token", "sequence"}});
  v.key("beta", c.objective.beta,
        {.description = "Weight of the KL penalty against the reference policy; 0: no reference pass.",
         .flag = "beta",
         .minimum = 0});
  v.key("use_bias_correction_kl", c.objective.use_bias_correction_kl,
        {.description = "Multiply the KL term by the probability ratio, which makes its gradient that of the "
                        "reverse KL. Null: true, as "
                        "in TRL; false with parity=vlm_r1.",
         .flag = "use_bias_correction_kl"});
  v.key("reference", c.objective.reference,
        {.description = "Reference policy of the KL penalty: initial (as training starts, with a loaded "
                        "adapter) or base (without any "
                        "adapter). Null: initial.",
         .words = {"initial", "base"}});
  v.key("epsilon", c.objective.epsilon,
        {.description =
             "The probability ratio is clipped below 1 - epsilon. Null: 0.2; gspo 3e-4. Not used by cispo.",
         .flag = "epsilon",
         .minimum = 0,
         .below = 1});
  v.key("epsilon_high", c.objective.epsilon_high,
        {.description = "The ratio is clipped above 1 + epsilon_high; cispo caps the ratio itself at "
                        "epsilon_high. Null: epsilon; gspo "
                        "4e-4; cispo 5.",
         .flag = "epsilon_high",
         .minimum = 0});
  v.key("delta", c.objective.delta,
        {.description = "Two-sided clipping: bounds the ratio also where a negative advantage leaves it "
                        "unclipped. Null: off.",
         .flag = "delta",
         .above = 0});
  v.key("num_iterations", c.objective.num_iterations,
        {.description = "Passes over each rollout, every one with its own optimizer steps.",
         .flag = "num_iterations",
         .minimum = 1});
  v.key("old_logprobs", c.objective.old_logprobs,
        {.description = "Log-probabilities of the policy that sampled: auto (from the first pass where that "
                        "is on-policy, else "
                        "recompute), recompute (a pass of its own before the update), rollout (as sampled), "
                        "none (the ratio is 1).",
         .words = {"auto", "recompute", "rollout", "none"}});
  v.key("scale_rewards", c.objective.scale_rewards,
        {.description = "Divide advantages by the standard deviation of the group, of the batch, or not.",
         .words = {"group", "batch", "none"}});
  v.key("multi_objective_aggregation", c.objective.multi_objective_aggregation,
        {.description = "Several rewards: normalise their weighted sum, or normalise each within its group "
                        "and then their sum within "
                        "the batch.",
         .flag = "multi_objective_aggregation",
         .words = {"sum_then_normalize", "normalize_then_sum"}});
  v.key("top_entropy_quantile", c.objective.top_entropy_quantile,
        {.description = "Share of the step's tokens, those of highest entropy, whose policy loss counts; the "
                        "KL penalty counts for all.",
         .flag = "top_entropy_quantile",
         .maximum = 1,
         .above = 0});
  v.key("mask_truncated_completions", c.objective.mask_truncated_completions,
        {.description = "Completions cut off at the length limit do not enter the loss.",
         .flag = "mask_truncated_completions"});
  v.key(
      "parity", c.objective.parity,
      {.description = "Whose loss to equal: trl, or vlm_r1 (full-vocabulary softmax; a completion that "
                      "ended with a stop token other "
                      "than the tokenizer's eos is scored with its padding). vlm_r1 also puts images first, "
                      "unless data.image_position says otherwise.",
       .words = {"trl", "vlm_r1"}});

  v.section("optimizer", "AdamW and its learning rate", kTrain | kSft);
  v.key("learning_rate", c.optimizer.learning_rate,
        {.description = "Peak learning rate. LoRA wants about ten times that of full fine-tuning.",
         .flag = "learning_rate",
         .above = 0});
  v.key("weight_decay", c.optimizer.weight_decay,
        {.description = "Decoupled weight decay.", .flag = "weight_decay", .minimum = 0});
  v.key("beta1", c.optimizer.beta1,
        {.description = "Decay of the gradient's moving average.",
         .flag = "adam_beta1",
         .minimum = 0,
         .below = 1});
  v.key("beta2", c.optimizer.beta2,
        {.description = "Decay of the squared gradient's moving average.",
         .flag = "adam_beta2",
         .minimum = 0,
         .below = 1});
  v.key("eps", c.optimizer.eps,
        {.description = "Added to the denominator.", .flag = "adam_epsilon", .above = 0});
  v.key("max_grad_norm", c.optimizer.max_grad_norm,
        {.description = "Gradients are scaled down to this norm; 0: no clipping.",
         .flag = "max_grad_norm",
         .minimum = 0});
  v.key("schedule", c.optimizer.schedule,
        {.description =
             "Learning rate after the warm-up: constant, linear or cosine decay to 0 at the last step.",
         .words = {"constant", "linear", "cosine"}});
  v.key("warmup_steps", c.optimizer.warmup_steps,
        {.description = "Steps of linear rise from 0 at the beginning.",
         .flag = "warmup_steps",
         .unit = "steps",
         .minimum = 0});

  v.key("warmup_ratio", c.optimizer.warmup_ratio,
        {.description = "The same as a share of the run's steps, rounded up; null: warmup_steps.",
         .flag = "warmup_ratio",
         .minimum = 0,
         .maximum = 1});

  v.section("train", "Steps, batches and checkpoints", kTrain | kSft);
  v.key("steps", c.train.steps,
        {.description = "Optimizer steps of the run. This or train.epochs is required.",
         .flag = "max_steps",
         .unit = "steps",
         .minimum = 0});
  v.key("epochs", c.train.epochs,
        {.description = "Length of the run in passes over the training data, instead of train.steps, rounded "
                        "up to whole batches (graft train: rollouts), so that every sample of the last epoch "
                        "is seen. The run's config.json holds the steps that this gives.",
         .flag = "num_train_epochs",
         .above = 0});
  v.key("prompts_per_step", c.train.prompts_per_step,
        {.description = "Prompts per optimizer step, each with rollout.num_generations completions.",
         .minimum = 1,
         .commands = kTrain});
  v.key("num_mini_batches", c.train.num_mini_batches,
        {.description = "Optimizer steps that share one rollout, each with its own prompts_per_step prompts: "
                        "the later ones are "
                        "off-policy.",
         .minimum = 1,
         .commands = kTrain});
  v.key(
      "micro_prompts", c.train.micro_prompts,
      {.description =
           "Prompts (with all their completions) in one forward and backward pass; divides prompts_per_step; "
           "null: all. Less memory, same result.",
       .minimum = 1,
       .commands = kTrain});
  v.key("batch_size", c.train.batch_size,
        {.description = "Samples per optimizer step.", .minimum = 1, .commands = kSft});
  v.key("micro_batch_size", c.train.micro_batch_size,
        {.description = "Samples in one forward and backward pass; divides batch_size; null: all.",
         .minimum = 1,
         .commands = kSft});
  v.key("micro_batch_tokens", c.train.micro_batch_tokens,
        {.description = "Prompt and completion tokens in one forward and backward pass, instead of a number "
                        "of prompts or samples: as many as fit, in order, one at least. Same result. Samples "
                        "are packed without padding.",
         .unit = "tokens",
         .minimum = 1});
  v.key("save_steps", c.train.save_steps,
        {.description = "A checkpoint every so many steps; 0: only at the end and when interrupted.",
         .flag = "save_steps",
         .unit = "steps",
         .minimum = 0});
  v.key("logging_steps", c.train.logging_steps,
        {.description = "A line in metrics.jsonl every so many steps: the means since the last line.",
         .flag = "logging_steps",
         .unit = "steps",
         .minimum = 1});
  v.key("eval_steps", c.train.eval_steps,
        {.description = "Evaluate on data.eval every so many steps and at the end; 0: never. graft train "
                        "generates and scores, graft sft computes the loss, and generates only for rewards.",
         .flag = "eval_steps",
         .unit = "steps",
         .minimum = 0});
  v.key("metric_for_best_model", c.train.metric_for_best_model,
        {.description = "Metric of the evaluation (eval_reward, eval_iou, eval_loss, …) that tells the best "
                        "model. Its checkpoint is saved at once, named in best.json and never removed. "
                        "Null: none is kept.",
         .flag = "metric_for_best_model"});
  v.key("greater_is_better", c.train.greater_is_better,
        {.description = "Whether a larger value of that metric is better. Null: unless its name ends with "
                        "\"loss\".",
         .flag = "greater_is_better"});
  v.key("load_best_model_at_end", c.train.load_best_model_at_end,
        {.description = "The adapter or model that the run leaves is the best one instead of the last.",
         .flag = "load_best_model_at_end"});
  v.key("early_stopping_patience", c.train.early_stopping_patience,
        {.description = "The run ends after so many evaluations in a row that did not improve the metric; "
                        "null: never.",
         .flag = "early_stopping_patience",
         .unit = "evaluations",
         .minimum = 1});
  v.key("early_stopping_threshold", c.train.early_stopping_threshold,
        {.description = "What counts as an improvement there: more than this.",
         .flag = "early_stopping_threshold",
         .minimum = 0});
  v.key("max_saved", c.train.max_saved,
        {.description = "Older checkpoints beyond this number are removed, the best one excepted; null: keep "
                        "all.",
         .flag = "save_total_limit",
         .minimum = 1});
  v.key(
      "resume", c.train.resume,
      {.description =
           "\"auto\": continue from the newest checkpoint in output_dir, if any; \"never\"; or a checkpoint "
           "directory.",
       .flag = "resume"});
  v.key("threads", c.train.threads, {.description = "CPU threads; 0: all cores.", .minimum = 0});

  v.section("eval", "Evaluation", kTrain | kSft | kEval);
  v.key("samples", c.eval.samples,
        {.description = "Evaluate only the first samples; null: all.", .unit = "samples", .minimum = 1});
  v.key("batch_size", c.eval.batch_size,
        {.description = "Samples in one pass.", .flag = "per_device_eval_batch_size", .minimum = 1});
  v.key("temperature", c.eval.temperature, {.description = "0: greedy.", .minimum = 0});
  v.key("iou_threshold", c.eval.iou_threshold,
        {.description = "A box counts as correct from this IoU on.", .maximum = 1, .above = 0});

  describe_preflight_keys(c.preflight, v);
  describe_monitor_keys(c.monitor, v);
}

}  // namespace graft::config
