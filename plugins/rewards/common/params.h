// SPDX-License-Identifier: Apache-2.0
// Parameters that several rewards have, and where they look for the answer.
#pragma once

#include <graft/sdk/answers.hpp>
#include <graft/sdk/reward.hpp>

#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

namespace rewards {

[[nodiscard]] std::vector<std::string> space_names();

// "space" and "solution_space".
graft::Schema& add_spaces(graft::Schema& schema, std::string_view space);
// "parity".
graft::Schema& add_parity(graft::Schema& schema);
// "where": the answer tag, or anywhere.
graft::Schema& add_where(graft::Schema& schema, std::string_view where);

// Is "parity" vlm_r1? Then everything that VLM-R1 does not have must be left at its default, but for `also`.
[[nodiscard]] bool wants_vlm_r1(const graft::Params& params, const graft::Schema& schema,
                                std::initializer_list<std::string_view> also = {});

enum class Where { kAnswer, kAnywhere };
[[nodiscard]] Where where_from(const graft::Params& params);
// The text to score: kAnswer takes the last <answer>, nothing if there is none; kAnywhere then takes all.
[[nodiscard]] std::optional<std::string_view> scored_text(std::string_view completion, Where where);
// The reference answer without the tag.
[[nodiscard]] std::string_view bare_solution(std::string_view solution);

constexpr const char* kNoAnswer = "no <answer>…</answer>";

}  // namespace rewards
