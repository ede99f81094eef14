// SPDX-License-Identifier: Apache-2.0
#include "config/flags.h"

#include "config/run_schema.h"
#include "support/error.h"
#include "support/strings.h"

namespace graft::config {

namespace {

using nlohmann::json;
using support::cat;
using support::UserError;

// Flags of TRL and VLM-R1 that have no counterpart, with what to do instead.
constexpr std::pair<const char*, const char*> kForeignFlags[] = {
    {"attn_implementation", "attention is built in"},
    {"dataset_name", "give JSONL files with data.train=FILE (--data_file_paths)"},
    {"deepspeed", "leave it out"},
    {"eval_strategy", "set train.eval_steps (--eval_steps)"},
    {"fp16", "use --bf16 true or model.dtype=float32"},
    {"gradient_checkpointing_kwargs", "checkpointing is always equal to the non-reentrant kind"},
    {"is_reward_customized_from_vlm_module", "name rewards with --reward_funcs"},
    {"log_completions", "leave it out"},
    {"lora_target_parameters", "linear layers are adapted, by --lora_target_modules"},
    {"lora_task_type", "models are causal language models"},
    {"optim", "the optimizer is AdamW"},
    {"packing",
     "samples are always packed, without padding; train.micro_batch_tokens sets how many tokens a pass has"},
    {"report_to", "metrics are written to metrics.jsonl in output_dir"},
    {"reward_method", "name rewards with --reward_funcs"},
    {"run_name", "choose output_dir"},
    {"save_strategy",
     "set train.save_steps (--save_steps); the best checkpoint is kept with --metric_for_best_model"},
    {"task_type", "set data.question_template"},
    {"trust_remote_code", "models come from model family plugins"},
    {"use_vllm", "rollouts are built in"},
    {"val_split_ratio", "give evaluation data with data.eval=FILE"},
};

}  // namespace

const std::vector<SpecialFlag>& special_flags() {
  static const std::vector<SpecialFlag> flags = {
      {"bf16",
       "true: model.compute_dtype=bfloat16 (mixed precision), and model.dtype=bfloat16 unless that key is "
       "set or "
       "peft.strategy=full or layers trains the weights, which stay float32; false: float32 for both"},
      {"data_file_paths", "data.train (data.eval for graft eval): files joined by ':'"},
      {"freeze_vision_modules", "peft.components: language, or language, vision and projector"},
      {"generation_batch_size", "train.num_mini_batches: this many completions a rollout"},
      {"gradient_accumulation_steps",
       "train.prompts_per_step: this many micro-batches (train.batch_size for graft sft)"},
      {"gradient_checkpointing", "checkpoint_policy.name: full or none"},
      {"image_folders", "data.image_root: directories joined by ':'"},
      {"lora_alpha", "peft.params.alpha"},
      {"lora_dropout", "peft.params.dropout"},
      {"lora_modules_to_save", "peft.modules_to_save"},
      {"lora_r", "peft.params.r"},
      {"lora_target_modules", "peft.target_modules: names, or all-linear"},
      {"lr_scheduler_type", "optimizer.schedule"},
      {"per_device_train_batch_size",
       "train.micro_prompts: this many completions, a multiple of num_generations (train.micro_batch_size "
       "for graft sft)"},
      {"resume_from_checkpoint", "train.resume: true (auto), false (never) or a directory"},
      {"reward_funcs", "rewards, by name"},
      {"reward_weights", "the weight of each reward"},
      {"scale_rewards", "objective.scale_rewards"},
      {"steps_per_generation", "train.num_mini_batches: this many micro-batches a rollout"},
      {"use_dora", "peft.params.use_dora"},
      {"use_peft", "peft.strategy: lora or full"},
      {"use_rslora", "peft.params.use_rslora"},
  };
  return flags;
}

std::optional<bool> parse_bool(std::string_view text) {
  const std::string word = support::to_lower(text);
  if (word == "true") return true;
  if (word == "false") return false;
  return std::nullopt;
}

json json_or_text(const std::string& text) {
  json value = json::parse(text, nullptr, /*allow_exceptions=*/false);
  return value.is_discarded() ? json(text) : value;
}

json parse_value(const Schema* schema, const std::string& text) {
  if (schema == nullptr || schema->types == 0) return json_or_text(text);
  const unsigned types = schema->types;
  if ((types & kNull) != 0 && text == "null") return nullptr;
  if ((types & kBoolean) != 0) {
    if (const auto value = parse_bool(text)) return *value;
  }
  if ((types & kArray) != 0) {
    json value = json_or_text(text);
    const bool takes_object = schema->wraps_single || (types & kObject) != 0;
    if (value.is_array() || (value.is_object() && takes_object)) return value;
    return schema->wraps_single ? parse_list(schema, support::split(text, ',')) : json(text);
  }
  if ((types & kString) != 0) {
    if (!text.starts_with('"')) return text;  // 007 or true may be meant as a name
    json value = json_or_text(text);
    return value.is_string() ? value : json(text);
  }
  double number = 0;
  if ((types & kNumber) != 0 && !json::accept(text) && support::parse_number(text, number))
    return number;  // ".5"
  return json_or_text(text);
}

json parse_list(const Schema* schema, const std::vector<std::string>& words) {
  if (schema == nullptr || schema->items == nullptr || schema->items->types != kInteger) return words;
  json list = json::array();
  for (const std::string& word : words) list.push_back(json_or_text(word));
  return list;
}

void unknown_key(const std::string& path, const std::string& origin) {
  const std::vector<std::string> names = key_names(run_schema().root);
  std::string advice = support::did_you_mean(path, names);
  if (advice.empty() && path.find('.') != std::string::npos) {
    advice = support::did_you_mean(path.substr(path.rfind('.') + 1), names);
  }
  throw UserError(cat(origin, ": unknown key \"", path, "\"",
                      advice.empty() ? "; `graft config reference` lists all keys" : advice));
}

void unknown_flag(const std::string& name) {
  for (const auto& [foreign, advice] : kForeignFlags) {
    if (name == foreign) throw UserError(cat("--", name, ": has no counterpart in graft; ", advice));
  }
  std::vector<std::string> names;
  for (const SpecialFlag& flag : special_flags()) names.emplace_back(flag.name);
  for (const KeyInfo& key : run_schema().keys) {
    if (!key.flag.empty()) names.push_back(key.flag);
    names.push_back(key.path);
  }
  std::string near = support::nearest_name(name, names);
  throw UserError(cat(
      "--", name, ": unknown flag",
      near.empty() ? "; `graft config reference` lists all flags" : cat("; did you mean \"--", near, "\"?")));
}

}  // namespace graft::config
