// SPDX-License-Identifier: Apache-2.0
#include "report/comparison.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>

#include "image/draw.h"
#include "image/image.h"
#include "report/boxes.h"
#include "support/error.h"
#include "support/files.h"
#include "support/strings.h"

namespace graft::report {

using support::cat;

namespace {

nlohmann::ordered_json read_summary(const std::filesystem::path& file) {
  auto summary = nlohmann::ordered_json::parse(support::read_file(file), nullptr, false);
  if (!summary.is_object()) {
    throw support::UserError(cat(file, " is not a summary; expected summary.json of graft eval"));
  }
  return summary;
}

std::string padded(std::string text, std::size_t width, bool left) {
  if (text.size() < width) text.insert(left ? text.size() : 0, width - text.size(), ' ');
  return text;
}

std::string number_text(const nlohmann::ordered_json& value) {
  if (value.is_number_integer()) return cat(value.get<std::int64_t>());
  return value.is_number() ? support::fixed(value.get<double>(), 4) : std::string("-");
}

std::string table_text(const std::vector<std::vector<std::string>>& rows) {
  std::vector<std::size_t> widths(rows.front().size(), 0);
  for (const auto& row : rows) {
    for (std::size_t c = 0; c < row.size(); ++c) widths[c] = std::max(widths[c], row[c].size());
  }
  std::string text;
  for (const auto& row : rows) {
    for (std::size_t c = 0; c < row.size(); ++c)
      text += (c == 0 ? "" : "  ") + padded(row[c], widths[c], c == 0);
    text += '\n';
  }
  return text;
}

}  // namespace

std::string compare_summaries(const std::vector<std::filesystem::path>& files,
                              const std::vector<std::string>& titles) {
  std::vector<nlohmann::ordered_json> summaries;
  for (const auto& file : files) summaries.push_back(read_summary(file));
  std::vector<std::vector<std::string>> rows(1, {"metric"});
  rows[0].insert(rows[0].end(), titles.begin(), titles.end());
  const bool with_difference = summaries.size() == 2;
  if (with_difference) rows[0].push_back("change");
  for (const auto& [name, first] : summaries.front().items()) {
    std::vector<std::string> row = {name};
    for (const auto& summary : summaries)
      row.push_back(summary.contains(name) ? number_text(summary[name]) : "-");
    if (with_difference) {
      const auto& second = summaries[1].value(name, nlohmann::ordered_json(nullptr));
      const bool both = first.is_number() && second.is_number();
      const double change = both ? second.get<double>() - first.get<double>() : 0.0;
      row.push_back(both ? cat(change >= 0 ? "+" : "", support::fixed(change, 4)) : "-");
    }
    rows.push_back(std::move(row));
  }
  return table_text(rows);
}

namespace {

struct Sample {
  std::filesystem::path image;
  std::string question;
  std::optional<Corners> reference, box;  // original pixels
  double iou = 0.0;
};

// By id, in file order.
std::vector<std::pair<std::string, Sample>> read_samples(const std::filesystem::path& file) {
  std::vector<std::pair<std::string, Sample>> samples;
  std::istringstream lines(support::read_file(file));
  std::int64_t number = 0;
  for (std::string line; std::getline(lines, line);) {
    ++number;
    const auto row = nlohmann::json::parse(line, nullptr, false);
    if (!row.is_object() || !row.contains("images") || row["images"].empty() || !row.contains("scores") ||
        !row["scores"].contains("iou") || !row.contains("image_sizes")) {
      throw support::UserError(cat(file, ":", number,
                                   " is not a sample with an image and an iou score; expected samples.jsonl "
                                   "of graft eval with --reward_funcs iou"));
    }
    Sample sample;
    sample.image = row["images"][0].get<std::string>();
    sample.question = row.value("question", "");
    sample.reference = last_box(row.value("solution", ""));
    sample.box = last_box(row.value("completion", ""));
    const auto original = row["image_sizes"][0].get<std::vector<double>>();
    const auto processed = row["processed_sizes"][0].get<std::vector<double>>();
    if (sample.box) {
      for (std::size_t i = 0; i < 4; ++i) (*sample.box)[i] *= original[i % 2] / processed[i % 2];
    }
    sample.iou = row["scores"]["iou"].is_number() ? row["scores"]["iou"].get<double>() : 0.0;
    samples.emplace_back(row.value("id", ""), std::move(sample));
  }
  return samples;
}

constexpr std::int64_t kPanel = 336;  // pixels of an enlarged image's longer side
constexpr image::Color kReference{40, 160, 60}, kAnswer{220, 40, 160}, kText{30, 30, 30},
    kPaper{255, 255, 255};

image::Image enlarged(const image::Image& source, std::int64_t factor) {
  image::Image result = image::blank_image(source.width * factor, source.height * factor);
  for (std::int64_t y = 0; y < result.height; ++y) {
    for (std::int64_t x = 0; x < result.width; ++x) {
      for (std::int64_t c = 0; c < 3; ++c) {
        result.rgb[static_cast<std::size_t>((y * result.width + x) * 3 + c)] =
            source.rgb[static_cast<std::size_t>((y / factor * source.width + x / factor) * 3 + c)];
      }
    }
  }
  return result;
}

image::Box scaled(const Corners& box, std::int64_t factor) {
  const auto at = [&](std::size_t i) {
    return std::llround(std::clamp(box[i], -4096.0, 4096.0) * static_cast<double>(factor));
  };
  return {at(0), at(1), at(2), at(3)};
}

// The image with the reference box and the answer's, under a caption.
image::Image panel(const Sample& sample, const std::string& title) {
  const image::Image source = image::load_image(sample.image);
  const std::int64_t factor = std::max<std::int64_t>(1, kPanel / std::max(source.width, source.height));
  image::Image picture = enlarged(source, factor);
  if (sample.reference) image::draw_box(picture, scaled(*sample.reference, factor), kReference, 2);
  if (sample.box) image::draw_box(picture, scaled(*sample.box, factor), kAnswer, 2);
  constexpr std::int64_t kCaption = 24;
  image::Image result = image::blank_image(picture.width, picture.height + kCaption, kPaper);
  image::draw_text(result, {4, 6}, cat(title, ": IoU ", support::fixed(sample.iou, 2)), kText, 2);
  image::paste(result, picture, {0, kCaption});
  return result;
}

}  // namespace

void draw_comparison(const std::filesystem::path& before, const std::filesystem::path& after,
                     std::size_t count, const std::filesystem::path& png) {
  const auto first = read_samples(before);
  std::map<std::string, Sample> second;
  for (auto& [id, sample] : read_samples(after)) second.emplace(id, std::move(sample));
  std::vector<std::pair<Sample, Sample>> pairs;
  for (const auto& [id, sample] : first) {
    if (const auto match = second.find(id); match != second.end()) pairs.emplace_back(sample, match->second);
  }
  if (pairs.empty()) throw support::UserError(cat(before, " and ", after, " have no sample id in common"));
  std::stable_sort(pairs.begin(), pairs.end(), [](const auto& a, const auto& b) {
    return a.second.iou - a.first.iou > b.second.iou - b.first.iou;
  });
  // Spread evenly over the order rather than its lucky end.
  count = std::min(count, pairs.size());
  std::vector<image::Image> columns;
  for (std::size_t k = 0; k < count; ++k) {
    const std::size_t i = (2 * k + 1) * pairs.size() / (2 * count);
    const image::Image top = panel(pairs[i].first, "before"), bottom = panel(pairs[i].second, "after");
    image::Image column =
        image::blank_image(std::max(top.width, bottom.width), top.height + bottom.height + 8, kPaper);
    image::paste(column, top, {0, 0});
    image::paste(column, bottom, {0, top.height + 8});
    columns.push_back(std::move(column));
  }
  image::save_png(png, image::hconcat(columns, 8, kPaper));
}

}  // namespace graft::report
