// SPDX-License-Identifier: Apache-2.0
#include "support/progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "support/log.h"
#include "support/strings.h"

namespace graft::support {

namespace {

constexpr std::int64_t kBarWidth = 20;

std::size_t terminal_columns() {
  winsize size{};
  if (::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  return 80;
}

std::string bar_text(std::int64_t step, std::int64_t total) {
  const std::int64_t filled = std::clamp<std::int64_t>(step * kBarWidth / total, 0, kBarWidth);
  return cat(" [", std::string(static_cast<std::size_t>(filled), '#'),
             std::string(static_cast<std::size_t>(kBarWidth - filled), '-'), ']');
}

}  // namespace

std::string progress_line(const std::string& label, std::int64_t step, std::int64_t total, bool bar,
                          const std::vector<ProgressField>& fields, double remaining_seconds,
                          std::size_t columns) {
  std::string line = cat(label, ' ', step);
  if (total > 0) line += cat('/', total);
  if (total > 0 && bar) line += bar_text(step, total);
  std::vector<std::string> parts;
  for (const auto& [name, value] : fields) parts.push_back(cat(name, ' ', value));
  if (remaining_seconds >= 0) parts.push_back(cat("ETA ", human_duration(remaining_seconds)));
  for (const std::string& part : parts) line += cat("  ", part);
  if (columns > 0 && line.size() >= columns)
    line.resize(columns - 1);  // a wrapped line could not be rewritten
  return line;
}

Progress::Progress(std::string label, std::int64_t total, Options options)
    : label_(std::move(label)),
      total_(total),
      options_(options),
      terminal_(stderr_is_terminal()),
      begin_(std::chrono::steady_clock::now()) {
  options_.plain_every = std::max<std::int64_t>(options_.plain_every, 1);
}

Progress::~Progress() {
  finish();
}

double Progress::remaining_seconds(std::int64_t step, double elapsed_seconds) const {
  const std::int64_t done = step - options_.start;
  if (total_ <= 0 || done <= 0) return -1.0;
  return elapsed_seconds / static_cast<double>(done) *
         static_cast<double>(std::max<std::int64_t>(total_ - step, 0));
}

void Progress::update(std::int64_t step, const std::vector<ProgressField>& fields) {
  if (finished_) return;
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - begin_;
  const double remaining = remaining_seconds(step, elapsed.count());
  last_line_ =
      progress_line(label_, step, total_, terminal_, fields, remaining, terminal_ ? terminal_columns() : 0);
  if (terminal_) {
    set_status_line(last_line_);
    return;
  }
  if (step % options_.plain_every == 0 || step == total_) {
    log_info(last_line_);
    last_line_.clear();  // finish() shows the last state if it was not shown here
  }
}

void Progress::finish() {
  if (finished_) return;
  finished_ = true;
  if (last_line_.empty()) return;
  if (!terminal_) {
    log_info(last_line_);
    return;
  }
  set_status_line("");
  std::fprintf(stderr, "%s\n", last_line_.c_str());
}

}  // namespace graft::support
