// SPDX-License-Identifier: Apache-2.0
// Training named layers of the base model, or its last decoder layers, as they are. The host saves the whole model.
#include <graft/sdk/peft.hpp>

#include <algorithm>
#include <charconv>
#include <numeric>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace {

// "model.layers.3.mlp" of "model.layers.3.mlp.down_proj": what holds it; nothing at the top.
std::string_view holder(std::string_view path) {
  const auto dot = path.rfind('.');
  return dot == std::string_view::npos ? std::string_view() : path.substr(0, dot);
}

std::string_view last_part(std::string_view path) {
  return path.substr(path.rfind('.') + 1);
}

// The module is `entry`, or ends with it after a dot.
bool fits(std::string_view module, std::string_view entry) {
  if (module.size() < entry.size() || module.substr(module.size() - entry.size()) != entry) return false;
  return module.size() == entry.size() || module[module.size() - entry.size() - 1] == '.';
}

bool is_held(std::string_view param, std::string_view entry) {
  for (auto module = holder(param); !module.empty(); module = holder(module)) {
    if (fits(module, entry)) return true;
  }
  return false;
}

// 3 for "model.layers.3.mlp.down_proj.weight": the first number; -1 without one.
std::int64_t layer_of(std::string_view name) {
  while (!name.empty()) {
    const auto part = name.substr(0, name.find('.'));
    std::int64_t index = -1;
    const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), index);
    if (error == std::errc() && end == part.data() + part.size()) return index;
    name.remove_prefix(std::min(part.size() + 1, name.size()));
  }
  return -1;
}

std::size_t edits(std::string_view a, std::string_view b) {  // Levenshtein's distance
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i + 1);
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t replaced = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = std::exchange(row[j + 1], std::min({row[j] + 1, row[j + 1] + 1, replaced}));
    }
  }
  return row.back();
}

[[noreturn]] void refuse(const std::string& text) {
  throw graft::Error(GRAFT_E_INVALID_ARGUMENT, text);
}

// Fails for a name that no selected parameter has.
[[noreturn]] void refuse_name(const std::string& entry, const std::vector<graft::BaseParam>& params) {
  std::set<std::string> names;
  for (const auto& param : params) {
    if (is_held(param.name(), entry)) {
      refuse("modules: \"" + entry + "\" names modules outside of the selection, such as " +
             std::string(holder(param.name())) + "; widen peft.components or peft.target_modules");
    }
    for (auto module = holder(param.name()); param.is_selected() && !module.empty(); module = holder(module))
      names.emplace(last_part(module));
  }
  if (names.empty()) refuse("peft.components and peft.target_modules select no parameter");
  const auto word = last_part(entry);
  const auto nearest = std::min_element(names.begin(), names.end(), [&](const auto& a, const auto& b) {
    return edits(word, a) < edits(word, b);
  });
  refuse("modules: \"" + entry + "\" names no module of this model; the nearest is \"" + *nearest +
         "\", expected a module's name or its end");
}

struct Layers : graft::Peft {
  static constexpr auto name = "layers";
  static constexpr auto summary = "trains named layers of the base model, or its last decoder layers";

  static graft::Schema params() {
    return graft::Schema()
        .strings("modules", {},
                 "modules that are trained, with everything in them, by names and name endings")
        .integer("last", 0, "how many of the decoder's layers are trained, from the last one back")
        .minimum(0);
  }

  explicit Layers(const graft::Params& params)
      : modules_(params.strings("modules")), last_(params.integer("last")) {}

  std::vector<bool> plan_base(const std::vector<graft::BaseParam>& params) override {
    if (modules_.empty() && last_ == 0) refuse("modules and last are not set, so nothing would be trained");
    const auto first = first_layer(params);
    std::vector<bool> trained;
    std::set<std::string> found;
    for (const auto& param : params) {
      bool is_trained = is_decoder(param) && first >= 0 && layer_of(param.name()) >= first;
      for (const auto& entry : modules_) {
        if (!param.is_selected() || !is_held(param.name(), entry)) continue;
        is_trained = true;
        found.insert(entry);
      }
      trained.push_back(is_trained);
    }
    for (const auto& entry : modules_) {
      if (found.count(entry) == 0) refuse_name(entry, params);
    }
    return trained;
  }

 private:
  static bool is_decoder(const graft::BaseParam& param) {
    return param.component() == GRAFT_COMPONENT_LANGUAGE && param.is_selected() &&
           layer_of(param.name()) >= 0;
  }

  // Index of the first decoder layer that `last` covers; -1 if it is not set.
  [[nodiscard]] std::int64_t first_layer(const std::vector<graft::BaseParam>& params) const {
    if (last_ == 0) return -1;
    std::set<std::int64_t> layers;
    for (const auto& param : params) {
      if (is_decoder(param)) layers.insert(layer_of(param.name()));
    }
    const auto n = static_cast<std::int64_t>(layers.size());
    if (last_ > n) {
      refuse("last is " + std::to_string(last_) + ", but " + std::to_string(n) +
             " decoder layers are selected by peft.components and peft.target_modules");
    }
    return *std::next(layers.begin(), static_cast<std::ptrdiff_t>(n - last_));
  }

  std::vector<std::string> modules_;
  std::int64_t last_;
};

}  // namespace

GRAFT_PLUGIN(Layers);
