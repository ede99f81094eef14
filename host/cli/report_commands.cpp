// SPDX-License-Identifier: Apache-2.0
// report compare, report boxes: evaluations side by side.
#include <iostream>
#include <memory>

#include "cli/commands.h"
#include "report/comparison.h"
#include "support/error.h"
#include "support/log.h"
#include "support/strings.h"

namespace graft::cli {

namespace {

struct CompareOptions {
  std::vector<std::string> directories, titles;
};

void run_compare(const CompareOptions& options) {
  std::vector<std::filesystem::path> files;
  for (const std::string& directory : options.directories) {
    files.push_back(std::filesystem::path(directory) / "summary.json");
  }
  const auto& titles = options.titles.empty() ? options.directories : options.titles;
  if (titles.size() != files.size()) {
    throw support::UserError(
        support::cat("--titles names ", titles.size(), " columns for ", files.size(), " evaluations"));
  }
  std::cout << report::compare_summaries(files, titles);
}

}  // namespace

void add_report_commands(CLI::App& app) {
  CLI::App* report = app.add_subcommand("report", "Evaluations side by side")->require_subcommand(1);
  auto compare_options = std::make_shared<CompareOptions>();
  CLI::App* compare = report->add_subcommand("compare", "A table of the summaries of evaluations");
  compare->add_option("directories", compare_options->directories, "output_dir of each graft eval")
      ->required();
  compare->add_option("--titles", compare_options->titles, "column titles, one each");
  compare->callback([compare_options] { run_compare(*compare_options); });

  struct BoxesOptions {
    std::string before, after, out;
    std::size_t count = 3;
  };
  auto boxes_options = std::make_shared<BoxesOptions>();
  CLI::App* boxes =
      report->add_subcommand("boxes", "A picture of the boxes of two evaluations, before above after");
  boxes->add_option("before", boxes_options->before, "output_dir of the first graft eval")->required();
  boxes->add_option("after", boxes_options->after, "output_dir of the second graft eval")->required();
  boxes->add_option("--out", boxes_options->out, "PNG file to write")->required();
  boxes->add_option("--count", boxes_options->count, "images")
      ->capture_default_str()
      ->check(CLI::Range(1, 16));
  boxes->callback([boxes_options] {
    const std::filesystem::path before = boxes_options->before, after = boxes_options->after;
    report::draw_comparison(before / "samples.jsonl", after / "samples.jsonl", boxes_options->count,
                            boxes_options->out);
    support::log_info(support::cat("picture written to ", boxes_options->out));
  });
}

}  // namespace graft::cli
