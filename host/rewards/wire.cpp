// SPDX-License-Identifier: Apache-2.0
#include "rewards/wire.h"

#include <graft/reward.h>

#include <cmath>
#include <limits>

#include "support/error.h"
#include "support/strings.h"

namespace graft::rewards {

using nlohmann::json;

namespace {

json number(double value) {
  return std::isfinite(value) ? json(value) : json(nullptr);
}

double number_or(const json& value, double other) {
  return value.is_number() ? value.get<double>() : other;
}

json observation_json(const Observation& seen) {
  return {{"answer", seen.answer},
          {"key", seen.key},
          {"boxes", seen.boxes},
          {"parts", seen.parts},
          {"box_notations", seen.box_notations}};
}

Observation read_observation(const json& value) {
  Observation seen;
  seen.answer = value.at("answer").get<std::string>();
  seen.key = value.at("key").get<std::string>();
  seen.boxes = value.at("boxes").get<std::vector<std::array<double, 4>>>();
  seen.parts = value.at("parts").get<std::uint32_t>();
  seen.box_notations = value.at("box_notations").get<std::uint32_t>();
  return seen;
}

}  // namespace

json request_json(std::span<const Item> items, std::uint64_t step, bool observe) {
  json list = json::array();
  for (const Item& item : items) {
    json images = json::array();
    for (const ImageSize& size : item.images) {
      images.push_back(
          {size.original_width, size.original_height, size.processed_width, size.processed_height});
    }
    list.push_back({{"prompt", item.prompt},
                    {"completion", item.completion},
                    {"completion_raw", item.completion_raw},
                    {"solution", item.solution},
                    {"sample", item.sample_json},
                    {"token_ids", std::vector<std::int64_t>(item.token_ids.begin(), item.token_ids.end())},
                    {"images", std::move(images)},
                    {"finished", item.is_finished},
                    {"group", item.group}});
  }
  return {{"items", std::move(list)}, {"step", step}, {"observe", observe}};
}

ReceivedItems::ReceivedItems(const json& request) {
  const json& list = request.at("items");
  texts_.reserve(list.size());  // views into the texts stay valid
  for (const json& from : list) {
    const Text& text = texts_.emplace_back(
        Text{from.at("prompt").get<std::string>(), from.at("completion").get<std::string>(),
             from.at("completion_raw").get<std::string>(), from.at("solution").get<std::string>(),
             from.at("sample").get<std::string>(), from.at("token_ids").get<std::vector<std::int64_t>>()});
    Item item;
    item.prompt = text.prompt;
    item.completion = text.completion;
    item.completion_raw = text.completion_raw;
    item.solution = text.solution;
    item.sample_json = text.sample_json;
    item.token_ids = text.token_ids;
    item.is_finished = from.at("finished").get<bool>();
    item.group = from.at("group").get<std::uint64_t>();
    for (const json& size : from.at("images")) {
      const auto n = size.get<std::array<std::int64_t, 4>>();
      item.images.push_back({n[0], n[1], n[2], n[3]});
    }
    items_.push_back(std::move(item));
  }
}

json reply_json(const RawScores& raw, std::size_t i, std::size_t n_scores) {
  json reply{{"status", raw.failure.empty() ? raw.statuses[i] : GRAFT_SCORE_ERROR},
             {"reason", raw.failure.empty() ? raw.reasons[i] : raw.failure},
             {"scores", json::array()}};
  for (std::size_t k = 0; k < n_scores; ++k) reply["scores"].push_back(number(raw.values[i * n_scores + k]));
  if (i < raw.observations.size() && raw.observations[i]) {
    reply["observation"] = observation_json(*raw.observations[i]);
  }
  return reply;
}

void read_reply(const json& reply, std::size_t i, std::size_t n_scores, RawScores& raw) {
  try {
    const json& scores = reply.at("scores");
    const auto status = reply.at("status").get<std::int32_t>();
    if (scores.size() != n_scores) {
      throw support::UserError(
          support::cat("expected ", n_scores, " scores for a completion, found ", scores.size()));
    }
    for (std::size_t k = 0; k < n_scores; ++k) {
      raw.values[i * n_scores + k] = number_or(scores[k], std::numeric_limits<double>::quiet_NaN());
    }
    raw.statuses[i] = status;
    raw.reasons[i] = reply.value("reason", "");
    if (i < raw.observations.size() && reply.contains("observation")) {
      raw.observations[i] = read_observation(reply["observation"]);
    }
  } catch (const json::exception& error) {
    throw support::UserError(support::cat("not an answer of a reward process: ", error.what()));
  }
}

json description_json(const RewardDescription& d, const json& params) {
  return {{"score_names", d.score_names},
          {"minimum", number(d.minimum)},
          {"maximum", number(d.maximum)},
          {"format", d.contract.format},
          {"example", d.contract.example},
          {"space", d.contract.coordinate_space},
          {"parts", d.contract.parts},
          {"box_notations", d.contract.box_notations},
          {"is_batch_dependent", d.is_batch_dependent},
          {"params", params}};
}

RewardDescription read_description(const json& value) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  RewardDescription d;
  d.score_names = value.at("score_names").get<std::vector<std::string>>();
  d.minimum = number_or(value.at("minimum"), -kInfinity);
  d.maximum = number_or(value.at("maximum"), kInfinity);
  d.contract = {value.value("format", ""), value.value("example", ""), value.value("space", 0),
                value.value("parts", 0U), value.value("box_notations", 0U)};
  d.is_batch_dependent = value.value("is_batch_dependent", true);
  return d;
}

}  // namespace graft::rewards
