// SPDX-License-Identifier: Apache-2.0
// remote: a reward server that speaks OpenRLHF's JSON.
//   POST {"query": [prompt + completion, …], "prompts": […], "labels": [solution, …]} -> {"rewards": [number, …]}
#include <graft/sdk/reward.hpp>

#include <algorithm>
#include <cmath>
#include <limits>

#include "common/http.h"
#include "common/json.h"
#include "common/unicode.h"

namespace {

using graft::Json;

struct Remote : graft::Reward {
  static constexpr auto name = "remote";
  static constexpr auto summary = "scores of a server over HTTP, in OpenRLHF's JSON";
  static constexpr std::uint32_t properties = GRAFT_REWARD_BLOCKING_IO;
  static constexpr double minimum = -std::numeric_limits<double>::infinity();
  static constexpr double maximum = std::numeric_limits<double>::infinity();

  static graft::Schema params() {
    return graft::Schema()
        .string("url", "http://127.0.0.1:5000/get_reward", "where to post a batch")
        .number("timeout", 60, "seconds for a batch; items without a score by then have none")
        .exclusive_minimum(0)
        .integer("batch_size", 0, "completions of a request; 0: the whole batch")
        .minimum(0)
        .integer("parallel", 4, "requests at a time")
        .minimum(1)
        .maximum(64);
  }

  explicit Remote(const graft::Params& params)
      : poster_(rewards::Address::parse(params.string("url")), {}, params.number("timeout"),
                static_cast<std::size_t>(params.integer("parallel"))),
        batch_size_(static_cast<std::size_t>(params.integer("batch_size"))) {}

  std::vector<graft::Score> score_batch(const graft::RewardBatch& batch) override {
    const std::size_t step = batch_size_ == 0 ? std::max<std::size_t>(batch.size(), 1) : batch_size_;
    std::vector<std::string> bodies;
    for (std::size_t begin = 0; begin < batch.size(); begin += step)
      bodies.push_back(body_of(batch, begin, std::min(begin + step, batch.size())));
    const std::vector<rewards::Reply> replies = poster_.post(bodies);
    std::vector<graft::Score> scores;
    for (std::size_t r = 0; r < replies.size(); ++r) {
      const std::size_t n = std::min(step, batch.size() - r * step);
      for (graft::Score& score : scores_of(replies[r], n)) scores.push_back(std::move(score));
    }
    return scores;
  }

 private:
  static std::string body_of(const graft::RewardBatch& batch, std::size_t begin, std::size_t end) {
    Json::Items queries, prompts, labels;
    for (std::size_t i = begin; i < end; ++i) {
      const graft::RewardItem item = batch[i];
      queries.emplace_back(rewards::valid_utf8(item.prompt()) + rewards::valid_utf8(item.completion()));
      prompts.emplace_back(rewards::valid_utf8(item.prompt()));
      labels.emplace_back(rewards::valid_utf8(item.solution()));
    }
    return Json::object({{"query", Json::array(std::move(queries))},
                         {"prompts", Json::array(std::move(prompts))},
                         {"labels", Json::array(std::move(labels))}})
        .dump();
  }

  static std::vector<graft::Score> scores_of(const rewards::Reply& reply, std::size_t n) {
    if (reply.state == rewards::Reply::State::kTimeout)
      return std::vector<graft::Score>(n, graft::Score::timed_out("no reply within the time"));
    if (reply.state == rewards::Reply::State::kFailed)
      return std::vector<graft::Score>(n, graft::Score::failed(reply.text));
    const std::optional<Json> value = rewards::load_json(reply.text);
    const Json* list = value ? value->find("rewards") : nullptr;
    if (list == nullptr || !list->is_array() || list->items().size() != n) {
      return std::vector<graft::Score>(
          n, graft::Score::failed("the reply is no {\"rewards\": […]} of " + std::to_string(n) +
                                  " numbers: " + reply.text.substr(0, 200)));
    }
    std::vector<graft::Score> scores;
    for (const Json& item : list->items()) {
      if (item.is_number() && std::isfinite(item.as_number())) {
        scores.emplace_back(item.as_number());
      } else {
        scores.push_back(
            graft::Score::failed("the server's reward is " + item.dump() + ", expected a finite number"));
      }
    }
    return scores;
  }

  rewards::Poster poster_;
  std::size_t batch_size_;
};

}  // namespace

GRAFT_PLUGIN(Remote);
