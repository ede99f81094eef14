// SPDX-License-Identifier: Apache-2.0
// Rewards in processes of their own: what they do wrong costs the scores of the completions in question, never the run.
#include <dlfcn.h>
#include <graft/reward.h>

#include <cmath>
#include <filesystem>
#include <limits>
#include <utility>

#include "rewards/python_worker.h"
#include "rewards/scorer.h"
#include "rewards/wire.h"
#include "support/child_process.h"
#include "support/error.h"
#include "support/log.h"
#include "support/strings.h"

namespace graft::rewards {

using nlohmann::json;
using support::cat;
namespace fs = std::filesystem;

namespace {

constexpr std::string_view kPython = "python:";
constexpr int kMostFailures = 3;         // of a batch; then the rest of it goes without scores
constexpr double kStartTimeout = 120.0;  // seconds: a Python file may import large libraries

using Clock = support::ChildProcess::Clock;

Clock::time_point in_seconds(double seconds) {
  return Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
}

// How to start a process, and what to tell it first.
struct Launch {
  std::vector<std::string> arguments;
  json hello;
};

// The graft command beside this library, or this program itself.
std::string graft_command() {
  Dl_info info;
  if (dladdr(reinterpret_cast<const void*>(&is_python_reward), &info) != 0 && info.dli_fname != nullptr) {
    std::error_code ignored;
    const fs::path library = fs::weakly_canonical(info.dli_fname, ignored);
    for (const fs::path& beside :
         {library.parent_path() / "../bin/graft", library.parent_path() / "../../bin/graft"}) {
      if (fs::exists(beside, ignored)) return fs::weakly_canonical(beside, ignored).string();
    }
  }
  throw support::UserError(
      "the graft command is not beside libgraft, so rewards cannot run in processes of their own; install "
      "graft as a whole, or "
      "leave \"isolate\" out");
}

Launch plugin_launch(plugin::Registry& registry, const RewardSpec& spec) {
  const plugin::Component& component = registry.find(GRAFT_KIND_REWARD, spec.name);
  return {{graft_command(), "--log", "warn", "reward-worker"},
          {{"library", component.library}, {"name", spec.name}, {"params", spec.params}}};
}

// "python:FILE.py:FUNCTION"
Launch python_launch(const RewardSpec& spec, const std::string& where) {
  const std::string rest = spec.name.substr(kPython.size());
  const std::size_t colon = rest.rfind(':');
  if (colon == std::string::npos || colon == 0 || colon + 1 == rest.size()) {
    throw support::UserError(cat("reward ", spec.name, ": expected python:FILE.py:FUNCTION"));
  }
  const fs::path file = rest.substr(0, colon);
  if (!fs::is_regular_file(file)) {
    throw support::UserError(cat("reward ", spec.name, ": there is no file ", file));
  }
  json params = {{"interpreter", "python3"}, {"completions", "messages"}};
  for (const auto& [key, value] : spec.params.items()) {
    if (!params.contains(key)) {
      throw support::UserError(
          cat(where, ": a Python reward has no parameter \"", key, "\"",
              support::did_you_mean(key, {"interpreter", "completions"}),
              "; it has interpreter (the program, \"python3\") and completions (\"messages\" as "
              "TRL gives them for chat models, or \"text\")"));
    }
    if (!value.is_string()) throw support::UserError(cat(where, ".", key, ": expected a string"));
    params[key] = value;
  }
  if (params["completions"] != "messages" && params["completions"] != "text") {
    throw support::UserError(
        cat(where, ".completions: expected \"messages\" or \"text\", found ", params["completions"].dump()));
  }
  return {{params["interpreter"].get<std::string>(), "-c", kPythonWorker},
          {{"file", fs::absolute(file).string()}, {"function", rest.substr(colon + 1)}, {"params", params}}};
}

class ProcessReward : public Scorer {
 public:
  ProcessReward(const RewardSpec& spec, Launch launch)
      : who_(cat("reward \"", spec.name, "\"")),
        launch_(std::move(launch)),
        timeout_(spec.timeout.value_or(kDefaultTimeout)),
        max_bytes_(
            static_cast<std::uint64_t>(spec.max_memory.value_or(kDefaultMemory) * 1024.0 * 1024.0 * 1024.0)) {
    start();
  }

  [[nodiscard]] const RewardDescription& description() const override { return description_; }
  [[nodiscard]] const json& params() const override { return params_; }

  [[nodiscard]] RawScores score(std::span<const Item> items, std::uint64_t step, bool observe) override {
    RawScores raw;
    raw.values.resize(items.size() * description_.score_names.size(),
                      std::numeric_limits<double>::quiet_NaN());
    raw.statuses.resize(items.size(), GRAFT_SCORE_ERROR);
    raw.reasons.resize(items.size());
    if (observe) raw.observations.resize(items.size());
    std::size_t next = 0;
    for (int failures = 0; next < items.size();) {
      const Outcome outcome = score_from(next, items, step, observe, raw);
      if (outcome.failure.empty()) break;
      // Without a batch to depend on, only the item at hand is lost; after several losses the rest is, too.
      const bool is_lost = description_.is_batch_dependent || ++failures >= kMostFailures;
      const std::size_t end = is_lost ? items.size() : outcome.at + 1;
      for (std::size_t i = outcome.at; i < end; ++i) {
        raw.statuses[i] = outcome.timed_out ? GRAFT_SCORE_TIMEOUT : GRAFT_SCORE_ERROR;
        raw.reasons[i] = outcome.failure;
      }
      next = end;
    }
    return raw;
  }

 private:
  struct Outcome {
    std::size_t at = 0;   // first item without an answer
    std::string failure;  // empty: all have one
    bool timed_out = false;
  };

  void start() {
    process_.emplace(launch_.arguments, max_bytes_);
    const auto deadline = in_seconds(kStartTimeout);
    std::optional<std::string> line;
    if (process_->send(launch_.hello.dump(-1, ' ', false, json::error_handler_t::replace), deadline)) {
      line = process_->receive(deadline);
    }
    if (!line) {
      const std::string how = process_->end();
      process_.reset();
      throw support::UserError(cat(who_, ": its process, ", launch_.arguments[0], ", ", how,
                                   " before it was ready; what it "
                                   "printed stands above"));
    }
    const json answer = json::parse(*line, nullptr, false);
    if (!answer.is_object() || answer.contains("error")) {
      process_.reset();
      throw support::UserError(
          cat(who_, ": ", answer.is_object() ? answer["error"].get<std::string>() : *line));
    }
    description_ = read_description(answer);
    params_ = answer.value("params", json::object());
  }

  // Scores items from `first` on, as far as it goes.
  Outcome score_from(std::size_t first, std::span<const Item> items, std::uint64_t step, bool observe,
                     RawScores& raw) {
    Outcome outcome{first, "", false};
    try {
      if (!process_) start();
      const auto deadline = in_seconds(timeout_);
      const std::string request = request_json(items.subspan(first), step, observe)
                                      .dump(-1, ' ', false, json::error_handler_t::replace);
      bool is_alive = process_->send(request, deadline);
      for (; is_alive && outcome.at < items.size(); ++outcome.at) {
        const std::optional<std::string> line = process_->receive(deadline);
        is_alive = line.has_value();
        if (!is_alive) break;
        read_reply(json::parse(*line, nullptr, false), outcome.at, description_.score_names.size(), raw);
      }
      if (is_alive) return outcome;
      outcome.timed_out = process_->timed_out();
      const std::string how = process_->end();
      outcome.failure =
          outcome.timed_out ? cat("no score within ", timeout_, " seconds") : cat("its process ", how);
    } catch (const support::Error& error) {
      outcome.failure = error.what();
    } catch (const json::exception& error) {
      outcome.failure = error.what();
    }
    process_.reset();
    support::log_once(support::LogLevel::kWarn, cat("reward-process/", who_),
                      cat(who_, ": ", outcome.failure, "; the process is started again (said once)"));
    return outcome;
  }

  std::string who_;
  Launch launch_;
  double timeout_;
  std::uint64_t max_bytes_;
  std::optional<support::ChildProcess> process_;
  RewardDescription description_;
  json params_;
};

}  // namespace

bool is_python_reward(const std::string& name) {
  return name.starts_with(kPython);
}

std::unique_ptr<Scorer> open_process_reward(plugin::Registry& registry, const RewardSpec& spec,
                                            const std::string& where) {
  Launch launch = is_python_reward(spec.name) ? python_launch(spec, where) : plugin_launch(registry, spec);
  return std::make_unique<ProcessReward>(spec, std::move(launch));
}

}  // namespace graft::rewards
