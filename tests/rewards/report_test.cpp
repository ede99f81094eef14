// SPDX-License-Identifier: Apache-2.0
// The mismatches that waste runs, each as a table of completions before the rewards iou and format, and what is said of them.
#include "rewards/report.h"

#include <graft/abi.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "rewards/mismatches.h"
#include "tests/support/tiny_model.h"

namespace graft::rewards {
namespace {

// The reference box in pixels of a file of 640 x 480, which the model sees at 644 x 476.
constexpr const char* kSolution = "<answer>{\"bbox\": [64, 96, 320, 384]}</answer>";

std::vector<Item> items_of(const std::vector<std::string>& completions, ImageSize size, bool is_finished) {
  std::vector<Item> items;
  for (std::size_t i = 0; i < completions.size(); ++i) {
    Item item;
    item.prompt = "Where is it?";
    item.completion = item.completion_raw = completions[i];
    item.solution = kSolution;
    item.images = {size};
    item.is_finished = is_finished;
    item.group = i / 2;
    items.push_back(item);
  }
  return items;
}

RewardSet make_rewards(const std::vector<RewardSpec>& specs) {
  return RewardSet(tests::tiny_registry(), specs);
}

const Mismatch* find(const Report& report, const std::string& name, const std::string& reward) {
  const auto at = std::find_if(report.mismatches.begin(), report.mismatches.end(),
                               [&](const Mismatch& m) { return m.name == name && m.reward == reward; });
  return at == report.mismatches.end() ? nullptr : &*at;
}

struct Case {
  const char* what;
  std::string completion;
  const char* name;    // the diagnosis
  const char* reward;  // whose
  const char* says;    // part of the message
  const char* remedy;  // part of a remedy
  RewardSpec iou = {"iou"};
  RewardSpec format = {"format"};
  bool is_finished = true;
  ImageSize size = {640, 480, 644, 476};
};

std::string answer(const std::string& inside) {
  return "<think>On the left.</think><answer>" + inside + "</answer>";
}

const std::vector<Case>& cases() {
  static const RewardSpec any_box = {"iou", 1.0, {{"where", "anywhere"}}};
  static const RewardSpec thousandths = {"iou", 1.0, {{"space", "per_mille"}}};
  static const RewardSpec file_pixels = {"iou", 1.0, {{"space", "original_pixels"}}};
  static const RewardSpec vlm_r1 = {"format", 1.0, {{"parity", "vlm_r1"}, {"module", "qwen"}}};
  static const std::vector<Case> all = {
      {"the historical output",
       "the man with a yellow jacket and red visor of to the side(100,200),(500,800)", "missing_tags", "iou",
       "lack <answer>…</answer>", "set where of reward iou to anywhere"},
      {"the same: its coordinates",
       "the man with a yellow jacket and red visor of to the side(100,200),(500,800)", "coordinate_space",
       "iou", "read as 0 to 1000 they have a mean IoU of 1.00", "set space of reward iou to per_mille"},
      {"missing think", "<answer>[64, 95, 322, 381]</answer>", "missing_tags", "format",
       "lack <think>…</think>", ""},
      {"floats in thousandths", answer("[100.0, 200.0, 500.0, 800.0]"), "coordinate_space", "iou",
       "read as 0 to 1000", "set space of reward iou to per_mille"},
      {"floats where whole numbers are read",
       answer("{\"bbox\": [64.5, 95.2, 322.0, 381.1]}"),
       "fractions",
       "format",
       "write coordinates with decimals",
       "whole numbers",
       {"iou"},
       vlm_r1},
      {"normalised boxes", answer("[0.1, 0.2, 0.5, 0.8]"), "coordinate_space", "iou",
       "the boxes go from 0.10 to 0.80, and read as 0 to 1 ", "set space of reward iou to unit"},
      {"two answers", answer("[64, 95, 322, 381]") + "<answer>[0, 0, 9, 9]</answer>", "several_answers",
       "format", "more than one <answer>", "exactly one answer"},
      {"fenced JSON", "```json\n[{\"bbox_2d\": [64, 95, 322, 381]}]\n```", "missing_tags", "format",
       "lack <think>", ""},
      {"Chinese punctuation where ASCII is read",
       answer("{\"bbox\"：［64，95，322，381］}"),
       "full_width",
       "format",
       "Chinese punctuation",
       "ASCII brackets",
       {"iou"},
       vlm_r1},
      {"truncated",
       "<think>Let me look at the picture",
       "truncated",
       "iou",
       "cut at rollout.max_completion_length",
       "raise rollout.max_completion_length",
       {"iou"},
       {"format"},
       false},
      {"empty", " ", "empty", "iou", "are empty", "chat template"},
      {"box tokens where lists are read",
       "<answer><|box_start|>(100,200),(500,800)<|box_end|></answer>",
       "box_notation",
       "iou",
       "write boxes as <|box_start|>",
       "set notation of reward iou to any",
       {"iou", 1.0, {{"notation", "list"}, {"space", "per_mille"}}}},
      {"swapped axes", answer("[200, 100, 800, 500]"), "coordinate_order", "iou", "as y1, x1, y2, x2",
       "[left, top, right, bottom]", thousandths},
      {"width and height", answer("[100, 200, 400, 600]"), "coordinate_order", "iou",
       "as x, y, width, height", "[left, top, right, bottom]", thousandths},
      {"another image size",
       answer("[16, 24, 80, 96]"),
       "coordinate_space",
       "iou",
       "read as pixels of the resized image",
       "set space of reward iou to processed_pixels",
       file_pixels,
       {"format"},
       true,
       {640, 480, 160, 120}},
      {"wrong keys", answer("{\"box\": 3}"), "no_box", "iou", "no box of four numbers", "", any_box},
      {"text outside of the tags", "Sure! " + answer("[64, 95, 322, 381]"), "text_outside", "format",
       "text outside", "set mode of reward format to search"},
  };
  return all;
}

TEST(RewardReport, NamesEachMismatchAndTheWayOut) {
  for (const Case& c : cases()) {
    const RewardSet rewards = make_rewards({c.iou, c.format});
    const Report report =
        examine(rewards, items_of(std::vector<std::string>(8, c.completion), c.size, c.is_finished), {});
    const Mismatch* found = find(report, c.name, c.reward);
    ASSERT_NE(found, nullptr) << c.what << '\n' << report_text(report);
    EXPECT_NE(found->message.find(c.says), std::string::npos) << c.what << ": " << found->message;
    std::string remedies;
    for (const std::string& remedy : found->remedies) remedies += remedy + '\n';
    EXPECT_NE(remedies.find(c.remedy), std::string::npos) << c.what << ": " << remedies;
    EXPECT_DOUBLE_EQ(found->share, 1.0) << c.what;
    EXPECT_TRUE(report.is_pointless()) << c.what;  // all completions are the same
    EXPECT_NE(verdict(report).find("pointless"), std::string::npos);
  }
}

TEST(RewardReport, SaysOfTheHistoricalOutputInOneParagraphWhatIsWrongAndTheWayOut) {
  const RewardSet rewards = make_rewards({{"iou"}, {"format"}});
  const Report report = examine(
      rewards, items_of(std::vector<std::string>(8, cases().front().completion), {640, 480, 644, 476}, true),
      {});
  EXPECT_EQ(verdict(report),
            "training would be pointless, every advantage is 0: completions lack <answer>…</answer>; boxes "
            "are 0 to 1000 and "
            "are read as pixels of the resized image; completions lack <think>…</think> and "
            "<answer>…</answer>. Cheapest way "
            "out: set where of reward iou to anywhere: it then reads the answer from the whole completion; "
            "set space of reward "
            "iou to per_mille: that is what the model writes");
}

TEST(RewardReport, IsContentWithCompletionsThatDiffer) {
  const RewardSet rewards = make_rewards({{"iou"}, {"format"}});
  const std::vector<std::string> completions = {answer("[64, 95, 322, 381]"), answer("[60, 90, 300, 300]"),
                                                answer("[64, 95, 322, 381]"), answer("[300, 95, 500, 381]")};
  const Report report = examine(rewards, items_of(completions, {640, 480, 644, 476}, true), {});
  EXPECT_TRUE(report.mismatches.empty()) << report_text(report);
  EXPECT_EQ(report.groups, 2U);
  EXPECT_EQ(report.zero_variance, 0.0);
  ASSERT_EQ(report.rows.size(), 2U);
  EXPECT_EQ(report.rows[0].notations, "[x1, y1, x2, y2]");
  EXPECT_TRUE(report.rows[1].is_constant);
}

TEST(RewardReport, AGroupThatSucceedsAsAWholeIsNotCalledAFailure) {
  const RewardSet rewards = make_rewards({{"iou"}});
  const Report report = examine(
      rewards,
      items_of(std::vector<std::string>(4, answer("[64.4, 95.2, 322, 380.8]")), {640, 480, 644, 476}, true),
      {});
  EXPECT_TRUE(report.is_pointless());
  EXPECT_DOUBLE_EQ(report.all_high, 1.0);
  EXPECT_NE(report.mismatches.back().message.find("they all succeed"), std::string::npos);
}

TEST(Contracts, AreHeldAgainstFamilyPromptAndEachOther) {
  const RewardSet rewards = make_rewards(
      {{"iou", 1.0, {{"space", "original_pixels"}}}, {"format"}, {"iou", 1.0, {{"space", "unit"}}}});
  ReportContext context;
  context.grounding_space = GRAFT_SPACE_PER_MILLE;
  context.grounding_format = "thousandths";
  context.prompt = "{question} Answer in <answer> </answer>.";
  const std::vector<Mismatch> found = check_contracts(rewards, context);
  const auto says = [&](const std::string& name, const std::string& text) {
    return std::any_of(found.begin(), found.end(), [&](const Mismatch& m) {
      return m.name == name && m.message.find(text) != std::string::npos;
    });
  };
  EXPECT_TRUE(says("coordinate_space",
                   "reward iou reads boxes in pixels of the image file, this model family by itself writes 0 "
                   "to 1000 (thousandths)"));
  EXPECT_TRUE(says("prompt_without_format", "mentions <think>"));
  EXPECT_TRUE(
      says("rewards_disagree", "reward iou reads boxes in pixels of the image file, reward iou_2 in 0 to 1"));
  context.grounding_space = GRAFT_SPACE_UNIT;
  context.prompt = "<think> </think> <answer> </answer>";
  EXPECT_TRUE(
      check_contracts(make_rewards({{"iou", 1.0, {{"space", "unit"}}}, {"format"}}), context).empty());
}

TEST(Excerpt, CutsBetweenCharactersAndStaysOnOneLine) {
  EXPECT_EQ(excerpt("a\nb"), "a b");
  std::string text;
  for (int i = 0; i < 100; ++i) text += "é";
  const std::string cut = excerpt(text);
  EXPECT_LE(cut.size(), 163U);
  EXPECT_EQ(cut.substr(cut.size() - 3), "…");
  EXPECT_EQ((cut.size() - 3) % 2, 0U);
}

TEST(BetterSpace, TellsByTheNumbersAlone) {
  const auto range = [](Corners box, ImageSize size) {
    return range_of(std::vector<BoxPair>{{box, {}, size}});
  };
  const ImageSize vga = {640, 480, 320, 240};
  EXPECT_EQ(better_space(range({0.1, 0.1, 0.9, 0.9}, vga), GRAFT_SPACE_ORIGINAL_PIXELS), GRAFT_SPACE_UNIT);
  EXPECT_EQ(better_space(range({100, 100, 900, 900}, vga), GRAFT_SPACE_ORIGINAL_PIXELS),
            GRAFT_SPACE_PER_MILLE);
  EXPECT_EQ(better_space(range({100, 100, 600, 400}, vga), GRAFT_SPACE_PROCESSED_PIXELS),
            GRAFT_SPACE_ORIGINAL_PIXELS);
  EXPECT_EQ(better_space(range({100, 100, 600, 400}, vga), GRAFT_SPACE_UNIT), GRAFT_SPACE_ORIGINAL_PIXELS);
  EXPECT_EQ(better_space(range({100, 100, 1500, 400}, {2000, 900, 320, 240}), GRAFT_SPACE_PER_MILLE),
            GRAFT_SPACE_ORIGINAL_PIXELS);
  EXPECT_EQ(better_space(range({100, 100, 600, 400}, vga), GRAFT_SPACE_ORIGINAL_PIXELS), std::nullopt);
  EXPECT_EQ(better_space(range({100, 100, 600, 400}, vga), GRAFT_SPACE_PER_MILLE), std::nullopt);
  EXPECT_EQ(better_space(CoordinateRange{}, GRAFT_SPACE_UNIT), std::nullopt);
}

}  // namespace
}  // namespace graft::rewards
