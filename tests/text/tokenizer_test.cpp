// SPDX-License-Identifier: Apache-2.0
#include "text/tokenizer.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>
#include <thread>
#include <vector>

#include "tests/text/tokenizer_fixture.h"
#include "text/stream_decoder.h"

namespace graft::text {
namespace {

using Ids = std::vector<std::int64_t>;
using nlohmann::json;

const Tokenizer& tokenizer() {
  static const Tokenizer instance = Tokenizer::load(tokenizer_data("tokenizer.json"));
  return instance;
}

std::string streamed(const Tokenizer& source, const Ids& ids, bool skip_special) {
  StreamDecoder decoder(source, skip_special);
  std::string text;
  for (const std::int64_t id : ids) {
    const std::string piece = decoder.push(id);
    EXPECT_TRUE(nlohmann::json(piece).dump().size() >= 2);  // throws for a broken character
    text += piece;
  }
  return text + decoder.finish();
}

void expect_cases(const Tokenizer& subject) {
  int encoded = 0;
  for (const json& entry : read_json(tokenizer_data("cases.json"))) {
    const Ids ids = entry.at("ids");
    if (entry.contains("text")) {
      EXPECT_EQ(subject.encode(entry.at("text").get<std::string>()), ids) << entry;
      ++encoded;
    }
    EXPECT_EQ(subject.decode(ids, false), entry.at("decoded").get<std::string>()) << entry;
    EXPECT_EQ(subject.decode(ids, true), entry.at("decoded_skip_special").get<std::string>()) << entry;
    EXPECT_EQ(streamed(subject, ids, false), entry.at("decoded").get<std::string>()) << entry;
    EXPECT_EQ(streamed(subject, ids, true), entry.at("decoded_skip_special").get<std::string>()) << entry;
  }
  EXPECT_GE(encoded, 30);
}

TEST(Tokenizer, GivesTheIdsAndTextsOfTheTokenizersLibrary) {
  expect_cases(tokenizer());
}

TEST(Tokenizer, ReadsMergesWrittenAsPairs) {
  expect_cases(changed_tokenizer([](json& data) {
    for (json& merge : data["model"]["merges"]) {
      const std::string text = merge;
      const std::size_t space = text.find(' ');
      merge = {text.substr(0, space), text.substr(space + 1)};
    }
  }));
}

TEST(Tokenizer, ReadsNfcInsideASequence) {
  expect_cases(changed_tokenizer([](json& data) {
    data["normalizer"] = {{"type", "Sequence"}, {"normalizers", {{{"type", "NFC"}}}}};
  }));
}

TEST(Tokenizer, WithoutNormalizerKeepsDecomposedCharacters) {
  const Tokenizer plain = changed_tokenizer([](json& data) { data["normalizer"] = nullptr; });
  const std::string decomposed = "e\xCC\x81";
  EXPECT_EQ(plain.decode(plain.encode(decomposed), false), decomposed);
  EXPECT_EQ(tokenizer().decode(tokenizer().encode(decomposed), false), "\xC3\xA9");
}

TEST(Tokenizer, ByteLevelAloneSplitsLikeGpt2) {
  const Change alone = [](json& data) {
    data["pre_tokenizer"] = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", true}};
  };
  const Tokenizer gpt2 = changed_tokenizer(alone);
  // GPT-2's expression keeps digits together, the split expression of the file does not.
  const Tokenizer gpt2_whole = changed_tokenizer([&](json& data) {
    alone(data);
    data["model"]["ignore_merges"] = true;
    data["model"]["vocab"]["7777777"] = 1000;
  });
  EXPECT_EQ(gpt2_whole.encode("7777777"), Ids{1000});
  EXPECT_EQ(gpt2.encode("7777777").size(), 7U);
}

TEST(Tokenizer, AddsAPrefixSpaceIfAsked) {
  const Tokenizer prefixing = changed_tokenizer([](json& data) {
    data["pre_tokenizer"] = {{"type", "ByteLevel"}, {"add_prefix_space", true}, {"use_regex", true}};
  });
  EXPECT_EQ(prefixing.encode("the box"), prefixing.encode(" the box"));
  EXPECT_NE(tokenizer().encode("the box"), tokenizer().encode(" the box"));
}

TEST(Tokenizer, IgnoreMergesTakesAWholeWordFromTheVocabulary) {
  const Change add_word = [](json& data) { data["model"]["vocab"]["zqzq"] = 1000; };
  EXPECT_EQ(changed_tokenizer(add_word).encode("zqzq").size(), 4U);
  const Tokenizer ignoring = changed_tokenizer([&](json& data) {
    add_word(data);
    data["model"]["ignore_merges"] = true;
  });
  EXPECT_EQ(ignoring.encode("zqzq"), Ids{1000});
}

// Llama-3 puts one token before a text, GLM-4 two; a later stage goes around an earlier one.
TEST(Tokenizer, TemplatesPutTokensAroundATextIfAsked) {
  const auto stage = [](const std::vector<int>& before, const std::vector<int>& after) {
    const auto special = [](const std::vector<int>& ids) {
      const std::string name = json(ids).dump();
      return json{{"SpecialToken", {{"id", name}, {"type_id", 0}}}};
    };
    json tokens = json::object();
    for (const auto& ids : {before, after})
      tokens[json(ids).dump()] = {{"id", json(ids).dump()}, {"ids", ids}};
    return json{{"type", "TemplateProcessing"},
                {"single", {special(before), {{"Sequence", {{"id", "A"}, {"type_id", 0}}}}, special(after)}},
                {"special_tokens", tokens}};
  };
  const Tokenizer subject = changed_tokenizer([&](json& data) {
    data["post_processor"] = {
        {"type", "Sequence"},
        {"processors", {{{"type", "ByteLevel"}}, stage({1, 2}, {3}), stage({4}, {5, 6})}}};
  });
  const Ids plain = tokenizer().encode("the box");
  EXPECT_EQ(subject.encode("the box"), plain);
  Ids expected = {4, 1, 2};
  expected.insert(expected.end(), plain.begin(), plain.end());
  expected.insert(expected.end(), {3, 5, 6});
  EXPECT_EQ(subject.encode("the box", /*add_special=*/true), expected);
  EXPECT_EQ(subject.encode("", true), (Ids{4, 1, 2, 3, 5, 6}));
  EXPECT_EQ(tokenizer().encode("the box", true), plain);
}

TEST(Tokenizer, AcceptsALiteralSplitPattern) {
  const Tokenizer literal = changed_tokenizer([](json& data) {
    data["pre_tokenizer"]["pretokenizers"][0]["pattern"] = {{"String", "."}};
  });
  EXPECT_EQ(literal.decode(literal.encode("a.b (c)"), false), "a.b (c)");
}

// Rust's from_utf8_lossy and Python's errors="replace" agree on how many characters broken bytes become.
TEST(Tokenizer, ReadsIllFormedUtf8AsReplacementCharacters) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"a\xFFz", "a\uFFFDz"},
      {"\xE4\xBD", "\uFFFD"},                  // cut
      {"\xE4\xBDx", "\uFFFDx"},                // broken off
      {"\xED\xA0\x80", "\uFFFD\uFFFD\uFFFD"},  // a surrogate
      {"\xC0\x80", "\uFFFD\uFFFD"},            // overlong
      {"\xF0\x9F\x98\xF0\x9F\x98\x80", "\uFFFD\U0001F600"},
      {"\xF5\x80\x80\x80", "\uFFFD\uFFFD\uFFFD\uFFFD"},  // above U+10FFFF
  };
  for (const auto& [bytes, text] : cases)
    EXPECT_EQ(tokenizer().encode(bytes), tokenizer().encode(text)) << text;
}

TEST(Tokenizer, KnowsItsTokens) {
  const std::int64_t end = tokenizer().token_id("<|im_end|>").value();
  EXPECT_EQ(tokenizer().encode("<|im_end|>"), Ids{end});
  EXPECT_TRUE(tokenizer().is_special(end));
  EXPECT_FALSE(tokenizer().is_special(tokenizer().token_id("<tool>").value()));
  EXPECT_FALSE(tokenizer().is_special(0));
  EXPECT_FALSE(tokenizer().is_special(-1));
  EXPECT_EQ(tokenizer().special_ids().size(), 6U);
  EXPECT_EQ(tokenizer().vocab_size(), 458);
  EXPECT_EQ(tokenizer().token_id("\u0120the").has_value(), true);
  EXPECT_EQ(tokenizer().token_bytes(tokenizer().token_id("\u0120the").value()), " the");
  EXPECT_FALSE(tokenizer().token_id("no such token").has_value());
}

TEST(Tokenizer, DecodingPassesOverIdsItDoesNotHave) {
  Ids ids = tokenizer().encode("box");
  ids.insert(ids.begin(), {-1, tokenizer().vocab_size(), std::int64_t{1} << 40});
  EXPECT_EQ(tokenizer().decode(ids, false), "box");
}

TEST(Tokenizer, CanBeUsedFromSeveralThreads) {
  const std::string text = "Where is the red circle? \u4f60\u597d <|im_end|> 123";
  const Ids expected = tokenizer().encode(text);
  std::vector<int> right(4, 0);
  std::vector<std::thread> threads;
  for (int& count : right) {
    threads.emplace_back([&count, &text, &expected] {
      for (int i = 0; i < 200; ++i) count += tokenizer().encode(text) == expected ? 1 : 0;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(right, std::vector<int>(4, 200));
}

// Without an O(n log n) merge and a linear normalization this test takes hours.
TEST(Tokenizer, LongTextsOfOneKindTakeLinearTime) {
  const std::size_t size = std::size_t{1} << 19;
  for (const std::string_view unit : {" ", "a", "!", "\n", "7", "\u4f60", "the", "<|im_", "\u0316\u0301"}) {
    std::string text;
    while (text.size() < size) text += unit;
    const std::string back = tokenizer().decode(tokenizer().encode(text), false);
    EXPECT_EQ(back.size(), text.size()) << unit;
  }
}

// Any ids: halves of characters, special tokens, ids that no token has.
TEST(StreamDecoder, PiecesOfAnyIdsAreTheWholeText) {
  std::mt19937_64 random(1);
  for (int i = 0; i < 20'000; ++i) {
    Ids ids(1 + random() % 12);
    for (std::int64_t& id : ids) {
      const bool is_byte = random() % 2 == 0;  // the first 256 ids are the single bytes
      id = static_cast<std::int64_t>(random() % (is_byte ? 256 : 470));
    }
    for (const bool skip : {false, true}) {
      ASSERT_EQ(streamed(tokenizer(), ids, skip), tokenizer().decode(ids, skip)) << json(ids);
    }
  }
}

TEST(StreamDecoder, HoldsBackUnfinishedCharacters) {
  const Ids ids = tokenizer().encode("\U00010348");  // four bytes, no merges
  ASSERT_EQ(ids.size(), 4U);
  StreamDecoder decoder(tokenizer());
  EXPECT_EQ(decoder.push(ids[0]), "");
  EXPECT_EQ(decoder.push(ids[1]), "");
  EXPECT_EQ(decoder.push(ids[2]), "");
  EXPECT_EQ(decoder.push(ids[3]), "\U00010348");
  EXPECT_EQ(decoder.finish(), "");
  decoder.push(ids[0]);
  EXPECT_EQ(decoder.finish(), "\uFFFD");
  EXPECT_EQ(decoder.finish(), "");
}

}  // namespace
}  // namespace graft::text
