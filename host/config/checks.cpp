// SPDX-License-Identifier: Apache-2.0
#include "config/checks.h"

#include <algorithm>
#include <set>
#include <string_view>
#include <tuple>

#include "support/error.h"
#include "support/strings.h"

namespace graft::config {

namespace {

using support::cat;
using support::UserError;

class Checker {
 public:
  Checker(const RunConfig& config, Command command, const Where& where)
      : c_(config), command_(command), where_(where) {}

  void run() const {
    required(!c_.model.path.empty(), "model.path", "a Hugging Face model directory",
             "--model_name_or_path DIR");
    check_pixels();
    check_precision();
    check_peft(c_, command_, where_);
    if ((command_ & (kTrain | kSft)) != 0) check_training();
    if (command_ == kTrain) check_grpo();
    if (command_ == kEval)
      required(!c_.data.eval.empty(), "data.eval", "at least one JSONL file", "data.eval=FILE");
    if ((command_ & (kTrain | kSft | kEval)) != 0) check_rewards();
    if ((command_ & (kTrain | kSft | kEval)) != 0) check_data();
  }

 private:
  void required(bool is_set, const char* key, const char* what, const char* how) const {
    if (is_set) return;
    throw UserError(cat(where_(key), ": ", key, " is not set; graft ", command_name(command_), " needs ",
                        what, " (", how, ")"));
  }

  [[noreturn]] void fail(const char* key, const std::string& text) const {
    throw UserError(cat(where_(key), ": ", key, ' ', text));
  }

  void check_pixels() const {
    const auto& low = c_.model.min_pixels;
    const auto& high = c_.model.max_pixels;
    if (low && high && *low > *high) {
      fail("model.min_pixels", cat("is ", *low, ", more than model.max_pixels (", *high, ")"));
    }
  }

  void check_precision() const {
    if (c_.model.dtype == "bfloat16" && c_.model.compute_dtype == "float32") {
      fail("model.compute_dtype",
           "is float32 over model.dtype=bfloat16, whose weights are rounded already; leave it out, or use "
           "model.dtype=float32");
    }
  }

  void check_training() const {
    if (!c_.checkpoint_policy.vision && !c_.checkpoint_policy.vision_params.empty()) {
      fail("checkpoint_policy.vision_params",
           "is set, but checkpoint_policy.vision is not, so it would have no effect");
    }
    required(!c_.output_dir.empty(), "output_dir", "a directory to write to", "--output_dir DIR");
    required(!c_.data.train.empty(), "data.train", "at least one JSONL file", "--data_file_paths FILE");
    check_schedule(c_, command_, where_);
    switched_off("monitor.enabled", "monitor", c_.monitor);
    switched_off("preflight.enabled", "preflight", c_.preflight);
    if (command_ == kSft) {
      one_limit("train.micro_batch_size", c_.train.micro_batch_size);
      divides("train.micro_batch_size", c_.train.samples_per_micro_batch(), "train.batch_size",
              c_.train.batch_size);
    }
  }

  // The other keys of a section that is off stay at their defaults.
  template <typename Section>
  void switched_off(const char* key, const char* name, const Section& section) const {
    Section off;
    off.enabled = false;
    if (section.enabled || section == off) return;
    fail(key, cat("is false, so the other keys of ", name, " have no effect; leave them out"));
  }

  void check_grpo() const {
    if (c_.rollout.num_generations < 2) {
      fail("rollout.num_generations",
           cat("is ", c_.rollout.num_generations,
               "; GRPO compares the completions of a group, so graft train needs at least 2"));
    }
    if (c_.rollout.temperature <= 0) {
      fail("rollout.temperature",
           "is 0; greedy completions of a group are all alike, so graft train needs more than 0");
    }
    one_limit("train.micro_prompts", c_.train.micro_prompts);
    divides("train.micro_prompts", c_.train.prompts_per_micro_batch(), "train.prompts_per_step",
            c_.train.prompts_per_step);
    required(!c_.rewards.empty(), "rewards", "at least one reward", "--reward_funcs iou format");
    check_objective(c_, where_);
  }

  void divides(const char* micro_key, std::int64_t micro, const char* step_key, std::int64_t step) const {
    if (micro <= step && step % micro == 0) return;
    fail(micro_key, cat("is ", micro, "; it must divide ", step_key, " (", step, ")"));
  }

  // A pass is limited by a number of samples or by tokens.
  void one_limit(const char* micro_key, const std::optional<std::int64_t>& micro) const {
    if (!micro || !c_.train.micro_batch_tokens) return;
    fail("train.micro_batch_tokens", cat("is ", *c_.train.micro_batch_tokens, " and ", micro_key, " is ",
                                         *micro, "; a pass is limited by one of them, leave the other out"));
  }

  // Limits are those of a process of its own.
  void check_process(const RewardConfig& reward) const {
    const bool is_python = reward.name.starts_with("python:");
    if (is_python && reward.isolate) {
      fail("rewards", cat("has isolate for \"", reward.name,
                          "\", which runs in a process of its own anyway; leave it out"));
    }
    if (!is_python && !reward.isolate && (reward.timeout || reward.max_memory)) {
      fail("rewards", cat("has ", reward.timeout ? "timeout" : "max_memory", " for \"", reward.name,
                          "\", which runs within this process; it takes effect with \"isolate\": true"));
    }
  }

  void check_rewards() const {
    std::set<std::pair<std::string, nlohmann::json>> seen;
    bool any_weight = false;
    for (const RewardConfig& reward : c_.rewards) {
      any_weight = any_weight || reward.weight != 0.0;
      if (reward.name.empty()) fail("rewards", "has an entry with an empty name");
      check_process(reward);
      if (!seen.emplace(reward.name, reward.params).second) {
        fail("rewards",
             cat("names \"", reward.name,
                 "\" twice with the same params; raise its weight instead, or give it other params"));
      }
    }
    if (command_ == kTrain && !any_weight)
      fail("rewards", "all have weight 0, so there is nothing to learn from");
  }

  void check_data() const {
    if (command_ != kEval) std::ignore = train_files(c_.data);
    std::ignore = eval_files(c_.data);
    if (c_.data.question_template.empty())
      fail("data.question_template", "is empty; expected text with {question}");
    if (command_ == kSft && c_.data.answer_template.empty()) {
      fail("data.answer_template", "is empty; expected text with {answer} or {solution}");
    }
  }

  const RunConfig& c_;
  Command command_;
  const Where& where_;
};

}  // namespace

void check_run_config(const RunConfig& config, Command command, const Where& where) {
  Checker(config, command, where).run();
}

}  // namespace graft::config
