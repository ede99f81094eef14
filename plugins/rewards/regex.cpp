// SPDX-License-Identifier: Apache-2.0
// regex: does the completion match an expression? RE2: linear in the text, no look-around, no back-references.
#include <re2/re2.h>
#include <graft/sdk/reward.hpp>

#include "common/boxes.h"
#include "common/params.h"
#include "common/parts.h"
#include "common/unicode.h"

namespace {

struct Regex : graft::Reward {
  static constexpr auto name = "regex";
  static constexpr auto summary =
      "1 if the completion or its answer matches a regular expression (RE2), else 0";
  static constexpr std::uint32_t thread_class = GRAFT_THREAD_CONCURRENT;

  static graft::Schema params() {
    return graft::Schema()
        .string("pattern", ".+", "RE2 syntax; \".\" matches line ends too")
        .choice("mode", {"search", "full"}, "search", "a match anywhere in the text, or of the whole text")
        .choice("where", {"completion", "answer"}, "completion", "text: all, or inside the last <answer>")
        .boolean("ignore_case", false, "capital and small letters are alike")
        .boolean("group_is_solution", false,
                 "the first group of the first match also has to be the solution");
  }

  explicit Regex(const graft::Params& params)
      : pattern_(params.string("pattern"), options(params.boolean("ignore_case"))),
        is_full_(params.string("mode") == "full"),
        in_answer_(params.string("where") == "answer"),
        group_is_solution_(params.boolean("group_is_solution")) {
    if (!pattern_.ok()) {
      throw graft::Error("\"pattern\" is no RE2 expression: " + pattern_.error() +
                         " (RE2 has no look-around and no back-references)");
    }
    if (group_is_solution_ && pattern_.NumberOfCapturingGroups() < 1)
      throw graft::Error("\"group_is_solution\" needs a group (…) in \"pattern\"");
  }

  graft::OutputContract contract() const override {
    return {"text that matches " + pattern_.pattern(), "", GRAFT_SPACE_NONE,
            in_answer_ ? GRAFT_PART_ANSWER : 0u, 0};
  }
  std::optional<graft::Observation> observe(const graft::RewardItem& item) override {
    return rewards::observe(item);
  }

  graft::Score score(const graft::RewardItem& item) override {
    std::string_view text = item.completion();
    if (in_answer_) {
      const auto answer = rewards::answer_of(text);
      if (!answer) return graft::Score::unparsable(0.0, rewards::kNoAnswer);
      text = *answer;
    }
    re2::StringPiece groups[2];
    const auto anchor = is_full_ ? re2::RE2::ANCHOR_BOTH : re2::RE2::UNANCHORED;
    if (!pattern_.Match(re2::StringPiece(text.data(), text.size()), 0, text.size(), anchor, groups,
                        group_is_solution_ ? 2 : 0))
      return graft::Score::unparsable(0.0, "does not match");
    if (!group_is_solution_) return 1.0;
    const std::string_view group(groups[1].data(), groups[1].size());
    return rewards::strip(group) == rewards::bare_solution(item.solution()) ? 1.0 : 0.0;
  }

 private:
  static re2::RE2::Options options(bool ignore_case) {
    re2::RE2::Options options;
    options.set_log_errors(false);
    options.set_dot_nl(true);
    options.set_case_sensitive(!ignore_case);
    return options;
  }

  re2::RE2 pattern_;
  bool is_full_, in_answer_, group_is_solution_;
};

}  // namespace

GRAFT_PLUGIN(Regex);
