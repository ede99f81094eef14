// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "adapt/plan.h"
#include "support/strings.h"

namespace graft::adapt {
namespace {

// Layers of one component that share their last name.
struct Row {
  std::set<std::string> layers;
  std::set<std::string> shapes;
  std::int64_t trained = 0;
};

// 1234567 -> "1,234,567"
std::string grouped(std::int64_t number) {
  std::string digits = std::to_string(number);
  for (auto at = static_cast<std::int64_t>(digits.size()) - 3; at > 0; at -= 3)
    digits.insert(static_cast<std::size_t>(at), ",");
  return digits;
}

std::string render(const std::vector<std::vector<std::string>>& table) {
  std::vector<std::size_t> widths(table.front().size(), 0);
  for (const auto& row : table) {
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string out;
  for (const auto& row : table) {
    for (std::size_t i = 0; i < row.size(); ++i) {
      const std::string padding(widths[i] - row[i].size(), ' ');
      const bool is_number = i >= 2 && i + 2 != row.size();  // the shape column is text
      out += support::cat("  ", is_number ? padding : "", row[i],
                          is_number || i + 1 == row.size() ? "" : padding);
    }
    out += '\n';
  }
  return out;
}

}  // namespace

std::string summarize(const Strategy& strategy, const Plan& plan, const std::vector<model::Site>& sites,
                      const std::vector<model::Param>& params) {
  std::map<std::pair<std::int32_t, std::string>, Row> rows;
  std::int64_t trained = 0, total = 0;
  for (const auto& param : params) total += param.tied_to >= 0 ? 0 : param.tensor.numel();
  for (const auto& tensor : plan.tensors) {
    if (!tensor.is_base) total += tensor.tensor.numel();
    if (tensor.is_trained) trained += tensor.tensor.numel();
    const auto layer =
        tensor.site >= 0 ? sites[static_cast<std::size_t>(tensor.site)].name : module_of(tensor.name);
    auto& row = rows[{tensor.component, layer.substr(layer.rfind('.') + 1)}];
    row.layers.insert(layer);
    if (tensor.site >= 0) {
      const auto& site = sites[static_cast<std::size_t>(tensor.site)];
      row.shapes.insert(support::cat(site.in_features, " -> ", site.out_features));
    }
    row.trained += tensor.is_trained ? tensor.tensor.numel() : 0;
  }
  std::vector<std::vector<std::string>> table = {{"component", "layer", "count", "in -> out", "trained"}};
  for (const auto& [key, row] : rows) {
    table.push_back({component_name(key.first), key.second,
                     grouped(static_cast<std::int64_t>(row.layers.size())),
                     row.shapes.size() > 1 ? "various"
                     : row.shapes.empty()  ? ""
                                           : *row.shapes.begin(),
                     grouped(row.trained)});
  }
  const auto percent = support::fixed(100.0 * static_cast<double>(trained) / static_cast<double>(total), 4);
  const auto& given = strategy.params();
  return support::cat(strategy.name(), given.empty() ? "" : " " + given.dump(), ": ", plan.sites.size(),
                      " of ", sites.size(), " linear layers adapted\n", render(table),
                      "  trained parameters ", grouped(trained), " of ", grouped(total), " (", percent,
                      " %)\n");
}

}  // namespace graft::adapt
