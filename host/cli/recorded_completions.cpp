// SPDX-License-Identifier: Apache-2.0
#include "cli/recorded_completions.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "cli/jsonl_stream.h"
#include "support/error.h"
#include "support/strings.h"

namespace graft::cli {

using support::cat;

namespace {

// "image_size": [w, h] or a list of such pairs, one an image.
std::vector<std::pair<std::int64_t, std::int64_t>> size_members(const nlohmann::json& row,
                                                                const std::string& key) {
  std::vector<std::pair<std::int64_t, std::int64_t>> sizes;
  if (!row.contains(key) || row[key].is_null()) return sizes;
  const nlohmann::json& value = row[key];
  const auto is_pair = [](const nlohmann::json& v) {
    return v.is_array() && v.size() == 2 && v[0].is_number_integer() && v[1].is_number_integer();
  };
  const nlohmann::json list = is_pair(value) ? nlohmann::json::array({value}) : value;
  if (!list.is_array())
    throw support::UserError(cat("\"", key, "\" has to be [width, height] or a list of such pairs"));
  for (const nlohmann::json& pair : list) {
    if (!is_pair(pair))
      throw support::UserError(cat("\"", key, "\" has to be [width, height] or a list of such pairs"));
    sizes.emplace_back(pair[0].get<std::int64_t>(), pair[1].get<std::int64_t>());
  }
  return sizes;
}

std::string group_key(const nlohmann::json& row, std::size_t index) {
  const std::string step = row.contains("step") ? row["step"].dump() : "";
  for (const char* name : {"group", "id", "prompt"}) {
    if (row.contains(name) && !row[name].is_null()) return cat(step, ' ', name, ' ', row[name].dump());
  }
  return cat("row ", index);
}

}  // namespace

void RecordedCompletions::add(const nlohmann::json& row) {
  Row kept;
  kept.prompt = text_member(row, "prompt", "");
  kept.completion = text_member(row, "completion");
  kept.raw = text_member(row, "completion_raw", kept.completion);
  kept.solution = text_member(row, "solution", "");
  kept.record = row.dump();
  const auto original = size_members(row, "image_size"), processed = size_members(row, "processed_size");
  for (std::size_t i = 0; i < original.size(); ++i) {
    rewards::ImageSize size{original[i].first, original[i].second, 0, 0};
    if (i < processed.size()) std::tie(size.processed_width, size.processed_height) = processed[i];
    kept.images.push_back(size);
  }
  if (row.contains("token_ids")) kept.token_ids = row["token_ids"].get<std::vector<std::int64_t>>();
  if (row.contains("finished")) {
    if (!row["finished"].is_boolean()) throw support::UserError("\"finished\" has to be true or false");
    kept.is_finished = row["finished"].get<bool>();
  }
  kept.group = groups_.try_emplace(group_key(row, rows_.size()), groups_.size()).first->second;
  rows_.push_back(std::move(kept));
}

std::vector<rewards::Item> RecordedCompletions::items() const {
  std::vector<rewards::Item> items;
  for (const Row& row : rows_) {
    rewards::Item item;
    item.prompt = row.prompt;
    item.completion = row.completion;
    item.completion_raw = row.raw;
    item.solution = row.solution;
    item.sample_json = row.record;
    item.token_ids = row.token_ids;
    item.images = row.images;
    item.is_finished = row.is_finished;
    item.group = row.group;
    items.push_back(std::move(item));
  }
  std::stable_sort(items.begin(), items.end(),
                   [](const rewards::Item& a, const rewards::Item& b) { return a.group < b.group; });
  return items;
}

}  // namespace graft::cli
