// SPDX-License-Identifier: Apache-2.0
#include "train/metrics.h"

#include <sstream>

#include "support/error.h"
#include "support/files.h"
#include "support/strings.h"

namespace graft::train {

bool is_measured_metric(const std::string& name) {
  return name == "step_time" || name.starts_with("time/") || name.starts_with("speed/") ||
         name.starts_with("memory/");
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
