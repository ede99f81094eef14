// SPDX-License-Identifier: Apache-2.0
#include "adapt/peft_config.h"

#include <graft/checkpoint_policy.h>

#include <algorithm>
#include <cctype>
#include <set>
#include <string_view>
#include <utility>

#include "support/error.h"
#include "support/files.h"
#include "support/strings.h"

namespace graft::adapt {
namespace {

// The release of PEFT whose fields are written.
constexpr const char* kPeftVersion = "0.21.2";
constexpr std::size_t kMostExclusions = 8;  // a longer list is harder to read than longer endings

using Names = std::vector<std::string>;

// "mlp.0" of "model.visual.merger.mlp.0", "q_proj" of "…self_attn.q_proj": the last part that is no number,
// and what follows.
std::string ending(const std::string& module) {
  auto dot = module.rfind('.');
  while (dot != std::string::npos && dot + 1 < module.size() &&
         std::isdigit(static_cast<unsigned char>(module[dot + 1])) != 0) {
    if (dot == 0) break;
    dot = module.rfind('.', dot - 1);
  }
  return dot == std::string::npos ? module : module.substr(dot + 1);
}

bool is_within(std::string_view module, std::string_view root) {
  return module.starts_with(root) && (module.size() == root.size() || module[root.size()] == '.');
}

// Modules and everything that contains them: "a.b.c" gives "a", "a.b" and "a.b.c".
std::set<std::string> with_containers(const Names& modules) {
  std::set<std::string> all;
  for (const auto& module : modules) {
    for (auto dot = module.find('.'); dot != std::string::npos; dot = module.find('.', dot + 1))
      all.insert(module.substr(0, dot));
    all.insert(module);
  }
  return all;
}

bool selects_exactly(const TargetModules& targets, const std::set<std::string>& adapted,
                     const std::set<std::string>& modules) {
  TargetSpec spec;
  spec.names = targets.names;
  spec.exclude_pattern = targets.exclude_pattern;
  const TargetMatcher matcher(spec);
  return std::all_of(modules.begin(), modules.end(), [&](const std::string& module) {
    return matcher.selects(module) == (adapted.count(module) > 0);
  });
}

// The largest parts of the model that hold `module` but nothing adapted.
std::string unadapted_root(const std::string& module, const std::set<std::string>& adapted) {
  for (auto dot = module.find('.'); dot != std::string::npos; dot = module.find('.', dot + 1)) {
    auto root = module.substr(0, dot);
    if (std::none_of(adapted.begin(), adapted.end(), [&](const auto& name) { return is_within(name, root); }))
      return root;
  }
  return module;
}

// "(.*\.)?visual(\..*)?" for {"model.visual"}; with whole paths instead of last parts if `whole`.
std::string exclusion(const std::set<std::string>& roots, bool whole) {
  std::set<std::string> words;
  for (const auto& root : roots) words.insert(quote_pattern(whole ? root : root.substr(root.rfind('.') + 1)));
  const Names list(words.begin(), words.end());
  const auto alternatives =
      list.size() == 1 ? list.front() : support::cat('(', support::join(list, "|"), ')');
  return support::cat(whole ? "" : R"((.*\.)?)", alternatives, R"((\..*)?)");
}

std::vector<std::string> string_list(const nlohmann::ordered_json& value, const std::string& where) {
  std::vector<std::string> names;
  for (const auto& item : value) {
    if (!item.is_string())
      throw support::UserError(support::cat(where, " holds ", item.dump(), ", expected layer names"));
    names.push_back(item.get<std::string>());
  }
  return names;
}

void read_targets(const nlohmann::ordered_json& config, const std::string& file, const char* key,
                  std::string& pattern, Names& names) {
  const auto found = config.find(key);
  if (found == config.end() || found->is_null()) return;
  if (found->is_string()) {
    pattern = found->get<std::string>();
  } else if (found->is_array()) {
    names = string_list(*found, support::cat(file, ": ", key));
  } else {
    throw support::UserError(
        support::cat(file, ": ", key, " is ", found->dump(), ", expected a list of names or an expression"));
  }
}

// layers_to_transform, a number or a list of them, and layers_pattern, a name or a list of them.
void read_layers(const nlohmann::ordered_json& config, const std::string& file, TargetSpec& spec) {
  const auto items = [&](const char* key) {
    const auto found = config.find(key);
    if (found == config.end() || found->is_null()) return nlohmann::ordered_json::array();
    return found->is_array() ? *found : nlohmann::ordered_json::array({*found});
  };
  for (const auto& layer : items("layers_to_transform")) {
    if (!layer.is_number_integer()) {
      throw support::UserError(
          support::cat(file, ": layers_to_transform holds ", layer.dump(), ", expected numbers of layers"));
    }
    spec.layers.push_back(layer.get<std::int64_t>());
  }
  if (!spec.layers.empty() && (spec.all_linear || !spec.pattern.empty())) {  // PEFT refuses to make one
    throw support::UserError(
        support::cat(file, ": layers_to_transform goes with a list of target_modules alone, found ",
                     config.at("target_modules").dump()));
  }
  spec.layers_patterns = string_list(items("layers_pattern"), file + ": layers_pattern");
  std::erase(spec.layers_patterns, std::string());
}

}  // namespace

std::vector<std::string> minimal_endings(const Names& adapted, const Names& others) {
  std::set<std::string> other_endings;
  for (const auto& other : others) {
    for (auto dot = other.rfind('.');; dot = other.rfind('.', dot - 1)) {
      other_endings.insert(dot == std::string::npos ? other : other.substr(dot + 1));
      if (dot == std::string::npos || dot == 0) break;
    }
  }
  std::set<std::string> chosen;
  for (const auto& module : adapted) {
    const bool is_covered = std::any_of(chosen.begin(), chosen.end(),
                                        [&](const auto& entry) { return matches_entry(module, entry); });
    if (is_covered) continue;
    std::string entry = ending(module);
    while (other_endings.count(entry) > 0 && entry.size() < module.size()) {
      const auto dot = module.rfind('.', module.size() - entry.size() - 2);
      entry = dot == std::string::npos ? module : module.substr(dot + 1);
    }
    chosen.insert(entry);
  }
  return {chosen.begin(), chosen.end()};
}

TargetModules describe_targets(const Names& adapted_list, const Names& module_list, bool may_exclude) {
  const std::set<std::string> adapted(adapted_list.begin(), adapted_list.end());
  const auto modules = with_containers(module_list);
  std::set<std::string> endings, roots;
  for (const auto& module : adapted) endings.insert(ending(module));
  Names others;
  for (const auto& module : modules) {
    if (adapted.count(module) > 0) continue;
    others.push_back(module);
    const bool is_named = std::any_of(endings.begin(), endings.end(),
                                      [&](const auto& entry) { return matches_entry(module, entry); });
    if (is_named) roots.insert(unadapted_root(module, adapted));
  }

  std::vector<TargetModules> candidates;
  TargetModules by_ending{{endings.begin(), endings.end()}, ""};
  if (roots.empty()) candidates.push_back(by_ending);
  if (may_exclude && !roots.empty() && roots.size() <= kMostExclusions) {
    candidates.push_back({by_ending.names, exclusion(roots, false)});
    candidates.push_back({by_ending.names, exclusion(roots, true)});
  }
  candidates.push_back({minimal_endings({adapted.begin(), adapted.end()}, others), ""});
  for (const auto& candidate : candidates) {
    if (selects_exactly(candidate, adapted, modules)) return candidate;
  }
  return {{adapted.begin(), adapted.end()}, ""};
}

nlohmann::json adapter_config(const nlohmann::json& own, const std::string& base_model,
                              const TargetModules& targets) {
  nlohmann::json config = {
      {"auto_mapping", nullptr},    {"base_model_name_or_path", base_model},
      {"exclude_modules", nullptr}, {"inference_mode", true},
      {"layers_pattern", nullptr},  {"layers_to_transform", nullptr},
      {"modules_to_save", nullptr}, {"peft_version", kPeftVersion},
      {"revision", nullptr},        {"target_modules", targets.names},
      {"task_type", "CAUSAL_LM"},
  };
  if (!targets.exclude_pattern.empty()) config["exclude_modules"] = targets.exclude_pattern;
  config.update(own);
  return config;
}

nlohmann::ordered_json read_adapter_config(const std::filesystem::path& directory) {
  const auto file = directory / "adapter_config.json";
  if (!std::filesystem::exists(file)) {
    const bool is_model = std::filesystem::exists(directory / "config.json");
    throw support::UserError(support::cat(directory, " is no adapter: it has no adapter_config.json",
                                          is_model ? "; it is a model, for model.path" : ""));
  }
  auto config = nlohmann::ordered_json::parse(support::read_file(file), nullptr, false);
  if (!config.is_object()) throw support::UserError(support::cat(file, " is not a JSON object"));
  return config;
}

SharedFields shared_fields(const nlohmann::ordered_json& config, const std::filesystem::path& directory) {
  const auto file = (directory / "adapter_config.json").string();
  SharedFields fields;
  TargetSpec& spec = fields.targets;
  spec.components = {GRAFT_COMPONENT_LANGUAGE, GRAFT_COMPONENT_VISION, GRAFT_COMPONENT_PROJECTOR,
                     GRAFT_COMPONENT_HEAD};
  read_targets(config, file, "target_modules", spec.pattern, spec.names);
  read_targets(config, file, "exclude_modules", spec.exclude_pattern, spec.exclude_names);
  if (support::to_lower(spec.pattern) == "all-linear") {
    spec.all_linear = true;
    spec.pattern.clear();
  } else if (spec.pattern.empty() && spec.names.empty()) {
    throw support::UserError(
        file + ": target_modules is missing or empty; which layers the adapter belongs to is not known");
  }
  read_layers(config, file, spec);
  if (const auto saved = config.find("modules_to_save"); saved != config.end() && saved->is_array()) {
    fields.modules_to_save = string_list(*saved, file + ": modules_to_save");
  }
  const auto patterns = [&](const char* key) {
    const auto found = config.find(key);
    const bool is_numbers =
        found != config.end() && found->is_object() &&
        std::all_of(found->begin(), found->end(), [](const auto& v) { return v.is_number(); });
    return is_numbers ? SitePatterns::from_object(*found, support::cat(file, ": ", key)) : SitePatterns();
  };
  fields.rank_pattern = patterns("rank_pattern");
  fields.alpha_pattern = patterns("alpha_pattern");
  return fields;
}

void write_patterns(nlohmann::json& config, const std::vector<const AdaptedSite*>& sites) {
  const auto add = [&](const char* field, const std::string& key, const nlohmann::json& value) {
    if (!config.contains(field) || !config[field].contains(key)) config[field][key] = value;
  };
  for (const AdaptedSite* site : sites) {
    const auto key = support::cat('^', quote_pattern(site->name));
    if (site->view.rank > 0) add("rank_pattern", key, site->view.rank);
    if (site->view.alpha > 0.0) add("alpha_pattern", key, site->view.alpha);
  }
}

}  // namespace graft::adapt
