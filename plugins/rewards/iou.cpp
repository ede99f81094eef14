// SPDX-License-Identifier: Apache-2.0
// iou: how well the box of the answer covers the reference box.
#include <graft/sdk/answers.hpp>
#include <graft/sdk/reward.hpp>

namespace {

std::vector<std::string> space_names() {
  return {graft::kSpaceNames.begin(), graft::kSpaceNames.end()};
}

struct Iou : graft::Reward {
  static constexpr auto name = "iou";
  static constexpr auto summary = "intersection over union of the box in <answer> and the solution's box";
  static constexpr std::uint32_t thread_class = GRAFT_THREAD_CONCURRENT;

  static graft::Schema params() {
    return graft::Schema()
        .choice("space", space_names(), "processed_pixels",
                "coordinates that the model writes: pixels of the image file or of the resized image, 0 to "
                "1000, or 0 to 1")
        .choice("solution_space", space_names(), "original_pixels", "coordinates of the solution's box");
  }

  explicit Iou(const graft::Params& params)
      : space_(graft::space_from_name(params.string("space"))),
        solution_space_(graft::space_from_name(params.string("solution_space"))) {}

  graft::OutputContract contract() const override {
    return {"<answer>, with a box [x1, y1, x2, y2] inside, </answer>", "<answer>[10, 20, 110, 220]</answer>",
            space_};
  }

  graft::Score score(const graft::RewardItem& item) override {
    const auto solution = graft::first_box(item.solution());
    if (!solution) return graft::Score::no_opinion("the solution has no box [x1, y1, x2, y2]");
    const auto answer = graft::last_tagged(item.completion(), "answer");
    if (!answer) return graft::Score::unparsable(0.0, "no <answer>…</answer>");
    const auto box = graft::first_box(*answer);
    if (!box) return graft::Score::unparsable(0.0, "no box [x1, y1, x2, y2] in <answer>");
    const graft_image_size unknown{};
    const graft_image_size& size = item.image(0) != nullptr ? *item.image(0) : unknown;
    const auto predicted = graft::to_original_pixels(*box, space_, size);
    const auto expected = graft::to_original_pixels(*solution, solution_space_, size);
    if (!predicted || !expected) {
      return graft::Score::failed(
          "the image's sizes are unknown: coordinates cannot be converted to its pixels");
    }
    return graft::box_iou(*predicted, *expected);
  }

  std::int32_t space_, solution_space_;
};

}  // namespace

GRAFT_PLUGIN(Iou);
