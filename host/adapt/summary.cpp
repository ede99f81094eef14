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
  std::set<double> ranks, alphas;
  std::int64_t trained = 0;
};

// 1234567 -> "1,234,567"
std::string grouped(std::int64_t number) {
  std::string digits = std::to_string(number);
  for (auto at = static_cast<std::int64_t>(digits.size()) - 3; at > 0; at -= 3)
    digits.insert(static_cast<std::size_t>(at), ",");
  return digits;
}

struct Column {
  std::string title;
  bool is_number;
  std::vector<std::string> cells;
};

std::string render(const std::vector<Column>& columns) {
  std::vector<std::string> lines(columns.front().cells.size() + 1);
  for (const Column& column : columns) {
    std::size_t width = column.title.size();
    for (const auto& cell : column.cells) width = std::max(width, cell.size());
    for (std::size_t i = 0; i < lines.size(); ++i) {
      const std::string& cell = i == 0 ? column.title : column.cells[i - 1];
      const std::string padding(width - cell.size(), ' ');
      lines[i] += support::cat("  ", column.is_number ? padding : "", cell, column.is_number ? "" : padding);
    }
  }
  std::string out;
  for (const auto& line : lines) out += line.substr(0, line.find_last_not_of(' ') + 1) + '\n';
  return out;
}

// "8", or "4 - 16" for several values.
std::string range(const std::set<double>& values) {
  if (values.empty()) return {};
  const auto first = support::cat(*values.begin()), last = support::cat(*values.rbegin());
  return values.size() == 1 ? first : support::cat(first, " - ", last);
}

// A site's value of the user's patterns, else the strategy's own parameter of that name.
void add_value(std::set<double>& values, double of_site, const nlohmann::json& params, const char* name) {
  if (of_site > 0.0) {
    values.insert(of_site);
  } else if (params.contains(name) && params[name].is_number()) {
    values.insert(params[name].get<double>());
  }
}

using Rows = std::map<std::pair<std::int32_t, std::string>, Row>;

Rows collect_rows(const Strategy& strategy, const Plan& plan, const std::vector<model::Site>& sites) {
  Rows rows;
  std::map<std::int64_t, const AdaptedSite*> adapted;
  if (plan.hook) {
    for (const AdaptedSite* site : plan.hook->adapted()) adapted[site->index] = site;
  }
  for (const auto& tensor : plan.tensors) {
    const auto layer = tensor.site >= 0 && !tensor.is_base ? sites[static_cast<std::size_t>(tensor.site)].name
                                                           : module_of(tensor.name);
    auto& row = rows[{tensor.component,
                      layer.substr(layer.rfind('.') + 1) + (tensor.is_copy ? " (whole copy)" : "")}];
    row.layers.insert(layer);
    row.trained += tensor.is_trained ? tensor.tensor.numel() : 0;
    if (tensor.site < 0) continue;
    const auto& site = sites[static_cast<std::size_t>(tensor.site)];
    row.shapes.insert(support::cat(site.in_features, " -> ", site.out_features));
    const auto own = adapted.find(tensor.site);
    if (own == adapted.end() || tensor.is_base) continue;
    add_value(row.ranks, static_cast<double>(own->second->view.rank), strategy.params(), "r");
    add_value(row.alphas, own->second->view.alpha, strategy.params(), "alpha");
  }
  return rows;
}

std::string table_of(const Strategy& strategy, const Rows& rows, std::int64_t trained) {
  Column component{"component", false, {}}, layer{"layer", false, {}}, count{"count", true, {}},
      shape{"in -> out", false, {}}, rank{"rank", true, {}}, alpha{"alpha", true, {}},
      parameters{"trained", true, {}};
  std::int64_t layers = 0;
  for (const auto& [key, row] : rows) {
    component.cells.push_back(component_name(key.first));
    layer.cells.push_back(key.second.empty() ? "(whole model)" : key.second);
    count.cells.push_back(grouped(static_cast<std::int64_t>(row.layers.size())));
    shape.cells.push_back(row.shapes.size() > 1 ? "various" : row.shapes.empty() ? "" : *row.shapes.begin());
    rank.cells.push_back(range(row.ranks));
    alpha.cells.push_back(range(row.alphas));
    parameters.cells.push_back(grouped(row.trained));
    layers += static_cast<std::int64_t>(row.layers.size());
  }
  component.cells.emplace_back("total");
  for (Column* column : {&layer, &shape, &rank, &alpha}) column->cells.emplace_back();
  count.cells.push_back(grouped(layers));
  parameters.cells.push_back(grouped(trained));
  std::vector<Column> columns = {component, layer, count, shape};
  if (strategy.takes_rank()) columns.push_back(rank);
  if (strategy.takes_alpha()) columns.push_back(alpha);
  columns.push_back(parameters);
  return render(columns);
}

}  // namespace

std::string summarize(const Strategy& strategy, const Plan& plan, const std::vector<model::Site>& sites,
                      const std::vector<model::Param>& params) {
  std::int64_t trained = 0, total = 0;
  for (const auto& param : params) total += param.tied_to >= 0 ? 0 : param.tensor.numel();
  for (const auto& tensor : plan.tensors) {
    if (!tensor.is_base || tensor.is_copy) total += tensor.tensor.numel();
    if (tensor.is_trained) trained += tensor.tensor.numel();
  }
  const auto percent = support::fixed(100.0 * static_cast<double>(trained) / static_cast<double>(total), 4);
  const auto& given = strategy.params();
  return support::cat(
      strategy.name(), given.empty() ? "" : " " + given.dump(), ": ", plan.sites.size(), " of ", sites.size(),
      " linear layers adapted\n", table_of(strategy, collect_rows(strategy, plan, sites), trained),
      "  trained parameters ", grouped(trained), " of ", grouped(total), " (", percent, " %)\n");
}

}  // namespace graft::adapt
