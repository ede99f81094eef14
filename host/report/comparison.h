// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace graft::report {

// The summaries of evaluations (summary.json of `graft eval`) side by side, as a table for a terminal: a row a metric, a column
// a file, and with two columns the difference. UserError for a file that is not such a summary.
[[nodiscard]] std::string compare_summaries(const std::vector<std::filesystem::path>& files,
                                            const std::vector<std::string>& titles);

// A picture of `count` samples that both evaluations (samples.jsonl of `graft eval`) answered, before above after: each image
// enlarged, the reference box green, the answer's box magenta, with its IoU. The samples are spread evenly over the
// order of gain. Answers are read as pixels of the processed image.
void draw_comparison(const std::filesystem::path& before, const std::filesystem::path& after,
                     std::size_t count, const std::filesystem::path& png);

}  // namespace graft::report
