// SPDX-License-Identifier: Apache-2.0
#include "common/params.h"

#include <algorithm>

#include "common/parts.h"
#include "common/unicode.h"

namespace rewards {

std::vector<std::string> space_names() {
  return {graft::kSpaceNames.begin(), graft::kSpaceNames.end()};
}

graft::Schema& add_spaces(graft::Schema& schema, std::string_view space) {
  return schema
      .choice(
          "space", space_names(), space,
          "coordinates that the model writes: pixels of the image file or of the resized image, 0 to 1000, "
          "or 0 to 1")
      .choice("solution_space", space_names(), "original_pixels", "coordinates of the solution's boxes");
}

graft::Schema& add_parity(graft::Schema& schema) {
  return schema.choice("parity", {"none", "vlm_r1"}, "none",
                       "vlm_r1: score exactly as VLM-R1 does, defects included");
}

graft::Schema& add_where(graft::Schema& schema, std::string_view where) {
  return schema.choice("where", {"answer", "anywhere"}, where,
                       "look inside the last <answer> only, or in the whole completion if there is none");
}

bool wants_vlm_r1(const graft::Params& params, const graft::Schema& schema,
                  std::initializer_list<std::string_view> also) {
  if (params.string("parity") != "vlm_r1") return false;
  const graft::Json declared = graft::Json::parse(schema.text());
  for (const auto& [name, property] : declared.at("properties").members()) {
    if (name == "parity" || std::find(also.begin(), also.end(), name) != also.end()) continue;
    const std::string value = params.json().at(name).dump(), usual = property.at("default").dump();
    if (value == usual) continue;
    std::string message = "parity=vlm_r1 scores as VLM-R1 does, which has no \"";
    message.append(name).append("\": it is ").append(value).append(", leave it at ").append(usual);
    throw graft::Error(message.append(" or leave parity=vlm_r1 out"));
  }
  return true;
}

Where where_from(const graft::Params& params) {
  return params.string("where") == "answer" ? Where::kAnswer : Where::kAnywhere;
}

std::optional<std::string_view> scored_text(std::string_view completion, Where where) {
  const std::optional<std::string_view> answer = answer_of(completion);
  if (answer || where == Where::kAnswer) return answer;
  return completion;
}

std::string_view bare_solution(std::string_view solution) {
  return strip(answer_of(solution).value_or(solution));
}

}  // namespace rewards
