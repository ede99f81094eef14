// SPDX-License-Identifier: Apache-2.0
#include "data/jsonl.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "support/error.h"
#include "tests/support/errors.h"
#include "tests/support/temporary_directory.h"

namespace graft::data {
namespace {

using support::UserError;
using test::contains;
using test::message_of;

class JsonlTest : public testing::Test {
 protected:
  JsonlTest() {
    for (const char* name : {"images/a.png", "images/b.png"}) dir_.write(name, "not decoded here");
  }

  config::DataFile file(const std::string& text) const {
    return {dir_.write("train.jsonl", text), (dir_ / "images").string()};
  }
  Sample parse(const std::string& text, ImagePosition position = ImagePosition::kInterleaved) const {
    return parse_sample(text, file(""), 7, position);
  }
  std::string error_of(const std::string& text) const {
    return message_of<UserError>([&] { (void)parse(text); });
  }

  test::TemporaryDirectory dir_;
};

TEST_F(JsonlTest, ReadsARecordOfVlmR1) {
  const Sample s =
      parse(R"({"id": 5, "image": "a.png", "conversations": [{"from": "human", "value": "<image>Where?"},
                             {"from": "gpt", "value": "<answer> [1, 2, 3, 4] </answer>"}], "extra": {"k": 1}})");
  EXPECT_EQ(s.id, "5");
  ASSERT_EQ(s.images.size(), 1U);
  EXPECT_EQ(s.images[0], dir_ / "images" / "a.png");
  EXPECT_EQ(s.question, "Where?");
  ASSERT_EQ(s.turns.size(), 1U);
  EXPECT_EQ(s.turns[0].role, "user");
  EXPECT_EQ(s.turns[0].text, "Where?");
  EXPECT_EQ(s.turns[0].n_images, 1);
  EXPECT_TRUE(s.has_answer);
  EXPECT_EQ(s.answer, "<answer> [1, 2, 3, 4] </answer>");
  EXPECT_EQ(s.solution, "[1, 2, 3, 4]");
  EXPECT_EQ(nlohmann::json::parse(s.record).at("extra").at("k"), 1);
  EXPECT_EQ(s.record.find('\n'), std::string::npos);
  EXPECT_TRUE(s.where().ends_with("train.jsonl:7"));
}

TEST_F(JsonlTest, AnswersMayBeAnyJson) {
  const auto solution = [&](const std::string& value) {
    return parse(R"({"conversations": [{"from": "human", "value": "Q"}, {"from": "gpt", "value": )" + value +
                 "}]}")
        .solution;
  };
  EXPECT_EQ(solution("3"), "3");
  EXPECT_EQ(solution("0.5"), "0.5");
  EXPECT_EQ(solution("[1, 2]"), "[1,2]");
  EXPECT_EQ(solution("true"), "true");
  EXPECT_EQ(solution("\" x \""), "x");
}

TEST_F(JsonlTest, ImagesAreOptionalAndMayBeSeveral) {
  EXPECT_TRUE(parse(R"({"conversations": [{"from": "human", "value": "Q"}]})").images.empty());
  EXPECT_TRUE(parse(R"({"image": null, "conversations": [{"from": "human", "value": "Q"}]})").images.empty());
  const Sample s =
      parse(R"({"image": ["a.png", "b.png"], "conversations": [{"from": "human", "value": "Q"}]})");
  EXPECT_EQ(s.images.size(), 2U);
  EXPECT_EQ(s.turns[0].n_images, 2);  // no placeholder: all first
  EXPECT_FALSE(s.has_answer);
  const std::string absolute = (dir_ / "images/b.png").string();
  EXPECT_EQ(parse(R"({"image": ")" + absolute + R"(", "conversations": [{"from": "human", "value": "Q"}]})")
                .images[0],
            absolute);
}

TEST_F(JsonlTest, PlaceholdersStayWhereTheySayMoreThanFirst) {
  const Sample lead = parse(
      R"({"image": ["a.png", "b.png"], "conversations": [{"from": "human", "value": "<image>\n<image>\nQ"}]})");
  EXPECT_EQ(lead.turns[0].text, "\n\nQ");
  EXPECT_EQ(lead.turns[0].n_images, 2);
  const Sample inside = parse(
      R"({"image": ["a.png", "b.png"], "conversations": [{"from": "human", "value": "From <image> to <image>?"}]})");
  EXPECT_EQ(inside.turns[0].text, "From <image> to <image>?");
  EXPECT_EQ(inside.question, "From  to ?");
}

TEST_F(JsonlTest, ImagesMayAlwaysComeFirst) {
  const Sample inside = parse(
      R"({"image": ["a.png", "b.png"], "conversations": [{"from": "human", "value": "From <image> to <image>?"}]})",
      ImagePosition::kFirst);
  EXPECT_EQ(inside.turns[0].text, "From  to ?");
  EXPECT_EQ(inside.turns[0].n_images, 2);
  EXPECT_EQ(inside.question, "From  to ?");
  const Sample rounds = parse(
      R"({"image": ["a.png", "b.png"], "conversations": [{"from": "human", "value": "This <image>"},
          {"from": "gpt", "value": "<image>"}, {"from": "human", "value": "or this <image>?"}]})",
      ImagePosition::kFirst);
  EXPECT_EQ(rounds.turns[0].text, "This ");
  EXPECT_EQ(rounds.turns[0].n_images, 1);
  EXPECT_EQ(rounds.turns[1].text, "<image>");  // what an assistant said stays as it is
  EXPECT_EQ(rounds.turns[1].n_images, 0);
  EXPECT_EQ(rounds.turns[2].text, "or this ?");
  EXPECT_EQ(rounds.turns[2].n_images, 1);
}

TEST_F(JsonlTest, ImagesFirstNeedNotAgreeWithPlaceholders) {
  const Sample more = parse(
      R"({"image": ["a.png", "b.png"], "conversations": [{"from": "human", "value": "<image>Q"},
          {"from": "gpt", "value": "A"}, {"from": "human", "value": "<image> and <image>"}]})",
      ImagePosition::kFirst);
  EXPECT_EQ(more.turns[0].n_images, 2);
  EXPECT_EQ(more.turns[0].text, "Q");
  EXPECT_EQ(more.turns[2].n_images, 0);
  EXPECT_EQ(more.turns[2].text, " and ");
  const Sample none =
      parse(R"({"conversations": [{"from": "human", "value": "<image>Q"}]})", ImagePosition::kFirst);
  EXPECT_EQ(none.turns[0].n_images, 0);
  EXPECT_EQ(none.turns[0].text, "Q");
}

TEST_F(JsonlTest, ConversationsMayHaveSeveralRounds) {
  const Sample s = parse(R"({"image": "a.png", "conversations": [{"from": "system", "value": "Be brief."},
      {"role": "user", "content": "<image>What?"}, {"role": "assistant", "content": "A cat."},
      {"from": "human", "value": "Where?"}, {"from": "gpt", "value": "Left."}]})");
  ASSERT_EQ(s.turns.size(), 4U);
  EXPECT_EQ(s.turns[0].role, "system");
  EXPECT_EQ(s.turns[1].n_images, 1);
  EXPECT_EQ(s.turns[2].role, "assistant");
  EXPECT_EQ(s.turns[3].text, "Where?");
  EXPECT_EQ(s.turns[3].n_images, 0);
  EXPECT_EQ(s.solution, "Left.");
}

TEST_F(JsonlTest, BadRecordsNameFileAndLine) {
  EXPECT_TRUE(contains(error_of("{\"id\": 1"), "train.jsonl:7:"));
  EXPECT_TRUE(contains(error_of("{\"id\": 1"), "malformed JSON"));
  EXPECT_TRUE(contains(error_of("[]"), "train.jsonl:7: found []; expected an object"));
  EXPECT_TRUE(contains(error_of("{}"), "conversations is missing"));
  EXPECT_TRUE(contains(error_of(R"({"conversations": []})"), "conversations is []"));
  EXPECT_TRUE(contains(error_of(R"({"conversations": [3]})"), "conversations contains 3"));
  EXPECT_TRUE(contains(error_of(R"({"conversations": [{"from": "robot", "value": "x"}]})"),
                       "a turn is from \"robot\""));
  EXPECT_TRUE(contains(error_of(R"({"conversations": [{"value": "x"}]})"), "a turn is from nobody"));
  EXPECT_TRUE(
      contains(error_of(R"({"conversations": [{"from": "gpt", "value": "x"}]})"), "is the first one"));
  EXPECT_TRUE(contains(
      error_of(R"({"conversations": [{"from": "human", "value": "x"}, {"from": "human", "value": "y"}]})"),
      "follows one from user"));
  EXPECT_TRUE(
      contains(error_of(R"({"conversations": [{"from": "human", "value": 3}]})"), "is 3; expected text"));
  EXPECT_TRUE(contains(error_of(R"({"conversations": [{"from": "human"}]})"), "has no value"));
  EXPECT_TRUE(
      contains(error_of(R"({"conversations": [{"from": "system", "value": "x"}]})"), "has no question"));
  EXPECT_TRUE(contains(error_of(R"({"image": 3, "conversations": [{"from": "human", "value": "x"}]})"),
                       "image is 3"));
  EXPECT_TRUE(contains(error_of(R"({"image": [""], "conversations": [{"from": "human", "value": "x"}]})"),
                       "image contains \"\""));
}

TEST_F(JsonlTest, AMissingImageIsFoundWithoutDecoding) {
  const std::string message =
      error_of(R"({"image": "c.png", "conversations": [{"from": "human", "value": "x"}]})");
  EXPECT_TRUE(contains(message, "train.jsonl:7: the image "));
  EXPECT_TRUE(contains(message, "c.png does not exist; paths are relative to data.image_root"));
  EXPECT_TRUE(
      contains(error_of(R"({"image": "../images", "conversations": [{"from": "human", "value": "x"}]})"),
               "is not a file"));
}

TEST_F(JsonlTest, PlaceholdersAndImagesMustAgree) {
  EXPECT_TRUE(contains(
      error_of(R"({"image": "a.png", "conversations": [{"from": "human", "value": "<image><image>x"}]})"),
      "2 <image> placeholders for 1 image;"));
  EXPECT_TRUE(contains(error_of(R"({"conversations": [{"from": "human", "value": "<image>x"}]})"),
                       "1 <image> placeholder for 0 images"));
}

constexpr const char* kGood =
    R"({"conversations": [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "A"}]})";

TEST_F(JsonlTest, LoadSkipsAndCountsBadSamples) {
  const std::string text = std::string(kGood) + "\r\n\n{bad\n" + kGood;
  const Dataset set = load_samples({file(text)}, {});
  ASSERT_EQ(set.samples.size(), 2U);
  EXPECT_EQ(set.skipped, 1);
  EXPECT_EQ(set.samples[1].line, 4);
  EXPECT_TRUE(contains(message_of<UserError>([&] {
                         (void)load_samples({file(text)},
                                            {.strict = true, .limit = {}, .image_position = {}});
                       }),
                       "train.jsonl:3:"));
}

TEST_F(JsonlTest, LoadStopsAtTheLimit) {
  const std::string text = std::string(kGood) + "\n" + kGood + "\n{bad\n";
  const Dataset set = load_samples({file(text)}, {.strict = true, .limit = 2, .image_position = {}});
  EXPECT_EQ(set.samples.size(), 2U);
}

TEST_F(JsonlTest, ADataSetWithoutSamplesIsAnError) {
  EXPECT_TRUE(contains(message_of<UserError>([&] { (void)load_samples({file("\n")}, {}); }),
                       "the data set is empty"));
  const std::string message = message_of<UserError>([&] { (void)load_samples({file("{}\n")}, {}); });
  EXPECT_TRUE(contains(message, "no sample is usable; the first reason: "));
  EXPECT_TRUE(contains(message, "train.jsonl:1: conversations is missing"));
  EXPECT_THROW((void)load_samples({{"none.jsonl", ""}}, {}), UserError);
}

TEST_F(JsonlTest, TemplatesWritePromptAndCompletion) {
  Sample s = parse(
      R"({"conversations": [{"from": "human", "value": "Where is {it}?"}, {"from": "gpt", "value": "[1, 2]"}],
                       "color": "red", "n": 3, "question": "a column"})");
  const std::vector<Turn> turns =
      prompt_turns(s, "{Question} Answer in {color} as {\"box\": [..]} {n} {none} {", "Sys");
  ASSERT_EQ(turns.size(), 2U);
  EXPECT_EQ(turns[0].role, "system");
  EXPECT_EQ(turns[0].text, "Sys");
  EXPECT_EQ(turns[1].text, "Where is {it}? Answer in red as {\"box\": [..]} 3 {none} {");
  EXPECT_EQ(prompt_turns(s, "{question}", std::nullopt).back().text, "Where is {it}?");
  EXPECT_EQ(completion_text(s, "<answer>{\"bbox_2d\": {solution}}</answer>"),
            "<answer>{\"bbox_2d\": [1, 2]}</answer>");
  EXPECT_EQ(completion_text(s, "{answer}"), "[1, 2]");
  s.has_answer = false;
  EXPECT_THROW((void)completion_text(s, "{answer}"), UserError);
}

TEST_F(JsonlTest, ASystemTurnOfTheDataWinsOverTheConfiguration) {
  const Sample s =
      parse(R"({"conversations": [{"from": "system", "value": "own"}, {"from": "human", "value": "Q"}]})");
  const std::vector<Turn> turns = prompt_turns(s, "{question}", "other");
  ASSERT_EQ(turns.size(), 2U);
  EXPECT_EQ(turns[0].text, "own");
}

}  // namespace
}  // namespace graft::data
