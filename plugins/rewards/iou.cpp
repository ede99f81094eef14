// SPDX-License-Identifier: Apache-2.0
// iou: how well the box of the answer covers the reference box.
#include <graft/sdk/reward.hpp>

#include "common/boxes.h"
#include "common/params.h"
#include "common/vlm_r1.h"

namespace {

struct Iou : graft::Reward {
  static constexpr auto name = "iou";
  static constexpr auto summary = "intersection over union of the box in <answer> and the solution's box";
  static constexpr std::uint32_t thread_class = GRAFT_THREAD_CONCURRENT;

  static graft::Schema params() {
    graft::Schema schema;
    schema.choice("metric", {"iou", "giou"}, "iou", "giou: generalised IoU, -1 to 1, tells near misses apart")
        .number("threshold", 0, "1 from this value of the metric on, else 0; 0: the value itself")
        .minimum(0)
        .maximum(1)
        .choice("notation", {"any", "list", "corners", "tokens", "tag"}, "any",
                "box to read: [x1, y1, x2, y2], (x1,y1),(x2,y2), that between <|box_start|> tokens, or "
                "<box>[[…]]</box>")
        .choice("which", {"first", "last"}, "first", "box to score, of several");
    rewards::add_where(schema, "answer");
    rewards::add_spaces(schema, "processed_pixels");
    rewards::add_parity(schema);
    return schema.choice("module", {"qwen", "internvl", "glm"}, "qwen", "VLM-R1's module, for parity=vlm_r1");
  }

  explicit Iou(const graft::Params& params)
      : parity_(rewards::wants_vlm_r1(params, Iou::params(), {"module"})),
        module_(rewards::vlm_r1::module_from(params.string("module"))),
        is_giou_(params.string("metric") == "giou"),
        threshold_(params.number("threshold")),
        notations_(notations_from(params.string("notation"))),
        last_(params.string("which") == "last"),
        where_(rewards::where_from(params)),
        space_(parity_ ? parity_space() : graft::space_from_name(params.string("space"))),
        solution_space_(graft::space_from_name(params.string("solution_space"))) {
    if (!parity_ && params.string("module") != "qwen")
      throw graft::Error("\"module\" has no effect without parity=vlm_r1");
  }

  graft::OutputContract contract() const override {
    const bool in_answer = parity_ || where_ == rewards::Where::kAnswer;
    const std::uint32_t notations = parity_ ? GRAFT_BOX_LIST : notations_;
    const std::uint32_t shown = notations == rewards::kAllNotations ? GRAFT_BOX_LIST : notations;
    const std::string form = rewards::notation_name(shown);
    const char* example = shown == GRAFT_BOX_LIST      ? "[10, 20, 110, 220]"
                          : shown == GRAFT_BOX_CORNERS ? "(10,20),(110,220)"
                          : shown == GRAFT_BOX_TOKENS  ? "<|box_start|>(10,20),(110,220)<|box_end|>"
                                                       : "<box>[[10, 20, 110, 220]]</box>";
    if (!in_answer) return {"a box " + form, example, space_, GRAFT_PART_BOX, notations};
    return {"<answer>, with a box " + form + " inside, </answer>",
            "<answer>" + std::string(example) + "</answer>", space_, GRAFT_PART_ANSWER | GRAFT_PART_BOX,
            notations};
  }

  std::optional<std::pair<double, double>> range() const override {
    if (is_giou_ && threshold_ == 0.0) return std::pair<double, double>(-1.0, 1.0);
    return std::nullopt;
  }

  std::optional<graft::Observation> observe(const graft::RewardItem& item) override {
    return rewards::observe(item);
  }

  graft::Score score(const graft::RewardItem& item) override {
    if (parity_) return rewards::vlm_r1::scored([&] { return rewards::vlm_r1::iou(item, module_); });
    const auto solution = rewards::find_box(item.solution(), rewards::kAllNotations, false);
    if (!solution) return graft::Score::no_opinion("the solution has no box [x1, y1, x2, y2]");
    const double worst = is_giou_ && threshold_ == 0.0 ? -1.0 : 0.0;
    const std::string_view text = needs_raw(item) ? item.completion_raw() : item.completion();
    const auto answer = rewards::scored_text(text, where_);
    if (!answer) return graft::Score::unparsable(worst, rewards::kNoAnswer);
    const auto box = rewards::find_box(*answer, notations_, last_);
    if (!box) return graft::Score::unparsable(worst, no_box());
    const auto predicted = rewards::in_pixels(box->corners, space_, item);
    const auto expected = rewards::in_pixels(solution->corners, solution_space_, item);
    if (!predicted || !expected) {
      return graft::Score::failed(
          "the image's sizes are unknown: coordinates cannot be converted to its pixels");
    }
    const double value =
        is_giou_ ? rewards::box_giou(*predicted, *expected) : graft::box_iou(*predicted, *expected);
    if (threshold_ == 0.0) return value;
    return value >= threshold_ ? 1.0 : 0.0;
  }

 private:
  static std::uint32_t notations_from(std::string_view name) {
    if (name == "list") return GRAFT_BOX_LIST;
    if (name == "corners") return GRAFT_BOX_CORNERS;
    if (name == "tokens") return GRAFT_BOX_TOKENS;
    return name == "tag" ? GRAFT_BOX_TAG : rewards::kAllNotations;
  }
  std::int32_t parity_space() const {
    return module_ == rewards::vlm_r1::Module::kQwen ? GRAFT_SPACE_PROCESSED_PIXELS
                                                     : GRAFT_SPACE_ORIGINAL_PIXELS;
  }
  // <|box_start|> is a special token, which the completion is without.
  bool needs_raw(const graft::RewardItem& item) const {
    return notations_ == GRAFT_BOX_TOKENS && !item.completion_raw().empty();
  }
  std::string no_box() const {
    const bool any = notations_ == rewards::kAllNotations;
    return std::string("no box ") + (any ? "[x1, y1, x2, y2]" : rewards::notation_name(notations_)) +
           (where_ == rewards::Where::kAnswer ? " in <answer>" : "");
  }

  bool parity_;
  rewards::vlm_r1::Module module_;
  bool is_giou_;
  double threshold_;
  std::uint32_t notations_;
  bool last_;
  rewards::Where where_;
  std::int32_t space_, solution_space_;
};

}  // namespace

GRAFT_PLUGIN(Iou);
