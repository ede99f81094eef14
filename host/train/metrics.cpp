// SPDX-License-Identifier: Apache-2.0
#include "train/metrics.h"

#include <algorithm>
#include <cmath>
#include <sstream>
#include <string_view>

#include "support/error.h"
#include "support/files.h"
#include "support/strings.h"

namespace graft::train {

bool is_measured_metric(const std::string& name) {
  return name == "step_time" || name.starts_with("time/") || name.starts_with("speed/") ||
         name.starts_with("memory/");
}

namespace {

constexpr std::string_view kLastOfWindow[] = {"step",      "num_tokens", "learning_rate",
                                              "grad_norm", "epoch",      "samples_skipped"};

bool is_last_of_window(const std::string& name) {
  return std::find(std::begin(kLastOfWindow), std::end(kLastOfWindow), name) != std::end(kLastOfWindow);
}

}  // namespace

MetricsWindow::Entry& MetricsWindow::entry(const std::string& name) {
  const auto found =
      std::find_if(entries_.begin(), entries_.end(), [&](const Entry& e) { return e.name == name; });
  if (found != entries_.end()) return *found;
  return entries_.emplace_back(Entry{name, nullptr, 0.0, 0});
}

void MetricsWindow::add(const nlohmann::ordered_json& row) {
  for (const auto& [name, value] : row.items()) {
    Entry& metric = entry(name);
    if (!value.is_number()) continue;
    const double number = value.get<double>();
    if (std::isnan(number)) continue;
    metric.last = value;
    metric.sum += number;
    ++metric.count;
  }
}

nlohmann::ordered_json MetricsWindow::take() {
  nlohmann::ordered_json row = nlohmann::ordered_json::object();
  for (const Entry& metric : entries_) {
    if (metric.count == 0) {
      row[metric.name] = nullptr;
    } else if (is_last_of_window(metric.name)) {
      row[metric.name] = metric.last;
    } else {
      row[metric.name] = metric.sum / static_cast<double>(metric.count);
    }
  }
  entries_.clear();
  return row;
}

nlohmann::ordered_json MetricsWindow::to_json() const {
  nlohmann::ordered_json json = nlohmann::ordered_json::array();
  for (const Entry& metric : entries_) json.push_back({metric.name, metric.last, metric.sum, metric.count});
  return json;
}

MetricsWindow MetricsWindow::from_json(const nlohmann::ordered_json& json) {
  MetricsWindow window;
  const auto is_entry = [](const nlohmann::ordered_json& entry) {
    return entry.is_array() && entry.size() == 4 && entry[0].is_string() &&
           (entry[1].is_number() || entry[1].is_null()) && entry[2].is_number() &&
           entry[3].is_number_integer();
  };
  if (!json.is_array() || !std::all_of(json.begin(), json.end(), is_entry)) {
    throw support::UserError(
        "the metrics since the last logged row are damaged in the checkpoint; resume from another one");
  }
  for (const auto& entry : json) {
    window.entries_.push_back(
        {entry[0].get<std::string>(), entry[1], entry[2].get<double>(), entry[3].get<std::int64_t>()});
  }
  return window;
}

MetricsFile::MetricsFile(const std::filesystem::path& file, std::int64_t last_step) : file_(file) {
  std::string kept;
  if (last_step > 0 && std::filesystem::exists(file)) {
    std::istringstream lines(support::read_file(file));
    for (std::string line; std::getline(lines, line);) {
      const auto row = nlohmann::json::parse(line, nullptr, false);
      // A line cut by a crash does not parse; it belongs to a step after the checkpoint.
      if (row.is_discarded() || !row.contains("step") || row["step"].get<std::int64_t>() > last_step)
        continue;
      kept += line + '\n';
    }
  }
  support::write_file_atomic(file, kept);
  stream_.open(file, std::ios::app);
  if (!stream_)
    throw support::UserError(support::cat("cannot open ", file, " for writing; check output_dir"));
}

void MetricsFile::write(const nlohmann::ordered_json& row) {
  stream_ << row.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) << '\n' << std::flush;
  if (!stream_) throw support::UserError(support::cat("cannot write to ", file_, "; is the disk full?"));
}

}  // namespace graft::train
