// SPDX-License-Identifier: Apache-2.0
#include "rewards/report.h"

#include <graft/reward.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <map>

#include "rewards/mismatches.h"
#include "support/strings.h"

namespace graft::rewards {

namespace {

using support::cat;
using support::fixed;

constexpr double kSameReward = 1e-8;  // a smaller spread is none (torch.isclose with 0)

// The solutions of the items in place of their completions, so that the rewards tell where the reference boxes are.
Scores observe_solutions(const RewardSet& rewards, std::span<const Item> items) {
  std::vector<Item> solutions(items.begin(), items.end());
  for (Item& item : solutions) item.completion = item.completion_raw = item.solution;
  return rewards.score(solutions, 0, /*observe=*/true);
}

// What some reward saw in an item, this one first.
const Observation* observation_of(const Scores& scores, std::size_t item, std::size_t reward) {
  const auto& of_item = scores.observations[item];
  if (of_item[reward]) return &*of_item[reward];
  for (const auto& other : of_item) {
    if (other) return &*other;
  }
  return nullptr;
}

RewardView view_of(const RewardInfo& info, std::size_t r, std::span<const Item> items, const Scores& scores,
                   const Scores& solutions) {
  RewardView view{info, {}, {}};
  const std::size_t component = info.first_component;
  for (std::size_t i = 0; i < items.size(); ++i) {
    SeenCompletion c{&items[i], observation_of(scores, i, r), scores.values[i][component],
                     scores.statuses[i][r], false};
    c.is_lost =
        c.status == Status::kUnparsable || (!std::isnan(c.score) && c.score <= info.minimum + kSameReward);
    const Observation* expected = observation_of(solutions, i, r);
    if (c.seen != nullptr && expected != nullptr && !c.seen->boxes.empty() && !expected->boxes.empty()) {
      const ImageSize size = items[i].images.empty() ? ImageSize{} : items[i].images.front();
      view.boxes.push_back({c.seen->boxes.front(), expected->boxes.front(), size});
    }
    view.completions.push_back(c);
  }
  return view;
}

RewardRow row_of(const RewardView& view) {
  RewardRow row;
  row.name = view.info.name;
  std::size_t n = 0;
  std::uint32_t notations = 0;
  double sum = 0.0;
  row.least = std::numeric_limits<double>::infinity();
  row.largest = -row.least;
  const double one = 1.0 / static_cast<double>(view.completions.size());
  for (const SeenCompletion& c : view.completions) {
    if (c.seen != nullptr) notations |= c.seen->box_notations;
    (c.status == Status::kUnparsable ? row.unparsable
     : std::isnan(c.score)           ? row.no_score
                                     : row.scored) += one;
    if (std::isnan(c.score)) continue;
    ++n;
    sum += c.score;
    row.least = std::min(row.least, c.score);
    row.largest = std::max(row.largest, c.score);
  }
  row.mean = n == 0 ? std::numeric_limits<double>::quiet_NaN() : sum / static_cast<double>(n);
  if (n == 0) row.least = row.largest = row.mean;
  row.is_constant = n > 0 && row.largest - row.least <= kSameReward;
  row.notations = notation_names(notations);
  row.coordinates = range_of(view.boxes);
  return row;
}

// Groups whose weighted rewards are all the same, and on which side of the middle they are.
void count_groups(const RewardSet& rewards, std::span<const Item> items, const Scores& scores,
                  Report& report) {
  std::map<std::uint64_t, std::pair<double, double>> extremes;  // least and largest reward of a group
  for (std::size_t i = 0; i < items.size(); ++i) {
    double reward = 0.0;
    bool has_score = false;
    for (std::size_t k = 0; k < scores.values[i].size(); ++k) {
      if (std::isnan(scores.values[i][k])) continue;
      has_score = true;
      reward += rewards.weights()[k] * scores.values[i][k];
    }
    const auto [at, is_new] = extremes.try_emplace(items[i].group, std::numeric_limits<double>::infinity(),
                                                   -std::numeric_limits<double>::infinity());
    if (!has_score) continue;
    at->second.first = std::min(at->second.first, reward);
    at->second.second = std::max(at->second.second, reward);
  }
  const auto [least, largest] = rewards.range();
  const double middle = std::isfinite(least) && std::isfinite(largest) ? (least + largest) / 2.0 : 0.0;
  report.groups = extremes.size();
  const double one = 1.0 / static_cast<double>(std::max<std::size_t>(1, extremes.size()));
  for (const auto& [group, range] : extremes) {
    const bool has_scores = range.first <= range.second;
    if (has_scores && range.second - range.first > kSameReward) continue;
    report.zero_variance += one;
    if (has_scores) (range.first > middle ? report.all_high : report.all_low) += one;
  }
  if (report.zero_variance > 1.0 - one / 2.0) report.zero_variance = 1.0;  // sums of fractions
}

Mismatch pointless(const Report& report) {
  Mismatch m;
  m.name = "no_spread";
  m.share = report.zero_variance;
  m.message = cat("in none of the ", report.groups,
                  " groups does any completion get another reward than the others, so every "
                  "advantage is 0 and nothing would be learned");
  if (report.all_high > 0.5) {
    m.message += "; they all succeed: this data has nothing left to teach";
    m.remedies.emplace_back("take harder samples, or a reward with finer steps");
  } else {
    m.remedies.emplace_back("first mend what is said of the single rewards, if anything is");
    m.remedies.emplace_back(
        "more completions a prompt (rollout.num_generations) or a higher rollout.temperature");
    m.remedies.emplace_back("a softer reward, or easier samples first");
    m.remedies.emplace_back("if rare successes are expected, preflight.enabled=false skips this check");
  }
  return m;
}

// The contract that asks for most: an example of it satisfies the others.
const Contract& strictest(const std::vector<RewardInfo>& infos) {
  return std::max_element(infos.begin(), infos.end(),
                          [](const RewardInfo& a, const RewardInfo& b) {
                            return std::popcount(a.contract.parts) < std::popcount(b.contract.parts);
                          })
      ->contract;
}

std::string numbered(const std::vector<std::string>& lines) {
  std::string text;
  for (std::size_t i = 0; i < lines.size(); ++i) text += cat("\n    ", i + 1, ". ", lines[i]);
  return text;
}

std::string percent(double share) {
  return cat(fixed(100.0 * share, 0), "%");
}

std::string padded(std::string text, std::size_t width) {
  if (text.size() < width) text.insert(0, width - text.size(), ' ');
  return text;
}

std::string number(double value) {
  return std::isnan(value) ? "-" : fixed(value, 3);
}

nlohmann::ordered_json json_number(double value) {
  return std::isfinite(value) ? nlohmann::ordered_json(value) : nlohmann::ordered_json(nullptr);
}

}  // namespace

Report examine(const RewardSet& rewards, std::span<const Item> items, const ReportContext& context) {
  Report report;
  report.completions = items.size();
  if (items.empty()) return report;
  const Scores scores = rewards.score(items, 0, /*observe=*/true);
  const Scores solutions = observe_solutions(rewards, items);
  for (const Item& item : items) {
    report.mean_length += static_cast<double>(item.token_ids.size()) / static_cast<double>(items.size());
    report.truncated += (item.is_finished ? 0.0 : 1.0) / static_cast<double>(items.size());
  }
  count_groups(rewards, items, scores, report);
  const std::vector<RewardInfo> infos = rewards.infos();
  for (std::size_t r = 0; r < infos.size(); ++r) {
    const RewardView view = view_of(infos[r], r, items, scores, solutions);
    report.rows.push_back(row_of(view));
    for (Mismatch& m : find_mismatches(view, context)) report.mismatches.push_back(std::move(m));
  }
  std::stable_sort(report.mismatches.begin(), report.mismatches.end(),
                   [](const Mismatch& a, const Mismatch& b) { return a.share > b.share; });
  const bool is_teachable = std::any_of(report.mismatches.begin(), report.mismatches.end(),
                                        [](const Mismatch& m) { return m.is_teachable; });
  if (is_teachable) report.teaching = teaching(strictest(infos));
  if (report.is_pointless()) report.mismatches.push_back(pointless(report));
  return report;
}

std::string mismatch_text(const Mismatch& mismatch) {
  std::string text = cat(mismatch.name, ": ", mismatch.message);
  if (!mismatch.example.empty()) text += cat("\n    for instance: ", mismatch.example);
  return text + numbered(mismatch.remedies);
}

std::string verdict(const Report& report) {
  if (report.mismatches.empty()) return "nothing stands against training with these rewards";
  std::vector<std::string> causes, ways;
  const auto add = [](std::vector<std::string>& list, const std::string& text) {
    if (!text.empty() && std::find(list.begin(), list.end(), text) == list.end()) list.push_back(text);
  };
  for (const Mismatch& m : report.mismatches) {
    add(causes, m.cause);
    if (!m.remedies.empty() && m.name != "no_spread") add(ways, m.remedies.front());
  }
  std::string text =
      report.is_pointless() ? "training would be pointless, every advantage is 0" : "rewards are lost";
  if (!causes.empty()) text += cat(": ", support::join(causes, "; "));
  if (!ways.empty()) text += cat(". Cheapest way out: ", support::join(ways, "; "));
  if (ways.empty() && !report.teaching.empty()) text += cat(". Cheapest way out: ", report.teaching.front());
  return text;
}

std::string report_text(const Report& report) {
  std::string text =
      cat(verdict(report), "\n\n", report.completions, " completions of ", report.groups, " prompts, ",
          fixed(report.mean_length, 1), " tokens on average, ", percent(report.truncated),
          " cut at the limit; ", percent(report.zero_variance), " of the groups without spread (",
          percent(report.all_low), " all low, ", percent(report.all_high), " all high)\n\n");
  std::size_t width = 6;
  for (const RewardRow& row : report.rows) width = std::max(width, row.name.size());
  text += cat("reward", std::string(width - 6, ' '),
              "  scored  unparsable  no score    mean   least  largest  boxes\n");
  for (const RewardRow& row : report.rows) {
    text +=
        cat(row.name, std::string(width - row.name.size(), ' '), padded(percent(row.scored), 8),
            padded(percent(row.unparsable), 12), padded(percent(row.no_score), 10),
            padded(number(row.mean), 8), padded(number(row.least), 8), padded(number(row.largest), 9), "  ");
    if (row.coordinates.boxes > 0) {
      const int digits = row.coordinates.largest <= 1.1 ? 2 : 0;
      text += cat(row.notations, ", ", fixed(row.coordinates.least, digits), " to ",
                  fixed(row.coordinates.largest, digits));
    } else {
      text += row.notations.empty() ? "none" : row.notations;
    }
    text += row.is_constant ? "; constant\n" : "\n";
  }
  for (const Mismatch& m : report.mismatches) text += cat("\n", mismatch_text(m), "\n");
  if (!report.teaching.empty()) {
    text += cat("\nor bring the model to write what the rewards expect:", numbered(report.teaching), "\n");
  }
  return text;
}

nlohmann::ordered_json report_json(const Report& report) {
  nlohmann::ordered_json json{{"completions", report.completions},     {"groups", report.groups},
                              {"mean_length", report.mean_length},     {"truncated", report.truncated},
                              {"zero_variance", report.zero_variance}, {"all_low", report.all_low},
                              {"all_high", report.all_high},           {"pointless", report.is_pointless()}};
  json["rewards"] = nlohmann::ordered_json::array();
  for (const RewardRow& row : report.rows) {
    json["rewards"].push_back({{"name", row.name},
                               {"scored", row.scored},
                               {"unparsable", row.unparsable},
                               {"no_score", row.no_score},
                               {"mean", json_number(row.mean)},
                               {"least", json_number(row.least)},
                               {"largest", json_number(row.largest)},
                               {"constant", row.is_constant},
                               {"box_notations", row.notations},
                               {"coordinates", {row.coordinates.least, row.coordinates.largest}}});
  }
  json["verdict"] = verdict(report);
  json["teaching"] = report.teaching;
  json["mismatches"] = nlohmann::ordered_json::array();
  for (const Mismatch& m : report.mismatches) {
    json["mismatches"].push_back({{"name", m.name},
                                  {"reward", m.reward},
                                  {"share", m.share},
                                  {"cause", m.cause},
                                  {"message", m.message},
                                  {"remedies", m.remedies},
                                  {"example", m.example}});
  }
  return json;
}

}  // namespace graft::rewards
