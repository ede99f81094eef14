// SPDX-License-Identifier: Apache-2.0
#include <string>

#include "config/checks.h"
#include "support/error.h"
#include "support/strings.h"

namespace graft::config {

namespace {

using support::cat;
using support::UserError;

class ScheduleChecker {
 public:
  ScheduleChecker(const RunConfig& config, Command command, const Where& where)
      : config_(config), train_(config.train), command_(command), where_(where) {}

  void run() const {
    check_length();
    check_warmup();
    check_evaluations();
    check_best();
  }

 private:
  [[noreturn]] void fail(const char* key, const std::string& text) const {
    throw UserError(cat(where_(key), ": ", key, ' ', text));
  }

  void check_length() const {
    if (train_.steps == 0 && !train_.epochs) {
      fail("train.steps", cat("and train.epochs are not set; graft ", command_name(command_),
                              " needs the length of the run, one of them (--max_steps N or "
                              "--num_train_epochs X)"));
    }
    if (train_.steps > 0 && train_.epochs) {
      fail("train.epochs",
           cat("is ", *train_.epochs, " and train.steps is ", train_.steps,
               "; one of them is the length of the run, leave the other out (train.steps=0 or "
               "train.epochs=null)"));
    }
  }

  void check_warmup() const {
    const OptimizerConfig& optimizer = config_.optimizer;
    if (optimizer.warmup_ratio && optimizer.warmup_steps > 0) {
      fail("optimizer.warmup_ratio",
           cat("is ", *optimizer.warmup_ratio, " and optimizer.warmup_steps is ", optimizer.warmup_steps,
               "; one of them is the warm-up, leave the other out (optimizer.warmup_steps=0 or "
               "optimizer.warmup_ratio=null)"));
    }
    // With epochs the steps are known later: train/run_length.cpp.
    if (train_.steps > 0 && optimizer.warmup_steps > train_.steps) {
      fail("optimizer.warmup_steps", cat("is ", optimizer.warmup_steps, ", more than train.steps (",
                                         train_.steps, "); the learning rate would never reach its peak"));
    }
  }

  void check_evaluations() const {
    if (train_.eval_steps > 0 && config_.data.eval.empty()) {
      fail("train.eval_steps", cat("is ", train_.eval_steps, ", but data.eval names no file to evaluate on"));
    }
    if (train_.metric_for_best_model && train_.eval_steps == 0) {
      fail("train.metric_for_best_model", cat("is \"", *train_.metric_for_best_model,
                                              "\", but nothing is evaluated during the run; set "
                                              "train.eval_steps (--eval_steps N)"));
    }
  }

  void check_best() const {
    if (train_.early_stopping_threshold > 0 && !train_.early_stopping_patience) {
      fail("train.early_stopping_threshold",
           "has no effect without train.early_stopping_patience; set both or leave both out");
    }
    if (train_.metric_for_best_model) {
      if (train_.metric_for_best_model->empty()) fail("train.metric_for_best_model", "is empty");
      return;
    }
    const auto needs_metric = [&](bool is_set, const char* key) {
      if (!is_set) return;
      fail(key,
           "has no effect without train.metric_for_best_model, which tells what the best model is; set it");
    };
    needs_metric(train_.load_best_model_at_end, "train.load_best_model_at_end");
    needs_metric(train_.early_stopping_patience.has_value(), "train.early_stopping_patience");
    needs_metric(train_.greater_is_better.has_value(), "train.greater_is_better");
  }

  const RunConfig& config_;
  const TrainConfig& train_;
  Command command_;
  const Where& where_;
};

}  // namespace

void check_schedule(const RunConfig& config, Command command, const Where& where) {
  ScheduleChecker(config, command, where).run();
}

}  // namespace graft::config
