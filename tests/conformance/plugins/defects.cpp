// SPDX-License-Identifier: Apache-2.0
// Components that break the contract of their kind, one way each. The name says which.
#include <graft/sdk/checkpoint_policy.hpp>
#include <graft/sdk/reward.hpp>

#include <algorithm>
#include <cfenv>
#include <vector>

namespace {

struct AnswersUnknownIds : graft::Reward {
  static constexpr auto name = "answers_unknown_ids";
  template <typename T>
  struct Kind {
    static constexpr std::string_view kind = GRAFT_KIND_REWARD;
    static const void* interface(std::string_view) {
      return graft::RewardKind<T>::interface(GRAFT_INTERFACE_REWARD);
    }
  };
  graft::Score score(const graft::RewardItem&) override { return 0.0; }
};

std::vector<std::vector<char>>& kept() {
  static std::vector<std::vector<char>> all;
  return all;
}

struct Leaks : graft::Reward {
  static constexpr auto name = "leaks";
  Leaks() { kept().emplace_back(100); }
  graft::Score score(const graft::RewardItem&) override { return 0.0; }
};

struct FailsWithoutReason : graft::Reward {
  static constexpr auto name = "fails_without_reason";
  static graft::Schema params() { return graft::Schema().integer("n", 1, "").minimum(1).maximum(3); }
  explicit FailsWithoutReason(const graft::Params& params) {
    if (params.integer("n") == 2) throw graft::Error("");
  }
  graft::Score score(const graft::RewardItem&) override { return 0.0; }
};

struct OutOfRange : graft::Reward {
  static constexpr auto name = "out_of_range";
  graft::Score score(const graft::RewardItem& item) override { return item.completion().empty() ? 1.5 : 0.5; }
};

struct NotFinite : graft::Reward {
  static constexpr auto name = "not_finite";
  graft::Score score(const graft::RewardItem& item) override {
    return static_cast<double>(item.completion().size()) / static_cast<double>(item.completion().size()) -
           1.0;
  }
};

struct Drifts : graft::Reward {
  static constexpr auto name = "drifts";
  graft::Score score(const graft::RewardItem&) override { return 1.0 / ++calls_; }
  double calls_ = 0;
};

// Ranks within the batch, but does not say so.
struct Compares : graft::Reward {
  static constexpr auto name = "compares";
  std::vector<graft::Score> score_batch(const graft::RewardBatch& batch) override {
    std::size_t longest = 1;
    for (std::size_t i = 0; i < batch.size(); ++i) longest = std::max(longest, batch[i].completion().size());
    std::vector<graft::Score> scores;
    for (std::size_t i = 0; i < batch.size(); ++i) {
      scores.emplace_back(static_cast<double>(batch[i].completion().size()) / static_cast<double>(longest));
    }
    return scores;
  }
};

struct RanksHonestly : Compares {
  static constexpr auto name = "ranks_honestly";
  static constexpr std::uint32_t properties = GRAFT_REWARD_BATCH_DEPENDENT;
};

// A score that depends on the place in the batch.
struct Places : graft::Reward {
  static constexpr auto name = "places";
  std::vector<graft::Score> score_batch(const graft::RewardBatch& batch) override {
    std::vector<graft::Score> scores;
    for (std::size_t i = 0; i < batch.size(); ++i) scores.emplace_back(i % 2 == 0 ? 0.0 : 1.0);
    return scores;
  }
};

struct BadScoreName : graft::Reward {
  static constexpr auto name = "bad_score_name";
  std::vector<std::string> score_names() const override { return {"My Score"}; }
  graft::Score score(const graft::RewardItem&) override { return 0.0; }
};

struct TooFewValues : graft::Reward {
  static constexpr auto name = "too_few_values";
  std::vector<std::string> score_names() const override { return {"a", "b"}; }
  graft::Score score(const graft::RewardItem&) override { return 0.0; }
};

struct Rounds : graft::Reward {
  static constexpr auto name = "rounds";
  graft::Score score(const graft::RewardItem&) override {
    std::fesetround(FE_DOWNWARD);
    return 0.0;
  }
};

struct BadDecision : graft::CheckpointPolicy {
  static constexpr auto name = "bad_decision";
  std::vector<graft::Decision> plan(const graft::Segments& segments, std::uint64_t) override {
    return std::vector<graft::Decision>(segments.size(), static_cast<graft::Decision>(9));
  }
};

struct Undecided : graft::CheckpointPolicy {
  static constexpr auto name = "undecided";
  std::vector<graft::Decision> plan(const graft::Segments& segments, std::uint64_t) override {
    again_ = !again_;
    return std::vector<graft::Decision>(segments.size(),
                                        again_ ? graft::Decision::keep : graft::Decision::recompute);
  }
  bool again_ = false;
};

struct TooManyDecisions : graft::CheckpointPolicy {
  static constexpr auto name = "too_many_decisions";
  std::vector<graft::Decision> plan(const graft::Segments& segments, std::uint64_t) override {
    return std::vector<graft::Decision>(segments.size() + 1, graft::Decision::keep);
  }
};

}  // namespace

GRAFT_PLUGIN(AnswersUnknownIds, Leaks, FailsWithoutReason, OutOfRange, NotFinite, Drifts, Compares,
             RanksHonestly, Places, BadScoreName, TooFewValues, Rounds, BadDecision, Undecided,
             TooManyDecisions);
