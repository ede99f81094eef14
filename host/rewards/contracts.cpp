// SPDX-License-Identifier: Apache-2.0
// What rewards, model family and prompt say of the output, held against each other before anything is sampled.
#include <graft/reward.h>

#include <graft/sdk/answers.hpp>

#include "rewards/mismatches.h"
#include "support/strings.h"

namespace graft::rewards {

namespace {

using support::cat;

// The prompt never names a tag without which there is no full score.
void check_prompt(const RewardInfo& reward, const std::string& prompt, std::vector<Mismatch>& found) {
  std::vector<std::string> missing;
  for (const auto& [part, tag] : {std::pair<std::uint32_t, const char*>{GRAFT_PART_THINK, "<think>"},
                                  {GRAFT_PART_ANSWER, "<answer>"}}) {
    if ((reward.contract.parts & part) != 0 && prompt.find(tag) == std::string::npos)
      missing.emplace_back(tag);
  }
  if (missing.empty()) return;
  Mismatch m;
  m.name = "prompt_without_format";
  m.reward = reward.name;
  m.message =
      cat("reward ", reward.name, " expects ", reward.contract.format,
          ", and neither data.question_template nor "
          "data.system_prompt mentions ",
          support::join(missing, " or "), "; unless every question of the data does, the model cannot know");
  m.remedies = teaching(reward.contract);
  found.push_back(std::move(m));
}

void check_family(const RewardInfo& reward, const ReportContext& context, std::vector<Mismatch>& found) {
  const std::int32_t reads = reward.contract.coordinate_space, writes = context.grounding_space;
  if (reads == GRAFT_SPACE_NONE || writes == GRAFT_SPACE_NONE || reads == writes) return;
  Mismatch m;
  m.name = "coordinate_space";
  m.reward = reward.name;
  m.message = cat("reward ", reward.name, " reads boxes in ", describe_space(reads),
                  ", this model family by itself writes ", describe_space(writes));
  if (!context.grounding_format.empty()) m.message += cat(" (", context.grounding_format, ")");
  if (reward.params.is_object() && reward.params.contains("space")) {
    m.remedies.push_back(cat("set space of reward ", reward.name, " to ",
                             kSpaceNames[static_cast<std::size_t>(writes - 1)],
                             ", unless the model was taught otherwise"));
  }
  m.remedies.push_back(cat("ask in the prompt for boxes in ", describe_space(reads)));
  found.push_back(std::move(m));
}

}  // namespace

std::vector<Mismatch> check_contracts(const RewardSet& rewards, const ReportContext& context) {
  std::vector<Mismatch> found;
  const std::vector<RewardInfo> infos = rewards.infos();
  for (std::size_t r = 0; r < infos.size(); ++r) {
    check_prompt(infos[r], context.prompt, found);
    check_family(infos[r], context, found);
    for (std::size_t s = 0; s < r; ++s) {
      const std::int32_t a = infos[s].contract.coordinate_space, b = infos[r].contract.coordinate_space;
      if (a == GRAFT_SPACE_NONE || b == GRAFT_SPACE_NONE || a == b) continue;
      Mismatch m;
      m.name = "rewards_disagree";
      m.reward = infos[r].name;
      m.message = cat("reward ", infos[s].name, " reads boxes in ", describe_space(a), ", reward ",
                      infos[r].name, " in ", describe_space(b), ": no answer can satisfy both");
      m.remedies.emplace_back("give both the same space, the one that the model writes");
      found.push_back(std::move(m));
    }
  }
  return found;
}

}  // namespace graft::rewards
