// SPDX-License-Identifier: Apache-2.0
// What the parts of check_plugin share. They run in a child process.
#pragma once

#include <graft/plugin.h>

#include <cstdint>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "plugin/check.h"
#include "plugin/registry.h"
#include "support/random.h"

namespace graft::plugin {

// Findings, and the step that is under way, in memory that outlives the child that writes them.
class Journal {
 public:
  Journal();
  ~Journal();
  Journal(const Journal&) = delete;
  Journal& operator=(const Journal&) = delete;

  void begin(const std::string& component, const std::string& step);
  void add(const CheckFinding& finding);

  // For the parent, when the child is gone.
  [[nodiscard]] std::vector<CheckFinding> findings() const;
  [[nodiscard]] CheckFinding under_way() const;

 private:
  struct Shared;
  Shared* shared_;
};

// One component under test.
class CheckContext {
 public:
  CheckContext(const Component& tested, const graft_host* host, const CheckOptions& options,
               Journal& journal);

  const Component& component;
  const graft_host* host;
  const CheckOptions& options;

  // Runs `body`, which returns what is wrong ("" if nothing is), as the check `name`. Exceptions are failures too.
  template <typename Body>
  void check(const std::string& name, Body&& body) {
    journal_.begin(component.label(), name);
    std::string problem;
    try {
      problem = body();
    } catch (const std::exception& error) {
      problem = error.what();
    }
    finish(name, CheckFinding::Level::kFail, problem);
  }
  // Passes with an empty detail.
  void warn(const std::string& name, const std::string& detail) {
    finish(name, CheckFinding::Level::kWarn, detail);
  }

  // Random numbers of this component and purpose.
  [[nodiscard]] support::KeyedRandom random(std::string_view purpose) const;

 private:
  void finish(const std::string& name, CheckFinding::Level level_if_any, const std::string& detail);
  Journal& journal_;
};

// create() as the host calls it, on any text, with an error buffer whose borders are watched.
struct Creation {
  graft_status status = GRAFT_OK;
  graft_instance* raw = nullptr;
  std::string message;
  std::string problem;  // a breach of the contract: "" if none
};
Creation try_create(const CheckContext& context, std::string_view params_json);

// Parameters with all defaults; an instance made from them, null (with a warning in the report) if the component refuses.
nlohmann::json default_params(const Component& component);
std::shared_ptr<Instance> default_instance(CheckContext& context);

// Texts that models and files contain and that break careless code: unbalanced tags, invalid UTF-8, huge numbers, NUL.
std::vector<std::string> hostile_texts(support::KeyedRandom random);

// The checks of one kind each.
void check_reward(CheckContext& context);
void check_checkpoint_policy(CheckContext& context);
void check_peft(CheckContext& context);
void check_peft_tensors(CheckContext& context,
                        const Instance& peft);  // nothing if the host offers no tensors
void check_model_family(CheckContext& context);

}  // namespace graft::plugin
