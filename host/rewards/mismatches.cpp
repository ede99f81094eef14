// SPDX-License-Identifier: Apache-2.0
#include "rewards/mismatches.h"

#include <graft/reward.h>

#include <algorithm>
#include <cmath>
#include <graft/sdk/answers.hpp>

#include "support/strings.h"

namespace graft::rewards {

namespace {

using support::cat;
using support::fixed;

constexpr double kMany = 0.25;  // of the completions: from here on a mismatch is worth a paragraph

using Test = std::function<bool(const SeenCompletion&)>;

bool is_blank(std::string_view text) {
  return text.find_first_not_of(" \t\r\n") == std::string_view::npos;
}

bool has_parts(const SeenCompletion& c, std::uint32_t parts) {
  return c.seen != nullptr && (c.seen->parts & parts) == parts;
}

// Collects the mismatches of one reward. A test that holds for completions that the reward loses explains them.
class Finder {
 public:
  Finder(const RewardView& reward, const ReportContext& context) : reward_(reward), context_(context) {}

  std::vector<Mismatch> run() {
    find_empty();
    find_truncated();
    find_missing_tags();
    find_other_notation();
    find_missing_boxes();
    find_other_key();
    find_form();
    find_coordinates();
    std::stable_sort(found_.begin(), found_.end(),
                     [](const Mismatch& a, const Mismatch& b) { return a.share > b.share; });
    return std::move(found_);
  }

 private:
  // Share of all completions that are lost and pass `test`; *example is the first of them.
  double share(const Test& test, std::string* example) const {
    std::size_t count = 0;
    for (const SeenCompletion& c : reward_.completions) {
      if (!c.is_lost || !test(c)) continue;
      if (count++ == 0) *example = excerpt(text_of(*c.item));
    }
    return static_cast<double>(count) /
           static_cast<double>(std::max<std::size_t>(1, reward_.completions.size()));
  }

  // Special tokens belong to some notations, so that the raw text tells more.
  static std::string_view text_of(const Item& item) {
    return item.completion_raw.empty() ? item.completion : item.completion_raw;
  }

  Mismatch* find(const char* name, const Test& test, const std::string& what) {
    std::string example;
    const double found = share(test, &example);
    if (found < kMany) return nullptr;
    Mismatch mismatch;
    mismatch.name = name;
    mismatch.reward = reward_.info.name;
    mismatch.share = found;
    mismatch.cause = cat("completions ", what);
    mismatch.message = cat("reward ", reward_.info.name, " expects ", reward_.info.contract.format, "; ",
                           fixed(100.0 * found, 0), " % of the completions ", what);
    mismatch.example = std::move(example);
    found_.push_back(std::move(mismatch));
    return &found_.back();
  }

  void suggest(Mismatch* mismatch, const char* param, const std::string& value,
               const std::string& why) const {
    if (!reward_.has_param(param)) return;
    mismatch->remedies.push_back(
        cat("set ", param, " of reward ", reward_.info.name, " to ", value, ": ", why));
  }

  void find_empty() {
    const auto empty = [](const SeenCompletion& c) { return is_blank(c.item->completion); };
    if (Mismatch* m = find("empty", empty, "are empty: the model ends at once")) {
      m->remedies.emplace_back(
          "check that the chat template is the model's own, and that the prompt asks something");
      m->is_teachable = true;
    }
  }

  void find_truncated() {
    const auto cut = [](const SeenCompletion& c) { return !c.item->is_finished; };
    if (Mismatch* m =
            find("truncated", cut, "were cut at rollout.max_completion_length before they answered")) {
      m->remedies.emplace_back("raise rollout.max_completion_length");
      m->remedies.emplace_back("ask for shorter reasoning in data.question_template or data.system_prompt");
      m->remedies.emplace_back(
          "objective.mask_truncated_completions=true leaves them out, if only some are cut");
    }
  }

  void find_missing_tags() {
    const std::uint32_t wanted = reward_.info.contract.parts & (GRAFT_PART_THINK | GRAFT_PART_ANSWER);
    if (wanted == 0) return;
    const auto lacks = [&](const SeenCompletion& c) {
      return c.seen != nullptr && !is_blank(c.item->completion) && c.item->is_finished &&
             (c.seen->parts & wanted) != wanted;
    };
    std::uint32_t missing = 0;
    for (const SeenCompletion& c : reward_.completions) {
      if (c.is_lost && lacks(c)) missing |= wanted & ~c.seen->parts;
    }
    const std::string tags = missing == GRAFT_PART_THINK    ? "<think>…</think>"
                             : missing == GRAFT_PART_ANSWER ? "<answer>…</answer>"
                                                            : "<think>…</think> and <answer>…</answer>";
    Mismatch* m = find("missing_tags", lacks, cat("lack ", tags));
    if (m == nullptr) return;
    if ((missing & GRAFT_PART_ANSWER) != 0) {
      suggest(m, "where", "anywhere", "it then reads the answer from the whole completion");
    }
    m->is_teachable = true;
  }

  void find_other_notation() {
    const std::uint32_t accepted = reward_.info.contract.box_notations;
    if (accepted == 0) return;
    std::uint32_t seen = 0;
    const auto differs = [&](const SeenCompletion& c) {
      return c.seen != nullptr && c.seen->box_notations != 0 && (c.seen->box_notations & accepted) == 0;
    };
    for (const SeenCompletion& c : reward_.completions) {
      if (c.is_lost && differs(c)) seen |= c.seen->box_notations;
    }
    Mismatch* m = find("box_notation", differs,
                       cat("write boxes as ", notation_names(seen), ", which it does not read"));
    if (m == nullptr) return;
    suggest(m, "notation", "any", "it then reads every notation");
    if (reward_.info.params.value("parity", "none") == "vlm_r1") {
      m->remedies.push_back(cat("leave parity=vlm_r1 of reward ", reward_.info.name,
                                " out: the corrected reward reads every notation"));
    }
    m->is_teachable = true;
  }

  void find_missing_boxes() {
    if ((reward_.info.contract.parts & GRAFT_PART_BOX) == 0) return;
    const auto lacks = [](const SeenCompletion& c) {
      return c.seen != nullptr && c.seen->boxes.empty() && !is_blank(c.item->completion) &&
             c.item->is_finished;
    };
    if (Mismatch* m = find("no_box", lacks, "hold no box of four numbers in any notation")) {
      m->is_teachable = true;
    }
  }

  // A JSON key other than that of the example: fatal to rewards that read a certain key.
  void find_other_key() {
    const std::string& example = reward_.info.contract.example;
    const std::size_t quote = example.find("{\"");
    if (quote == std::string::npos) return;
    const std::string wanted = example.substr(quote + 2, example.find('"', quote + 2) - quote - 2);
    std::string other;
    const auto differs = [&](const SeenCompletion& c) {
      const bool is_other = c.seen != nullptr && !c.seen->key.empty() && c.seen->key != wanted;
      if (is_other) other = c.seen->key;
      return is_other;
    };
    if (Mismatch* m = find("json_key", differs, cat("use another key than \"", wanted, "\""))) {
      m->message += cat(", such as \"", other, "\"");
      m->is_teachable = true;
    }
  }

  void find_form() {
    struct Form {
      const char* name;
      std::uint32_t part;
      const char* what;
      const char* remedy;
    };
    constexpr Form kForms[] = {
        {"several_answers", GRAFT_PART_SEVERAL, "hold more than one <answer>",
         "ask for exactly one answer in the prompt"},
        {"unclosed_tags", GRAFT_PART_UNCLOSED, "open a tag and never close it",
         "check that rollout.max_completion_length is not reached and that no stop token is inside the "
         "answer"},
        {"full_width", GRAFT_PART_FULL_WIDTH, "write boxes with Chinese punctuation, （ ） ，",
         "ask in the prompt for ASCII brackets and commas"},
        {"fence", GRAFT_PART_FENCE, "put the answer into a ``` fence",
         "ask in the prompt for bare JSON without a fence"},
        {"fractions", GRAFT_PART_FRACTIONS, "write coordinates with decimals",
         "ask in the prompt for whole numbers"},
        {"inside_out", GRAFT_PART_INSIDE_OUT, "hold boxes with x2 <= x1 or y2 <= y1",
         "say in the prompt what the four numbers are: left, top, right, bottom"},
        {"text_outside", GRAFT_PART_TEXT_OUTSIDE, "hold text outside of the tags",
         "say in the prompt that nothing may stand outside of the tags"},
    };
    for (const Form& form : kForms) {
      if (form.part == GRAFT_PART_TEXT_OUTSIDE && (reward_.info.contract.parts & GRAFT_PART_ANSWER) == 0)
        continue;
      const auto has = [&](const SeenCompletion& c) {
        const std::uint32_t tags = reward_.info.contract.parts & (GRAFT_PART_THINK | GRAFT_PART_ANSWER);
        const bool needs_tags = form.part == GRAFT_PART_TEXT_OUTSIDE || form.part == GRAFT_PART_FENCE;
        return has_parts(c, form.part) && (!needs_tags || has_parts(c, tags));
      };
      Mismatch* m = find(form.name, has, form.what);
      if (m == nullptr) continue;
      if (form.part == GRAFT_PART_TEXT_OUTSIDE || form.part == GRAFT_PART_FENCE ||
          form.part == GRAFT_PART_SEVERAL) {
        suggest(m, "mode", "search", "it then takes the parts in order, whatever is around them");
      }
      m->remedies.emplace_back(form.remedy);
      m->is_teachable = true;
    }
  }

  // Boxes that mean something else than the reward takes them for: by the reference boxes, else by the numbers alone.
  void find_coordinates() {
    const std::int32_t space = reward_.info.contract.coordinate_space;
    if (space == GRAFT_SPACE_NONE || reward_.boxes.empty()) return;
    const auto& all = reward_.completions;
    const double share = static_cast<double>(reward_.boxes.size()) / static_cast<double>(all.size());
    if (share < kMany) return;
    const CoordinateRange range = range_of(reward_.boxes);
    const auto ranked = rank_readings(reward_.boxes, solution_space());
    const auto declared = std::find_if(ranked.begin(), ranked.end(),
                                       [&](const ReadingQuality& r) { return r.reading == Reading{space}; });
    Mismatch m;
    m.reward = reward_.info.name;
    m.share = share;
    m.example = excerpt(text_of(*first_with_box()->item));
    const std::string seen = cat("reward ", reward_.info.name, " reads ", describe_space(space),
                                 "; the boxes go from ", fixed(range.least, range.largest <= 1.1 ? 2 : 0),
                                 " to ", fixed(range.largest, range.largest <= 1.1 ? 2 : 0));
    std::int32_t better = space;
    if (declared != ranked.end() && ranked.front().mean_iou > declared->mean_iou + 0.15 &&
        ranked.front().mean_iou > 1.5 * declared->mean_iou) {
      const Reading& best = ranked.front().reading;
      m.name = best.layout == Layout::kXyxy ? "coordinate_space" : "coordinate_order";
      m.cause = cat("boxes are ", describe(best), " and are read as ", describe_space(space));
      m.message = cat(seen, ", and read as ", describe(best), " they have a mean IoU of ",
                      fixed(ranked.front().mean_iou, 2), " with the reference boxes, instead of ",
                      fixed(declared->mean_iou, 2));
      better = best.space;
    } else if (const auto other = better_space(range, space)) {
      m.name = "coordinate_space";
      m.cause = cat("boxes look like ", describe_space(*other), " and are read as ", describe_space(space));
      m.message = cat(seen, ", which is not what such coordinates look like; they look like ",
                      describe_space(*other));
      better = *other;
    } else {
      return;
    }
    if (better != space) {
      suggest(&m, "space", std::string(kSpaceNames[static_cast<std::size_t>(better - 1)]),
              "that is what the model writes");
    }
    if (context_.grounding_space == better && !context_.grounding_format.empty()) {
      m.message += cat(". It is what this model family writes by itself (", context_.grounding_format, ")");
    }
    m.remedies.push_back(
        cat("ask in the prompt for boxes [left, top, right, bottom] in ", describe_space(space)));
    m.is_teachable = true;
    found_.push_back(std::move(m));
  }

  std::int32_t solution_space() const {
    const std::int32_t space =
        space_from_name(reward_.info.params.value("solution_space", "original_pixels"));
    return space == GRAFT_SPACE_NONE ? GRAFT_SPACE_ORIGINAL_PIXELS : space;
  }

  const SeenCompletion* first_with_box() const {
    const auto& all = reward_.completions;
    return &*std::find_if(all.begin(), all.end(), [](const SeenCompletion& c) {
      return c.seen != nullptr && !c.seen->boxes.empty();
    });
  }

  const RewardView& reward_;
  const ReportContext& context_;
  std::vector<Mismatch> found_;
};

}  // namespace

std::string notation_names(std::uint32_t notations) {
  std::vector<std::string> names;
  if ((notations & GRAFT_BOX_LIST) != 0) names.emplace_back("[x1, y1, x2, y2]");
  if ((notations & GRAFT_BOX_CORNERS) != 0) names.emplace_back("(x1,y1),(x2,y2)");
  if ((notations & GRAFT_BOX_TOKENS) != 0) names.emplace_back("<|box_start|>(x1,y1),(x2,y2)<|box_end|>");
  if ((notations & GRAFT_BOX_TAG) != 0) names.emplace_back("<box>[[x1, y1, x2, y2]]</box>");
  return support::join(names, " or ");
}

std::string excerpt(std::string_view completion) {
  constexpr std::size_t kLongest = 160;
  std::string text(completion.substr(0, kLongest));
  if (completion.size() > kLongest) {
    while (!text.empty() && (static_cast<unsigned char>(text.back()) & 0xC0U) == 0x80U) text.pop_back();
    if (!text.empty() && static_cast<unsigned char>(text.back()) >= 0xC0U)
      text.pop_back();  // a cut character
    text += "…";
  }
  std::replace_if(
      text.begin(), text.end(), [](char c) { return c == '\n' || c == '\r' || c == '\t'; }, ' ');
  return text;
}

std::vector<std::string> teaching(const Contract& contract) {
  return {
      cat("ask for the format in data.question_template or data.system_prompt, such as: answer like ",
          contract.example),
      "show one or two worked examples in data.system_prompt",
      "teach it first: graft sft with the same configuration on some hundred samples (data.limit=300), then "
      "train from its adapter (peft.adapter=DIR)"};
}

std::vector<Mismatch> find_mismatches(const RewardView& reward, const ReportContext& context) {
  return Finder(reward, context).run();
}

}  // namespace graft::rewards
