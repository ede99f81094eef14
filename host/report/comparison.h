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

// A picture of the first `count` samples that both evaluations (samples.jsonl of `graft eval`) answered and whose boxes
// differ most in IoU: each image enlarged, with the reference box and the boxes before and after, and their IoU. Boxes are
// read from the completions' last four numbers in brackets, in the pixels of the processed image, and drawn over the image file.
void draw_comparison(const std::filesystem::path& before, const std::filesystem::path& after, std::size_t count,
                     const std::filesystem::path& png);

}  // namespace graft::report
