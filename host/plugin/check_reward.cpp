// SPDX-License-Identifier: Apache-2.0
#include <graft/reward.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numeric>
#include <set>
#include <string>
#include <vector>

#include "plugin/check_context.h"
#include "plugin/host_services.h"
#include "support/strings.h"

namespace graft::plugin {
namespace {

using support::cat;

// Owns what the items point to. Address-stable: filled once.
struct Batch {
  std::vector<std::string> completions, solutions;
  std::vector<graft_image_size> images;
  std::vector<graft_reward_item> items;
};

constexpr std::string_view kPrompt = "Where is the red square? Answer with a box.";
constexpr std::string_view kSample = R"({"id": 7, "image": "a.png", "conversations": []})";

Batch make_batch(const CheckContext& context, const graft_reward_desc& desc) {
  Batch batch;
  const std::vector<std::string> texts = hostile_texts(context.random("completions"));
  batch.completions = texts;
  if (desc.contract != nullptr) batch.completions.emplace_back(view(desc.contract->example));
  const std::vector<std::string> solutions = {
      "<answer>[10, 20, 110, 220]</answer>", "[10, 20, 110, 220]", "", "5", texts[3], texts[5]};
  batch.images = {{640, 480, 644, 476}, {1, 1, 28, 28}};
  for (std::size_t i = 0; i < batch.completions.size(); ++i) batch.solutions.push_back(solutions[i % 6]);
  for (std::size_t i = 0; i < batch.completions.size(); ++i) {
    graft_reward_item item{};
    item.hdr = GRAFT_HDR(graft_reward_item);
    item.prompt = view(kPrompt);
    item.completion = view(batch.completions[i]);
    item.completion_raw = view(batch.completions[i]);
    item.solution = view(batch.solutions[i]);
    item.sample_json = view(kSample);
    item.images = batch.images.data();
    item.n_images = static_cast<std::uint32_t>(i % 3);
    item.finish_reason = i % 5 == 4 ? GRAFT_FINISH_LENGTH : GRAFT_FINISH_STOP;
    item.group = i / 8;
    batch.items.push_back(item);
  }
  return batch;
}

// One item's outcome; equal for equal items.
struct Outcome {
  std::vector<double> scores;
  std::int32_t status = GRAFT_SCORE_OK;
  bool operator==(const Outcome&) const = default;
};

// Scores the items in the given order; outcomes in the order of `items`.
std::vector<Outcome> score(const Instance& reward, std::uint32_t n_scores,
                           const std::vector<graft_reward_item>& items,
                           const std::vector<std::size_t>& order) {
  constexpr double kWatch = -12345.678;
  std::vector<const graft_reward_item*> pointers;
  for (const std::size_t i : order) pointers.push_back(&items[i]);
  graft_reward_batch batch{};
  batch.hdr = GRAFT_HDR(graft_reward_batch);
  batch.items = pointers.data();
  batch.n_items = pointers.size();
  std::vector<double> scores(order.size() * n_scores + 1, 0.0);
  std::vector<std::int32_t> statuses(order.size() + 1, GRAFT_SCORE_OK);
  scores.back() = kWatch;
  statuses.back() = -1;
  graft_reward_result result{};
  result.hdr = GRAFT_HDR(graft_reward_result);
  result.scores = scores.data();
  result.statuses = statuses.data();
  std::uint64_t most_item = 0;
  result.context = &most_item;
  result.set_reason = [](void* context, std::uint64_t item, graft_str /*reason*/) {
    auto* most = static_cast<std::uint64_t*>(context);
    *most = std::max(*most, item);
  };
  const auto& table = reward.interface<graft_reward>(GRAFT_INTERFACE_REWARD);
  call("score()", [&](graft_error* error) { return table.score(reward.raw(), &batch, &result, error); });
  if (scores.back() != kWatch || statuses.back() != -1)
    throw std::runtime_error("score() wrote past its arrays");
  if (most_item >= std::max<std::size_t>(order.size(), 1)) {
    throw std::runtime_error("score() gave a reason for an item that is not in the batch");
  }
  std::vector<Outcome> outcomes(items.size());
  for (std::size_t k = 0; k < order.size(); ++k) {
    const auto begin = scores.begin() + static_cast<std::ptrdiff_t>(k * n_scores);
    outcomes[order[k]] = {std::vector<double>(begin, begin + n_scores), statuses[k]};
  }
  return outcomes;
}

std::string describe_item(const Batch& batch, std::size_t i) {
  std::string shown = batch.completions[i].substr(0, 80);
  return cat("item ", i, " (completion \"", shown, "\"", batch.completions[i].size() > 80 ? "…" : "", ")");
}

std::string check_description(const graft_reward_desc& desc) {
  if (desc.n_scores == 0 || desc.n_scores > 256)
    return cat("n_scores is ", desc.n_scores, ", expected 1 to 256");
  std::set<std::string_view> seen;
  for (std::uint32_t i = 0; i < desc.n_scores; ++i) {
    const std::string_view name = view(desc.score_names[i]);
    const bool is_valid = !name.empty() && std::ranges::all_of(name, [](char c) {
      return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
    });
    if (!is_valid) return cat("score_names[", i, "] is \"", name, "\", expected [a-z0-9_]+");
    if (!seen.insert(name).second) return cat("score_names[", i, "] \"", name, "\" is there twice");
  }
  if (!(desc.minimum <= desc.maximum)) {
    return cat("minimum ", desc.minimum, " and maximum ", desc.maximum, " are no range");
  }
  if (desc.contract != nullptr) {
    if (!support::is_utf8(view(desc.contract->format)) || desc.contract->format.len == 0) {
      return "contract.format is empty or not UTF-8, expected one sentence";
    }
    if (desc.contract->coordinate_space < GRAFT_SPACE_NONE ||
        desc.contract->coordinate_space > GRAFT_SPACE_UNIT) {
      return cat("contract.coordinate_space is ", desc.contract->coordinate_space,
                 ", expected GRAFT_SPACE_*");
    }
  }
  return {};
}

std::string check_range(const Batch& batch, const std::vector<Outcome>& outcomes,
                        const graft_reward_desc& desc) {
  for (std::size_t i = 0; i < outcomes.size(); ++i) {
    const Outcome& outcome = outcomes[i];
    if (outcome.status < GRAFT_SCORE_OK || outcome.status > GRAFT_SCORE_TIMEOUT) {
      return cat(describe_item(batch, i), " has the status ", outcome.status, ", expected GRAFT_SCORE_*");
    }
    const bool counts = outcome.status == GRAFT_SCORE_OK || outcome.status == GRAFT_SCORE_UNPARSABLE;
    for (const double value : outcome.scores) {
      if (!std::isfinite(value))
        return cat(describe_item(batch, i), " scored ", value, ", expected a finite number");
      if (counts && (value < desc.minimum || value > desc.maximum)) {
        return cat(describe_item(batch, i), " scored ", value, ", expected ", desc.minimum, " to ",
                   desc.maximum);
      }
    }
  }
  return {};
}

std::string compare(const Batch& batch, const std::vector<Outcome>& first, const std::vector<Outcome>& second,
                    std::string_view what) {
  for (std::size_t i = 0; i < first.size(); ++i) {
    if (first[i] == second[i]) continue;
    return cat(describe_item(batch, i), " scored ", first[i].scores[0], " (status ", first[i].status,
               "), but ", second[i].scores[0], " (status ", second[i].status, ") ", what);
  }
  return {};
}

// Each item alone.
std::vector<Outcome> score_one_by_one(const Instance& reward, std::uint32_t n_scores, const Batch& batch) {
  std::vector<Outcome> outcomes(batch.items.size());
  for (std::size_t i = 0; i < batch.items.size(); ++i)
    outcomes[i] = score(reward, n_scores, {batch.items[i]}, {0})[0];
  return outcomes;
}

}  // namespace

void check_reward(CheckContext& context) {
  const std::shared_ptr<Instance> reward = default_instance(context);
  if (reward == nullptr) return;
  const graft_reward_desc* desc = nullptr;
  const auto& table = reward->interface<graft_reward>(GRAFT_INTERFACE_REWARD);
  std::string problem;
  context.check("describe", [&]() -> std::string {
    call("describe()", [&](graft_error* error) { return table.describe(reward->raw(), &desc, error); });
    problem = desc == nullptr ? "describe() succeeded but wrote no description" : check_description(*desc);
    return problem;
  });
  if (desc == nullptr || !problem.empty()) return;
  if ((desc->properties & GRAFT_REWARD_BLOCKING_IO) != 0) {
    context.warn("scores", "waits for a network or disk, so it is not called here");
    return;
  }

  const Batch batch = make_batch(context, *desc);
  const std::uint32_t n = desc->n_scores;
  std::vector<std::size_t> order(batch.items.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::vector<Outcome> reference;
  const auto begin = std::chrono::steady_clock::now();
  context.check("scores", [&] {
    reference = score(*reward, n, batch.items, order);
    score(*reward, n, batch.items, {});  // an empty batch
    return check_range(batch, reference, *desc);
  });
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
  if (reference.empty()) return;
  context.check("speed", [&]() -> std::string {
    if (seconds.count() < 5.0) return {};
    return cat("took ", support::human_duration(seconds.count()), " for ", order.size(),
               " hostile completions of at most 20 kB, expected below 5 s");
  });
  if ((desc->properties & GRAFT_REWARD_RANDOM) != 0) return;
  context.check("deterministic", [&] {
    return compare(batch, reference, score(*reward, n, batch.items, order), "when scored again");
  });
  if ((desc->properties & GRAFT_REWARD_BATCH_DEPENDENT) != 0) return;
  context.check("independent of order", [&] {
    support::KeyedRandom random = context.random("order");
    support::shuffle(order, random);
    return compare(batch, reference, score(*reward, n, batch.items, order), "in another order");
  });
  context.check("independent of company",
                [&] { return compare(batch, reference, score_one_by_one(*reward, n, batch), "alone"); });
}

}  // namespace graft::plugin
