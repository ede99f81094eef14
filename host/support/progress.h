// SPDX-License-Identifier: Apache-2.0
// Progress of a run on stderr: one line that rewrites itself on a terminal, a plain line now and then
// elsewhere.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace graft::support {

// One number to show, already formatted: {"reward", "0.512"}.
using ProgressField = std::pair<std::string, std::string>;

// Used by one thread. The last state stays on the screen when the object dies.
class Progress {
 public:
  struct Options {
    std::int64_t start = 0;         // steps done before this process (a resumed run)
    std::int64_t plain_every = 10;  // not a terminal: a line every so many steps, the last one always
  };

  // `label` names the activity ("train"); `total` is the number of steps, 0 if unknown.
  Progress(std::string label, std::int64_t total, Options options);
  Progress(std::string label, std::int64_t total) : Progress(std::move(label), total, Options{}) {}
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // Shows that `step` steps of `total` are done.
  void update(std::int64_t step, const std::vector<ProgressField>& fields);

  // Ends the display; later calls do nothing.
  void finish();

  // Seconds left, estimated from the pace of this process; negative if not known yet.
  double remaining_seconds(std::int64_t step, double elapsed_seconds) const;

 private:
  std::string label_;
  std::int64_t total_;
  Options options_;
  bool terminal_;
  bool finished_ = false;
  std::string last_line_;
  std::chrono::steady_clock::time_point begin_;
};

// The line itself, without colours: `train  12/100 [###-----------------]  reward 0.51 · loss 0.02 · ETA 3m
// 05s`. `columns` limits its width (bytes, 0 = no limit) and drops the bar when `total` is 0.
std::string progress_line(const std::string& label, std::int64_t step, std::int64_t total, bool bar,
                          const std::vector<ProgressField>& fields, double remaining_seconds,
                          std::size_t columns);

}  // namespace graft::support
