// SPDX-License-Identifier: Apache-2.0
// accuracy: VLM-R1's reward of that name, which chooses its comparison by the sample's accu_reward_method.
#include <graft/sdk/reward.hpp>

#include "common/boxes.h"
#include "common/json.h"
#include "common/params.h"
#include "common/vlm_r1.h"

namespace {

namespace vlm_r1 = rewards::vlm_r1;

struct Accuracy : graft::Reward {
  static constexpr auto name = "accuracy";
  static constexpr auto summary =
      "VLM-R1's accuracy reward: compares as the sample's accu_reward_method says";
  static constexpr std::uint32_t thread_class = GRAFT_THREAD_CONCURRENT;

  static graft::Schema params() {
    return graft::Schema().choice("method",
                                  {"default", "mcq", "yes_no", "math", "all_match", "weighted_sum", "od_ap",
                                   "od_ap50", "map", "odLength"},
                                  "default", "of samples without accu_reward_method");
  }

  explicit Accuracy(const graft::Params& params) : method_(params.string("method")) {}

  graft::OutputContract contract() const override {
    return {"<answer>the solution</answer>", "<answer>3</answer>", GRAFT_SPACE_NONE, 0, 0};
  }
  // -1: COCO's precision where every reference box has a negative area
  std::optional<std::pair<double, double>> range() const override {
    return std::pair<double, double>(-1.0, 1.0);
  }
  std::optional<graft::Observation> observe(const graft::RewardItem& item) override {
    return rewards::observe(item);
  }

  graft::Score score(const graft::RewardItem& item) override {
    const std::string method = method_of(item);
    if (method == "llm")
      return graft::Score::failed("accu_reward_method \"llm\" is the reward llm_judge here");
    const std::string solution = vlm_r1::tagged(item.solution());
    const std::string_view text = item.completion();
    return vlm_r1::scored([&] {
      if (method == "mcq") return vlm_r1::multiple_choice(text, solution);
      if (method == "yes_no") return vlm_r1::yes_no(text, solution);
      if (method == "math") return vlm_r1::math(text, solution);
      if (method == "all_match") return vlm_r1::all_match(text, solution);
      if (method == "weighted_sum") return vlm_r1::detection(text, solution, vlm_r1::Detection::kWeightedSum);
      if (method == "map") return vlm_r1::detection(text, solution, vlm_r1::Detection::kMap);
      if (method == "od_ap") return vlm_r1::detection(text, solution, vlm_r1::Detection::kAp);
      if (method == "od_ap50") return vlm_r1::detection(text, solution, vlm_r1::Detection::kAp50);
      if (method == "odLength") return vlm_r1::detection(text, solution, vlm_r1::Detection::kOdLength);
      return vlm_r1::default_accuracy(text, solution);
    });
  }

 private:
  std::string method_of(const graft::RewardItem& item) const {
    if (item.sample_json().find("accu_reward_method") == std::string_view::npos) return method_;
    const std::optional<graft::Json> sample = rewards::load_json(item.sample_json());
    const graft::Json* method = sample ? sample->find("accu_reward_method") : nullptr;
    return method != nullptr && method->is_string() ? method->as_string() : method_;
  }

  std::string method_;
};

}  // namespace

GRAFT_PLUGIN(Accuracy);
