// SPDX-License-Identifier: Apache-2.0
#include "config/command_line.h"

#include <algorithm>
#include <cctype>

#include "config/assignments.h"
#include "config/flags.h"
#include "config/json.h"
#include "config/run_schema.h"
#include "support/error.h"
#include "support/strings.h"

namespace graft::config {

namespace {

using nlohmann::json;
using support::cat;
using support::UserError;

struct Flag {
  std::string name;  // '-' written as '_'
  std::vector<std::string> values;
  std::string origin;  // as the user wrote it, shortened
};

bool is_flag(const std::string& arg) {
  return arg.size() > 2 && arg.starts_with("--") && std::isalpha(static_cast<unsigned char>(arg[2])) != 0;
}

// "section.key" of `section.key=value`, empty for anything else.
std::string override_path(const std::string& arg) {
  const std::size_t equals = arg.find('=');
  if (equals == std::string::npos || equals == 0) return {};
  const auto is_name = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '.';
  };
  if (std::isalpha(static_cast<unsigned char>(arg[0])) == 0) return {};
  if (!std::all_of(arg.begin(), arg.begin() + static_cast<std::ptrdiff_t>(equals), is_name)) return {};
  return arg.substr(0, equals);
}

class Applier {
 public:
  Applier(Command command, json& target, std::map<std::string, std::string>& origins)
      : command_(command), target_(target), document_(command, target, origins) {}

  void run(const std::vector<std::string>& args) {
    for (std::size_t i = 0; i < args.size();) {
      if (is_flag(args[i])) {
        apply(read_flag(args, i));
        continue;
      }
      const std::string path = override_path(args[i]);
      if (path.empty()) {
        throw UserError(cat("unexpected argument \"", args[i],
                            "\"; expected section.key=value or --flag value (see graft ",
                            command_name(command_), " --help)"));
      }
      assign_text(path, args[i].substr(path.size() + 1), args[i]);
      ++i;
    }
    finish_precision();
    finish_lora();
    finish_batch();
    finish_generation();
    finish_reward_weights();
  }

 private:
  // Takes one flag with its values from args[i...] and moves i behind it.
  Flag read_flag(const std::vector<std::string>& args, std::size_t& i) const {
    Flag flag;
    const std::string& arg = args[i++];
    const std::size_t equals = arg.find('=');
    flag.name = arg.substr(2, equals == std::string::npos ? equals : equals - 2);
    std::replace(flag.name.begin(), flag.name.end(), '-', '_');
    flag.origin = arg;
    if (equals != std::string::npos) {
      flag.values = {arg.substr(equals + 1)};
      return flag;
    }
    const bool is_bool = takes_bool(flag.name), is_list = takes_list(flag.name);
    while (i < args.size() && !is_flag(args[i])) {
      if (is_bool && !parse_bool(args[i])) break;
      if (!flag.values.empty() && !override_path(args[i]).empty()) break;
      flag.values.push_back(args[i]);
      flag.origin += cat(' ', args[i++]);
      if (!is_list) break;
    }
    if (is_bool && flag.values.empty()) flag.values = {"true"};
    return flag;
  }

  static bool takes_bool(const std::string& name) {
    for (const char* word :
         {"use_peft", "use_rslora", "use_dora", "gradient_checkpointing", "freeze_vision_modules", "bf16"}) {
      if (name == word) return true;
    }
    const Schema* schema = schema_of_flag(name);
    return schema != nullptr && (schema->types & ~unsigned{kNull}) == kBoolean;
  }

  static bool takes_list(const std::string& name) {
    for (const char* word :
         {"lora_modules_to_save", "lora_target_modules", "reward_funcs", "reward_weights"}) {
      if (name == word) return true;
    }
    const Schema* schema = schema_of_flag(name);
    return schema != nullptr && (schema->types & kArray) != 0;
  }

  static const Schema* schema_of_flag(const std::string& name) {
    const KeyInfo* key = run_schema().find_flag(name);
    return run_schema().schema_at(key == nullptr ? name : key->path);
  }

  void apply(const Flag& flag) {
    if (apply_special(flag)) return;
    const KeyInfo* key = run_schema().find_flag(flag.name);
    if (key == nullptr && flag.name.find('.') == std::string::npos &&
        run_schema().find(flag.name) == nullptr) {
      unknown_flag(flag.name);
    }
    const std::string path = key == nullptr ? flag.name : key->path;
    const Schema* schema = run_schema().schema_at(path);
    if (flag.values.size() > 1) {
      assign(path, parse_list(schema, flag.values), flag.origin);
    } else if (flag.name == "plugin") {
      append(path, one(flag), flag.origin);
    } else {
      assign(path, parse_value(schema, one(flag)), flag.origin);
    }
  }

  // Flags that mean more than one renamed key. False for any other.
  bool apply_special(const Flag& flag) {
    const std::string& name = flag.name;
    if (name == "use_peft") {
      assign("peft.strategy", boolean(flag) ? "lora" : "full", flag.origin);
    } else if (name == "lora_r" || name == "lora_alpha" || name == "lora_dropout") {
      assign(cat("peft.params.", name.substr(5)), json_or_text(one(flag)), flag.origin);
      lora_flags_.push_back(flag.origin);
    } else if (name == "use_rslora" || name == "use_dora") {
      apply_lora_switch(flag);
    } else if (name == "lora_modules_to_save") {
      assign("peft.modules_to_save", non_empty(flag), flag.origin);
      lora_flags_.push_back(flag.origin);
    } else if (name == "lora_target_modules") {
      const std::vector<std::string>& values = flag.values;
      const bool is_word = values.size() == 1 && one(flag) == "all-linear";
      assign("peft.target_modules", is_word ? json(values[0]) : json(non_empty(flag)), flag.origin);
      lora_flags_.push_back(flag.origin);
    } else if (name == "gradient_checkpointing") {
      assign("checkpoint_policy.name", boolean(flag) ? "full" : "none", flag.origin);
    } else if (name == "freeze_vision_modules") {
      json components = json::array({"language"});
      if (!boolean(flag)) components.insert(components.end(), {"vision", "projector"});
      assign("peft.components", components, flag.origin);
    } else if (name == "data_file_paths") {
      assign((command_ & kEval) != 0 ? "data.eval" : "data.train", support::split(one(flag), ':'),
             flag.origin);
    } else if (name == "image_folders") {
      assign("data.image_root", support::split(one(flag), ':'), flag.origin);
    } else if (name == "reward_funcs") {
      assign("rewards", non_empty(flag), flag.origin);
    } else if (name == "bf16") {
      assign("model.compute_dtype", boolean(flag) ? "bfloat16" : "float32", flag.origin);
      if (boolean(flag)) {
        bf16_origin_ = flag.origin;
      } else {
        assign("model.dtype", "float32", flag.origin);
      }
    } else if (name == "lr_scheduler_type") {
      const std::string value = one(flag);
      assign("optimizer.schedule", value == "constant_with_warmup" ? "constant" : value, flag.origin);
    } else if (name == "scale_rewards") {
      const auto word = parse_bool(one(flag));  // older versions of TRL: a boolean
      assign("objective.scale_rewards", word ? (*word ? "group" : "none") : one(flag), flag.origin);
    } else if (name == "resume_from_checkpoint") {
      const auto word = parse_bool(one(flag));
      assign("train.resume", word ? (*word ? "auto" : "never") : one(flag), flag.origin);
    } else if (name == "per_device_train_batch_size") {
      completions_ = count(flag);
      completions_origin_ = flag.origin;
    } else if (name == "gradient_accumulation_steps") {
      accumulation_ = count(flag);
      accumulation_origin_ = flag.origin;
    } else if (name == "steps_per_generation") {
      steps_per_generation_ = count(flag);
      generation_origin_ = flag.origin;
    } else if (name == "generation_batch_size") {
      generation_batch_ = count(flag);
      generation_origin_ = flag.origin;
    } else if (name == "reward_weights") {
      reward_weights_ = flag;
    } else {
      return false;
    }
    return true;
  }

  // False says nothing, unless the file says true.
  void apply_lora_switch(const Flag& flag) {
    const std::string path = cat("peft.params.", flag.name);
    if (!boolean(flag) && !document_.is_given(path)) return;
    assign(path, boolean(flag), flag.origin);
    lora_flags_.push_back(flag.origin);
  }

  // Frozen weights need no more precision than products take of them; those that are trained are float32 masters.
  void finish_precision() {
    if (bf16_origin_.empty() || effective("model.compute_dtype") != "bfloat16") return;
    const bool is_chosen = document_.is_given("model.dtype");
    const bool trains_base = (command_ & (kTrain | kSft)) != 0 && is_known_to_train_base();
    if (!is_chosen && !trains_base) assign("model.dtype", "bfloat16", bf16_origin_);
  }

  bool is_known_to_train_base() const {
    const json strategy = effective("peft.strategy");
    PeftConfig peft;
    peft.strategy = strategy.is_string() ? strategy.get<std::string>() : "";  // reported by the validation
    return peft.is_known_to_train_base();
  }

  // A lora_* flag must reach a strategy with an adapter; that it knows the parameter is the plugin's to check.
  void finish_lora() const {
    if (lora_flags_.empty() || !is_known_to_train_base()) return;
    throw UserError(cat(lora_flags_.front(), ": has no effect, because peft.strategy is ",
                        shown(effective("peft.strategy")),
                        "; add --use_peft true (peft.strategy=lora) or leave the lora_* flags out"));
  }

  // TRL counts completions on a device; a micro-batch here is whole groups of completions.
  void finish_batch() {
    if (completions_ == 0 && accumulation_ == 0) return;
    if (command_ == kSft) {
      const std::int64_t micro =
          completions_ != 0 ? completions_ : samples_of("train.micro_batch_size", "train.batch_size");
      set_batch("train.micro_batch_size", "train.batch_size", micro);
      return;
    }
    const json group = effective("rollout.num_generations");
    if (!group.is_number_integer() || group.get<std::int64_t>() < 1) return;  // reported by the validation
    const auto size = group.get<std::int64_t>();
    if (completions_ % size != 0) {
      throw UserError(cat(completions_origin_,
                          ": counts completions and must be a multiple of rollout.num_generations (", size,
                          "), because a group is never split; use ", (completions_ / size + 1) * size));
    }
    const std::int64_t micro =
        completions_ != 0 ? completions_ / size : samples_of("train.micro_prompts", "train.prompts_per_step");
    set_batch("train.micro_prompts", "train.prompts_per_step", micro);
  }

  // TRL counts micro-batches, or completions, a rollout; here a rollout serves so many optimizer steps.
  void finish_generation() {
    if (steps_per_generation_ == 0 && generation_batch_ == 0) return;
    if (steps_per_generation_ != 0 && generation_batch_ != 0) {
      throw UserError(
          "--steps_per_generation and --generation_batch_size say the same thing twice; give one of them");
    }
    const json group = effective("rollout.num_generations"), prompts = effective("train.prompts_per_step");
    if (!group.is_number_integer() || !prompts.is_number_integer()) return;  // reported by the validation
    const std::int64_t step = steps_per_generation_ != 0
                                  ? std::max<std::int64_t>(accumulation_, 1)
                                  : group.get<std::int64_t>() * prompts.get<std::int64_t>();
    const std::int64_t rollout = steps_per_generation_ != 0 ? steps_per_generation_ : generation_batch_;
    if (step < 1 || rollout % step != 0) {
      throw UserError(cat(
          generation_origin_, ": a rollout must serve whole optimizer steps; expected a multiple of ", step,
          steps_per_generation_ != 0 ? " (--gradient_accumulation_steps)"
                                     : " (train.prompts_per_step times rollout.num_generations)"));
    }
    assign("train.num_mini_batches", rollout / step, generation_origin_);
  }

  void set_batch(const char* micro_key, const char* step_key, std::int64_t micro) {
    const std::string& origin = completions_ != 0 ? completions_origin_ : accumulation_origin_;
    assign(micro_key, micro, origin);
    assign(step_key, micro * std::max<std::int64_t>(accumulation_, 1),
           accumulation_ != 0 ? accumulation_origin_ : origin);
  }

  std::int64_t samples_of(const char* micro_key, const char* step_key) const {
    json value = effective(micro_key);
    if (!value.is_number_integer()) value = effective(step_key);
    return value.is_number_integer() ? value.get<std::int64_t>() : 1;
  }

  void finish_reward_weights() {
    if (!reward_weights_) return;
    const std::vector<std::string>& weights = non_empty(*reward_weights_);
    json& rewards = target_["rewards"];
    if (!rewards.is_array()) rewards = rewards.is_null() ? json::array() : json::array({rewards});
    if (rewards.size() != weights.size()) {
      throw UserError(cat(reward_weights_->origin, ": gives ", weights.size(), " weights for ",
                          rewards.size(), " rewards; expected one each"));
    }
    for (std::size_t i = 0; i < weights.size(); ++i) {
      assign(cat("rewards.", i, ".weight"), json_or_text(weights[i]), reward_weights_->origin);
    }
  }

  void assign_text(const std::string& path, const std::string& text, const std::string& origin) {
    document_.assign_text(path, text, origin);
  }
  void append(const std::string& path, const std::string& item, const std::string& origin) {
    document_.append(path, item, origin);
  }
  void assign(const std::string& path, const json& value, const std::string& origin) {
    document_.assign(path, value, origin);
  }
  [[nodiscard]] json effective(const std::string& path) const { return document_.effective(path); }

  static const std::vector<std::string>& non_empty(const Flag& flag) {
    if (flag.values.empty()) throw UserError(cat(flag.origin, ": needs a value"));
    return flag.values;
  }

  static const std::string& one(const Flag& flag) { return non_empty(flag).front(); }

  static bool boolean(const Flag& flag) {
    const auto value = parse_bool(one(flag));
    if (!value) throw UserError(cat(flag.origin, ": expected true or false"));
    return *value;
  }

  static std::int64_t count(const Flag& flag) {
    std::int64_t value = 0;
    if (!support::parse_number(one(flag), value) || value < 1) {
      throw UserError(cat(flag.origin, ": expected an integer, at least 1"));
    }
    return value;
  }

  Command command_;
  json& target_;
  Assignments document_;
  std::string bf16_origin_;  // of --bf16 true; empty: not given
  std::vector<std::string> lora_flags_;
  std::int64_t completions_ = 0, accumulation_ = 0;  // 0: not given
  std::int64_t steps_per_generation_ = 0, generation_batch_ = 0;
  std::string completions_origin_, accumulation_origin_, generation_origin_;
  std::optional<Flag> reward_weights_;
};

}  // namespace

std::optional<std::string> take_config_flag(std::vector<std::string>& args) {
  std::optional<std::string> file;
  for (std::size_t i = 0; i < args.size();) {
    const bool has_value = args[i].starts_with("--config=");
    if (!has_value && args[i] != "--config") {
      ++i;
      continue;
    }
    if (file) throw UserError("--config: is given twice");
    if (!has_value && i + 1 >= args.size()) throw UserError("--config: needs a file");
    file = has_value ? args[i].substr(9) : args[i + 1];
    const auto at = args.begin() + static_cast<std::ptrdiff_t>(i);
    args.erase(at, at + (has_value ? 1 : 2));
  }
  return file;
}

void apply_command_line(const std::vector<std::string>& args, Command command, json& target,
                        std::map<std::string, std::string>& origins) {
  Applier(command, target, origins).run(args);
}

}  // namespace graft::config
