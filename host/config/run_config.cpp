// SPDX-License-Identifier: Apache-2.0
#include "config/run_config.h"

#include <filesystem>
#include <map>

#include "config/checks.h"
#include "config/command_line.h"
#include "config/json.h"
#include "config/run_keys.h"
#include "config/run_schema.h"
#include "support/error.h"
#include "support/strings.h"

namespace graft::config {

namespace {

using nlohmann::json;
using support::cat;
using support::UserError;

template <typename T>
void assign(T& out, const json& value) {
  out = value.get<T>();
}

template <typename T>
void assign(std::optional<T>& out, const json& value) {
  if (value.is_null()) {
    out.reset();
  } else {
    out = value.get<T>();
  }
}

void assign(PatternOrNames& out, const json& value) {
  if (value.is_array()) {
    out = value.get<std::vector<std::string>>();
  } else {
    out = value.get<std::string>();
  }
}

void assign(PatternValues& out, const json& value) {
  out = {{}, value.is_array()};
  for (const auto& [key, item] : value.items()) {
    if (value.is_object()) {
      out.entries.emplace_back(key, item.get<double>());
    } else {
      out.entries.emplace_back(item.at(0).get<std::string>(), item.at(1).get<double>());
    }
  }
}

// Assigns every member from a resolved configuration.
class ReadVisitor {
 public:
  explicit ReadVisitor(const json& resolved) : resolved_(resolved), section_(&resolved) {}

  void section(const char* name, const char*, unsigned) {
    section_ = *name == '\0' ? &resolved_ : &resolved_.at(name);
  }

  template <typename T>
  void key(const char* name, T& member, const KeySpec&) {
    assign(member, section_->at(name));
  }

  void rewards(const char* name, std::vector<RewardConfig>& member, const char*) {
    member.clear();
    for (const json& item : section_->at(name)) {
      RewardConfig& reward = member.emplace_back();
      assign(reward.name, item.at("name"));
      assign(reward.weight, item.at("weight"));
      reward.params = item.at("params");
      assign(reward.isolate, item.at("isolate"));
      assign(reward.timeout, item.at("timeout"));
      assign(reward.max_memory, item.at("max_memory"));
    }
  }

 private:
  const json& resolved_;
  const json* section_;
};

std::vector<DataFile> pair_files(const std::vector<std::string>& files, const std::vector<std::string>& roots,
                                 const char* files_key, const char* roots_key) {
  if (roots.size() > 1 && roots.size() != files.size()) {
    throw UserError(cat(roots_key, " has ", roots.size(), " directories and ", files_key, " ", files.size(),
                        " files; expected one directory for all or one each"));
  }
  std::vector<DataFile> out;
  for (std::size_t i = 0; i < files.size(); ++i) {
    std::string root = std::filesystem::path(files[i]).parent_path().string();
    if (!roots.empty()) root = roots.size() == 1 ? roots[0] : roots[i];
    out.push_back({files[i], root});
  }
  return out;
}

}  // namespace

const char* command_name(Command command) {
  switch (command) {
    case kTrain:
      return "train";
    case kSft:
      return "sft";
    case kEval:
      return "eval";
    case kGenerate:
      return "generate";
    case kAllCommands:
      break;
  }
  return "config";
}

std::vector<DataFile> train_files(const DataConfig& data) {
  return pair_files(data.train, data.image_root, "data.train", "data.image_root");
}

std::vector<DataFile> eval_files(const DataConfig& data) {
  if (data.eval.empty()) return {};
  if (!data.eval_image_root.empty()) {
    return pair_files(data.eval, data.eval_image_root, "data.eval", "data.eval_image_root");
  }
  if (data.image_root.size() > 1 && !data.train.empty() && data.image_root.size() != data.eval.size()) {
    throw UserError(
        cat("data.image_root has one directory for each file of data.train, so data.eval needs its own; set "
            "data.eval_image_root"));
  }
  return pair_files(data.eval, data.image_root, "data.eval", "data.image_root");
}

LoadedConfig load_run_config(const std::optional<std::string>& file, const std::vector<std::string>& args,
                             Command command) {
  std::vector<std::string> rest = args;
  const std::optional<std::string> file_flag = take_config_flag(rest);
  if (file && file_flag && *file != *file_flag) {
    throw UserError(cat("two configuration files are given, ", *file, " and ", *file_flag, "; expected one"));
  }
  JsonDocument document{json::object(), "configuration", {}};
  if (file || file_flag) document = load_json_document(file ? *file : *file_flag);
  if (!document.value.is_object()) {
    throw UserError(
        cat(document.name, ": found ", shown(document.value), "; expected an object with sections"));
  }

  std::map<std::string, std::string> origins;
  apply_command_line(rest, command, document.value, origins);
  const Where where = [&](const std::string& path) {
    for (std::string prefix = path; !prefix.empty();) {
      if (const auto found = origins.find(prefix); found != origins.end()) return found->second;
      const std::size_t dot = prefix.rfind('.');
      prefix = dot == std::string::npos ? std::string() : prefix.substr(0, dot);
    }
    return document.where(path);
  };

  LoadedConfig out;
  out.resolved = resolve(run_schema().root, document.value, where);
  if (command == kEval && out.resolved["rewards"].empty()) {
    // Without a choice an evaluation reports what grounding is judged by.
    const json rewards = json::object({{"rewards", json::array({"iou", "format"})}});
    out.resolved["rewards"] = resolve(run_schema().root, rewards, where)["rewards"];
  }
  check_pattern_values(out.resolved, where);
  ReadVisitor visitor(out.resolved);
  describe_keys(out.config, visitor);
  check_run_config(out.config, command, where);
  if (command == kSft && out.config.train.eval_steps == 0 && !out.config.rewards.empty()) {
    // In a file the rewards may serve another command; given for this one, they are meant.
    for (const auto& [path, origin] : origins) {
      if (path != "rewards" && !path.starts_with("rewards.")) continue;
      throw UserError(cat(origin,
                          ": rewards have no effect on graft sft without evaluations; set "
                          "train.eval_steps (--eval_steps N) and data.eval, or leave them out"));
    }
  }
  return out;
}

}  // namespace graft::config
