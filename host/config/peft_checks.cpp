// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <set>
#include <string>

#include "config/checks.h"
#include "config/json.h"
#include "support/error.h"
#include "support/strings.h"

namespace graft::config {

namespace {

using nlohmann::json;
using support::cat;
using support::UserError;

// One entry of rank_pattern (whole numbers) or alpha_pattern.
void check_entry(const json& expression, const json& value, const std::string& path, const Where& where) {
  const bool is_whole = path == "peft.rank_pattern";
  const bool is_right = value.is_number() && value.get<double>() > 0 &&
                        (!is_whole || value.get<double>() == std::floor(value.get<double>()));
  if (is_right) return;
  throw UserError(cat(where(path), ": ", path, ": ", shown(expression), " is ", shown(value), "; expected ",
                      is_whole ? "a rank, an integer of at least 1" : "a number greater than 0"));
}

class PeftChecker {
 public:
  PeftChecker(const RunConfig& config, Command command, const Where& where)
      : config_(config), c_(config.peft), command_(command), where_(where) {}

  void run() const {
    check_base_adapters();
    if ((command_ & (kTrain | kSft)) == 0) return;
    check_precision();
    if (c_.components.empty()) fail("peft.components", "is empty, so nothing would be trained");
    if (const auto* names = std::get_if<std::vector<std::string>>(&c_.target_modules);
        names && names->empty()) {
      fail("peft.target_modules", "is empty, so nothing would be adapted");
    }
    check_layers();
    check_warm_start();
  }

 private:
  [[noreturn]] void fail(const char* key, const std::string& text) const {
    throw UserError(cat(where_(key), ": ", key, ' ', text));
  }

  void check_base_adapters() const {
    std::set<std::string> seen;
    for (const std::string& directory : c_.base_adapters) {
      if (!seen.insert(directory).second) fail("peft.base_adapters", cat("names ", directory, " twice"));
    }
    const bool trains = (command_ & (kTrain | kSft)) != 0;
    if (trains && c_.is_known_to_train_base() && !c_.base_adapters.empty()) {
      fail("peft.base_adapters",
           cat("is set with peft.strategy=", c_.strategy,
               ", which trains the weights that they stand on; merge them into the model first"));
    }
  }

  void check_precision() const {
    if (!c_.is_known_to_train_base() || config_.model.dtype != "bfloat16") return;
    fail(
        "model.dtype",
        cat("is bfloat16 with peft.strategy=", c_.strategy,
            ", which trains the weights themselves, and small updates would be lost; use model.dtype=float32 "
            "with model.compute_dtype=bfloat16, which computes with float32 weights in bfloat16"));
  }

  void check_layers() const {
    if (c_.layers_to_transform.empty()) {
      if (!c_.layers_pattern.empty())
        fail("peft.layers_pattern", "has no effect without peft.layers_to_transform");
      return;
    }
    // As in PEFT, where an expression says it all by itself.
    const auto* pattern = std::get_if<std::string>(&c_.target_modules);
    if (pattern != nullptr && *pattern != "all-linear") {
      fail("peft.layers_to_transform",
           "has no effect on an expression in peft.target_modules; say the layers there, or list names");
    }
  }

  // An adapter's file says all this itself.
  void check_warm_start() const {
    if (!c_.adapter) return;
    for (const auto& [key, is_set] :
         {std::pair{"peft.layers_to_transform", !c_.layers_to_transform.empty()},
          std::pair{"peft.rank_pattern", !c_.rank_pattern.entries.empty()},
          std::pair{"peft.alpha_pattern", !c_.alpha_pattern.entries.empty()},
          std::pair{"peft.modules_to_save", !c_.modules_to_save.empty()},
          std::pair{"peft.calibration_samples", c_.calibration_samples.has_value()},
          std::pair{"peft.calibration_batch_size", c_.calibration_batch_size.has_value()},
          std::pair{"peft.calibration_passes", c_.calibration_passes.has_value()}}) {
      if (is_set)
        fail(key, cat("has no effect with peft.adapter, which holds what ", *c_.adapter, " was made with"));
    }
  }

  const RunConfig& config_;
  const PeftConfig& c_;
  Command command_;
  const Where& where_;
};

}  // namespace

void check_pattern_values(const json& resolved, const Where& where) {
  for (const std::string key : {"rank_pattern", "alpha_pattern"}) {
    const std::string path = dotted("peft", key);
    const json& value = resolved.at("peft").at(key);
    if (value.is_object()) {
      for (const auto& [expression, number] : value.items()) check_entry(expression, number, path, where);
      continue;
    }
    std::set<std::string> seen;
    for (const json& item : value) {
      if (!item.is_array() || item.size() != 2 || !item[0].is_string()) {
        throw UserError(cat(where(path), ": ", path, ": found ", shown(item),
                            R"(; expected pairs ["expression", number])"));
      }
      check_entry(item[0], item[1], path, where);
      if (!seen.insert(item[0].get<std::string>()).second) {
        throw UserError(cat(where(path), ": ", path, ": ", shown(item[0]),
                            " is given twice; the first counts, leave the other out"));
      }
    }
  }
}

void check_peft(const RunConfig& config, Command command, const Where& where) {
  PeftChecker(config, command, where).run();
}

}  // namespace graft::config
