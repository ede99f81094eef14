// SPDX-License-Identifier: Apache-2.0
// format: does the completion have the form that the prompt asks for?
#include <graft/sdk/reward.hpp>

#include "common/boxes.h"
#include "common/params.h"
#include "common/parts.h"
#include "common/unicode.h"
#include "common/vlm_r1.h"

namespace {

bool take(std::string_view& text, std::string_view prefix) {
  if (text.substr(0, prefix.size()) != prefix) return false;
  text.remove_prefix(prefix.size());
  return true;
}

struct Format : graft::Reward {
  static constexpr auto name = "format";
  static constexpr auto summary = "1 if the completion is <think>…</think><answer>…</answer>, else 0";
  static constexpr std::uint32_t thread_class = GRAFT_THREAD_CONCURRENT;

  static graft::Schema params() {
    graft::Schema schema;
    schema
        .choice("mode", {"strict", "search"}, "strict",
                "strict: each tag once and nothing outside of them; search: the parts in order, whatever is "
                "around them")
        .boolean("require_box", false, "the answer also has to hold a box, in any notation")
        .boolean("require_json", false, "the answer also has to be valid JSON, bare or in a ```json fence");
    rewards::add_parity(schema);
    return schema.choice(
        "module", {"registry", "qwen", "internvl", "glm"}, "registry",
        "for parity=vlm_r1: VLM-R1's format reward, or that of one of its modules for boxes");
  }

  explicit Format(const graft::Params& params)
      : parity_(rewards::wants_vlm_r1(params, Format::params(), {"module"})),
        module_(rewards::vlm_r1::module_from(params.string("module"))),
        is_strict_(params.string("mode") == "strict"),
        require_box_(params.boolean("require_box")),
        require_json_(params.boolean("require_json")) {
    if (!parity_ && params.string("module") != "registry")
      throw graft::Error("\"module\" has no effect without parity=vlm_r1");
  }

  graft::OutputContract contract() const override {
    using rewards::vlm_r1::Module;
    const std::uint32_t tags = GRAFT_PART_THINK | GRAFT_PART_ANSWER;
    if (parity_ && module_ == Module::kQwen) {
      return {"<think>…</think><answer>…{…[x1, y1, x2, y2]…}…</answer>",
              "<think>It is on the left.</think><answer>{\"bbox\": [10, 20, 110, 220]}</answer>",
              GRAFT_SPACE_NONE, tags | GRAFT_PART_BOX, GRAFT_BOX_LIST};
    }
    const bool needs_box = require_box_ || (parity_ && module_ == Module::kInternvl);
    const std::uint32_t parts =
        tags | (needs_box ? GRAFT_PART_BOX : 0) | (require_json_ ? GRAFT_PART_JSON : 0);
    const std::uint32_t notations = parity_ ? GRAFT_BOX_LIST : rewards::kAllNotations;
    return {needs_box ? "<think>…</think><answer>…[x1, y1, x2, y2]…</answer>"
                      : "<think>…</think><answer>…</answer>",
            "<think>It is on the left.</think><answer>[10, 20, 110, 220]</answer>", GRAFT_SPACE_NONE, parts,
            needs_box ? notations : 0};
  }

  std::optional<graft::Observation> observe(const graft::RewardItem& item) override {
    return rewards::observe(item);
  }

  graft::Score score(const graft::RewardItem& item) override {
    if (parity_) return rewards::vlm_r1::format(item.completion(), module_);
    std::string_view answer;
    const char* fault =
        is_strict_ ? strict_fault(item.completion(), answer) : search_fault(item.completion(), answer);
    if (fault != nullptr) return graft::Score(0.0, fault);
    if (require_box_ && !rewards::find_box(answer, rewards::kAllNotations, false))
      return graft::Score(0.0, "no box [x1, y1, x2, y2] in <answer>");
    if (require_json_ && !is_json(answer)) return graft::Score(0.0, "the answer is not JSON");
    return 1.0;
  }

 private:
  // Each tag once and in order, white space between the parts and around them; nothing else outside of the tags.
  static const char* strict_fault(std::string_view text, std::string_view& answer) {
    std::string_view rest = rewards::strip(text);
    if (!take(rest, "<think>")) return "does not begin with <think>";
    const std::size_t think_end = rest.find("</think>");
    if (think_end == std::string_view::npos) return "<think> is not closed";
    const std::string_view thought = rest.substr(0, think_end);
    rest = rewards::strip(rest.substr(think_end + 8));
    if (!take(rest, "<answer>")) return "</think> is not followed by <answer>";
    const std::size_t answer_end = rest.find("</answer>");
    if (answer_end == std::string_view::npos) return "<answer> is not closed";
    answer = rest.substr(0, answer_end);
    if (rest.size() != answer_end + 9) return "text follows </answer>";
    if (has_tag(thought) || has_tag(answer)) return "tags are nested or repeated";
    return nullptr;
  }

  static const char* search_fault(std::string_view text, std::string_view& answer) {
    const std::size_t think = text.find("<think>");
    if (think == std::string_view::npos) return "no <think>";
    const std::size_t inside = rewards::after_think_answer(text, think + 7);
    if (inside == std::string_view::npos) return "no </think> that <answer> follows";
    const std::size_t end = text.find("</answer>", inside);
    if (end == std::string_view::npos) return "<answer> is not closed";
    answer = text.substr(inside, end - inside);
    return nullptr;
  }

  static bool has_tag(std::string_view text) {
    for (std::size_t at = text.find('<'); at != std::string_view::npos; at = text.find('<', at + 1)) {
      std::string_view rest = text.substr(at + 1, 8);
      if (!rest.empty() && rest[0] == '/') rest.remove_prefix(1);
      if (rest.substr(0, 6) == "think>" || rest.substr(0, 7) == "answer>") return true;
    }
    return false;
  }

  static bool is_json(std::string_view text) {
    text = rewards::strip(text);
    if (take(text, "```json") && text.size() >= 3 && text.substr(text.size() - 3) == "```")
      text.remove_suffix(3);
    try {
      static_cast<void>(graft::Json::parse(rewards::strip(text)));
      return true;
    } catch (const graft::Error&) {
      return false;
    }
  }

  bool parity_;
  rewards::vlm_r1::Module module_;
  bool is_strict_, require_box_, require_json_;
};

}  // namespace

GRAFT_PLUGIN(Format);
