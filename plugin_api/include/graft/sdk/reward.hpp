// SPDX-License-Identifier: Apache-2.0
// graft/sdk/reward.hpp: a reward as a class.
//
//   #include <graft/sdk/reward.hpp>
//   namespace {
//   struct Brevity : graft::Reward {
//     static constexpr auto name = "brevity";
//     static constexpr auto summary = "shorter completions score higher";
//     static graft::Schema params() {
//       return graft::Schema().number("limit", 200, "bytes at which the score reaches 0").exclusive_minimum(0);
//     }
//     explicit Brevity(const graft::Params& params) : limit_(params.number("limit")) {}
//     graft::Score score(const graft::RewardItem& item) override {
//       return std::max(0.0, 1.0 - static_cast<double>(item.completion().size()) / limit_);
//     }
//     double limit_;
//   };
//   }  // namespace
//   GRAFT_PLUGIN(Brevity);
//
// score() sees one completion and may be called in any order; a reward that compares the completions of a group
// overrides score_batch() and sets `properties` to GRAFT_REWARD_BATCH_DEPENDENT.
#ifndef GRAFT_SDK_REWARD_HPP
#define GRAFT_SDK_REWARD_HPP

#include <graft/reward.h>
#include <graft/sdk/plugin.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

namespace graft {

// One completion and what belongs to it. A view: valid during the call.
class RewardItem {
 public:
  explicit RewardItem(const graft_reward_item& raw) : raw_(&raw) {}
  [[nodiscard]] const graft_reward_item& raw() const { return *raw_; }

  [[nodiscard]] std::string_view prompt() const { return to_view(raw_->prompt); }
  [[nodiscard]] std::string_view completion() const { return to_view(raw_->completion); }
  // With special tokens; empty if unknown.
  [[nodiscard]] std::string_view completion_raw() const { return to_view(raw_->completion_raw); }
  // The reference answer; empty if the data set has none.
  [[nodiscard]] std::string_view solution() const { return to_view(raw_->solution); }
  // The sample's record with all its columns.
  [[nodiscard]] std::string_view sample_json() const { return to_view(raw_->sample_json); }
  // Ids of the completion, the stop token included; nullptr and 0 if unknown.
  [[nodiscard]] const std::int64_t* token_ids() const { return raw_->token_ids; }
  [[nodiscard]] std::size_t n_token_ids() const { return static_cast<std::size_t>(raw_->n_token_ids); }
  [[nodiscard]] std::size_t n_images() const { return raw_->n_images; }
  // Sizes of one image in pixels; nullptr if the sample has no such image.
  [[nodiscard]] const graft_image_size* image(std::size_t index) const {
    return index < raw_->n_images ? &raw_->images[index] : nullptr;
  }
  // True if the completion was cut at the length limit.
  [[nodiscard]] bool is_truncated() const { return raw_->finish_reason == GRAFT_FINISH_LENGTH; }
  // Items of one group answer the same prompt.
  [[nodiscard]] std::uint64_t group() const { return raw_->group; }

 private:
  const graft_reward_item* raw_;
};

class RewardBatch {
 public:
  explicit RewardBatch(const graft_reward_batch& raw) : raw_(&raw) {}
  [[nodiscard]] const graft_reward_batch& raw() const { return *raw_; }
  [[nodiscard]] std::size_t size() const { return static_cast<std::size_t>(raw_->n_items); }
  [[nodiscard]] RewardItem operator[](std::size_t index) const { return RewardItem(*raw_->items[index]); }
  // Optimizer step of the run, from 0.
  [[nodiscard]] std::uint64_t step() const { return raw_->step; }

 private:
  const graft_reward_batch* raw_;
};

// What score() returns: a number, several of them, or why there is none.
class Score {
 public:
  Score(double value) : values_{value} {}  // NOLINT(google-explicit-constructor): `return 1.0;`
  // One value per name of score_names().
  Score(std::vector<double> values) : values_(std::move(values)) {}  // NOLINT(google-explicit-constructor)
  Score(double value, std::string reason) : values_{value}, reason_(std::move(reason)) {}
  Score(std::vector<double> values, std::string reason)
      : values_(std::move(values)), reason_(std::move(reason)) {}

  // The reward does not apply to this item, which is left out of its group's statistics.
  static Score no_opinion(std::string reason) { return Score(GRAFT_SCORE_NO_OPINION, {}, std::move(reason)); }
  // The format was not found; the score counts.
  static Score unparsable(double value, std::string reason) {
    return Score(GRAFT_SCORE_UNPARSABLE, {value}, std::move(reason));
  }
  static Score unparsable(std::vector<double> values, std::string reason) {
    return Score(GRAFT_SCORE_UNPARSABLE, std::move(values), std::move(reason));
  }
  // Could not be scored. Throwing graft::Error from score() means the same.
  static Score failed(std::string reason) { return Score(GRAFT_SCORE_ERROR, {}, std::move(reason)); }
  static Score timed_out(std::string reason) { return Score(GRAFT_SCORE_TIMEOUT, {}, std::move(reason)); }

  [[nodiscard]] const std::vector<double>& values() const { return values_; }  // empty: none
  [[nodiscard]] std::int32_t status() const { return status_; }                // GRAFT_SCORE_*
  [[nodiscard]] const std::string& reason() const { return reason_; }

 private:
  Score(std::int32_t status, std::vector<double> values, std::string reason)
      : values_(std::move(values)), status_(status), reason_(std::move(reason)) {}
  std::vector<double> values_;
  std::int32_t status_ = GRAFT_SCORE_OK;
  std::string reason_;
};

// The form of completion that a reward can score.
struct OutputContract {
  std::string format;                                // one sentence; empty: any text
  std::string example;                               // a completion with the full score
  std::int32_t coordinate_space = GRAFT_SPACE_NONE;  // GRAFT_SPACE_* of the boxes it reads
  std::uint32_t parts = 0;                           // GRAFT_PART_* that the full score takes
  std::uint32_t box_notations = 0;                   // GRAFT_BOX_* that it reads
};

// What a reward found in one completion; graft_observation says more.
struct Observation {
  std::string answer, key;
  std::vector<std::array<double, 4>> boxes;
  std::uint32_t parts = 0;
  std::uint32_t box_notations = 0;
};

class Reward;
template <typename T>
struct RewardKind;

// Base class of rewards. Instances are called by one thread at a time unless thread_class says more.
class Reward : public Component {
 public:
  template <typename T>
  using Kind = RewardKind<T>;

  static constexpr std::uint32_t properties = 0;  // GRAFT_REWARD_*
  static constexpr double minimum = 0.0;          // all scores lie in [minimum, maximum]
  static constexpr double maximum = 1.0;

  // One completion. Override this or score_batch().
  virtual Score score(const RewardItem& item) {
    static_cast<void>(item);
    throw Error(GRAFT_E_UNSUPPORTED, "this reward defines neither score() nor score_batch()");
  }

  // A whole batch: one Score per item, in order.
  virtual std::vector<Score> score_batch(const RewardBatch& batch) {
    std::vector<Score> scores;
    scores.reserve(batch.size());
    for (std::size_t i = 0; i < batch.size(); ++i) {
      if (i % 64 == 0) host().throw_if_cancelled();
      scores.push_back(score_or_failure(batch[i]));
    }
    return scores;
  }

  // Names of the scores of an item. Empty: one score, named as the reward with '_' for '-' and '.'.
  virtual std::vector<std::string> score_names() const { return {}; }
  virtual OutputContract contract() const { return {}; }
  // All scores lie in it. Nothing: [minimum, maximum]; a value where parameters decide.
  virtual std::optional<std::pair<double, double>> range() const { return std::nullopt; }
  // What is in a completion; asked only for diagnosis, beside score(). Nothing: this reward does not say.
  virtual std::optional<Observation> observe(const RewardItem& item) {
    static_cast<void>(item);
    return std::nullopt;
  }

 private:
  template <typename T>
  friend struct RewardKind;

  // A completion that one reward chokes on must not cost the batch.
  Score score_or_failure(const RewardItem& item) {
    try {
      return score(item);
    } catch (const Error& error) {
      if (error.status() != GRAFT_E_INVALID_ARGUMENT) throw;
      return Score::failed(error.what());
    }
  }

  // What describe() hands out, made at its first call.
  struct Description {
    std::vector<std::string> names;
    std::vector<graft_str> name_views;
    OutputContract contract;
    graft_output_contract raw_contract = zeroed<graft_output_contract>();
    graft_reward_desc raw = zeroed<graft_reward_desc>();
  };
  std::unique_ptr<Description> description_;
};

// How graft.reward/1 reaches a class T.
template <typename T>
struct RewardKind {
  static constexpr std::string_view kind = GRAFT_KIND_REWARD;
  static const void* interface(std::string_view id) {
    return id == GRAFT_INTERFACE_REWARD ? &vtable : nullptr;
  }

 private:
  static graft_status describe(graft_instance* instance, const graft_reward_desc** out,
                               graft_error* error) noexcept {
    return guard(error, [&] { *out = &description(self<T>(instance)).raw; });
  }

  static graft_status score(graft_instance* instance, const graft_reward_batch* batch,
                            const graft_reward_result* result, graft_error* error) noexcept {
    return guard(error, [&] {
      T& reward = self<T>(instance);
      const std::size_t n_scores = description(reward).names.size();
      const std::vector<Score> scores = reward.score_batch(RewardBatch(*batch));
      check_shape(scores, static_cast<std::size_t>(batch->n_items), n_scores);
      for (std::size_t i = 0; i < scores.size(); ++i) {
        const std::vector<double>& values = scores[i].values();
        for (std::size_t k = 0; k < values.size(); ++k) result->scores[i * n_scores + k] = values[k];
        result->statuses[i] = scores[i].status();
        if (!scores[i].reason().empty() && GRAFT_HAS(result, graft_reward_result, set_reason)) {
          result->set_reason(result->context, i, to_str(scores[i].reason()));
        }
      }
      if (GRAFT_HAS(result, graft_reward_result, observe)) report_observations(reward, *batch, *result);
    });
  }

  static void report_observations(T& reward, const graft_reward_batch& batch,
                                  const graft_reward_result& result) {
    for (std::uint64_t i = 0; i < batch.n_items; ++i) {
      const std::optional<Observation> seen = reward.observe(RewardItem(*batch.items[i]));
      if (!seen) continue;
      auto raw = zeroed<graft_observation>();
      raw.answer = to_str(seen->answer);
      raw.key = to_str(seen->key);
      raw.boxes =
          seen->boxes.empty() ? nullptr : seen->boxes.front().data();  // an array of arrays has no gaps
      raw.n_boxes = seen->boxes.size();
      raw.parts = seen->parts;
      raw.box_notations = seen->box_notations;
      result.observe(result.context, i, &raw);
    }
  }

  static void check_shape(const std::vector<Score>& scores, std::size_t n_items, std::size_t n_scores) {
    if (scores.size() != n_items) {
      throw Error(GRAFT_E_INTERNAL, "score_batch() returned " + std::to_string(scores.size()) +
                                        " scores for " + std::to_string(n_items) + " items");
    }
    for (const Score& score : scores) {
      const std::size_t n = score.values().size();
      const bool counts = score.status() == GRAFT_SCORE_OK || score.status() == GRAFT_SCORE_UNPARSABLE;
      if (n != n_scores && (counts || n != 0)) {
        throw Error(GRAFT_E_INTERNAL, "an item has " + std::to_string(n) + " values, but score_names() has " +
                                          std::to_string(n_scores));
      }
    }
  }

  static const Reward::Description& description(T& reward) {
    Reward& base = reward;
    if (base.description_ == nullptr) base.description_ = make_description(reward);
    return *base.description_;
  }

  static std::unique_ptr<Reward::Description> make_description(const T& reward) {
    auto made = std::make_unique<Reward::Description>();
    made->names = reward.score_names();
    if (made->names.empty()) {
      made->names.emplace_back(T::name);
      for (char& c : made->names[0]) c = c == '-' || c == '.' ? '_' : c;
    }
    for (const std::string& name : made->names) made->name_views.push_back(to_str(name));
    made->contract = reward.contract();
    made->raw_contract.format = to_str(made->contract.format);
    made->raw_contract.example = to_str(made->contract.example);
    made->raw_contract.coordinate_space = made->contract.coordinate_space;
    made->raw_contract.parts = made->contract.parts;
    made->raw_contract.box_notations = made->contract.box_notations;
    made->raw.score_names = made->name_views.data();
    made->raw.n_scores = static_cast<std::uint32_t>(made->names.size());
    made->raw.properties = T::properties;
    std::tie(made->raw.minimum, made->raw.maximum) =
        reward.range().value_or(std::pair<double, double>(T::minimum, T::maximum));
    made->raw.contract = made->contract.format.empty() ? nullptr : &made->raw_contract;
    return made;
  }

  static constexpr graft_reward vtable = {GRAFT_HDR(graft_reward), &describe, &score};
};

}  // namespace graft

#endif
