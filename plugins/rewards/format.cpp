// SPDX-License-Identifier: Apache-2.0
// format: does the completion have the form that the prompt asks for?
#include <graft/sdk/answers.hpp>
#include <graft/sdk/reward.hpp>

namespace {

constexpr std::string_view kSpace = " \t\r\n\f\v";

std::string_view trimmed(std::string_view text) {
  const std::size_t first = text.find_first_not_of(kSpace);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kSpace) - first + 1);
}

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
    return graft::Schema()
        .boolean("require_box", false, "the answer also has to hold a box [x1, y1, x2, y2]")
        .boolean("require_json", false, "the answer also has to be valid JSON, bare or in a ```json fence");
  }

  explicit Format(const graft::Params& params)
      : require_box_(params.boolean("require_box")), require_json_(params.boolean("require_json")) {}

  graft::OutputContract contract() const override {
    return {require_box_ ? "<think>…</think><answer>…[x1, y1, x2, y2]…</answer>"
                         : "<think>…</think><answer>…</answer>",
            "<think>It is on the left.</think><answer>[10, 20, 110, 220]</answer>"};
  }

  // Each tag once and in order, white space between the parts and around them; nothing else outside of the tags.
  graft::Score score(const graft::RewardItem& item) override {
    std::string_view rest = trimmed(item.completion());
    if (!take(rest, "<think>")) return graft::Score(0.0, "does not begin with <think>");
    const std::size_t think_end = rest.find("</think>");
    if (think_end == std::string_view::npos) return graft::Score(0.0, "<think> is not closed");
    const std::string_view thought = rest.substr(0, think_end);
    rest = trimmed(rest.substr(think_end + std::string_view("</think>").size()));
    if (!take(rest, "<answer>")) return graft::Score(0.0, "</think> is not followed by <answer>");
    const std::size_t answer_end = rest.find("</answer>");
    if (answer_end == std::string_view::npos) return graft::Score(0.0, "<answer> is not closed");
    const std::string_view answer = rest.substr(0, answer_end);
    if (rest.size() != answer_end + std::string_view("</answer>").size()) {
      return graft::Score(0.0, "text follows </answer>");
    }
    if (has_tag(thought) || has_tag(answer)) return graft::Score(0.0, "tags are nested or repeated");
    if (require_box_ && !graft::first_box(answer))
      return graft::Score(0.0, "no box [x1, y1, x2, y2] in <answer>");
    if (require_json_ && !is_json(answer)) return graft::Score(0.0, "the answer is not JSON");
    return 1.0;
  }

  static bool has_tag(std::string_view text) {
    for (const std::string_view tag : {"<think>", "</think>", "<answer>", "</answer>"}) {
      if (text.find(tag) != std::string_view::npos) return true;
    }
    return false;
  }

  static bool is_json(std::string_view text) {
    text = trimmed(text);
    if (take(text, "```json") && text.size() >= 3 && text.substr(text.size() - 3) == "```")
      text.remove_suffix(3);
    try {
      static_cast<void>(graft::Json::parse(trimmed(text)));
      return true;
    } catch (const graft::Error&) {
      return false;
    }
  }

  bool require_box_, require_json_;
};

}  // namespace

GRAFT_PLUGIN(Format);
