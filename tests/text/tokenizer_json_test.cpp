// SPDX-License-Identifier: Apache-2.0
// Every kind of tokenizer.json that cannot be used is refused with the place and the reason.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "support/strings.h"
#include "tests/text/tokenizer_fixture.h"

namespace graft::text {
namespace {

using nlohmann::json;

bool contains(const std::string& message, std::string_view part) {
  return support::contains(message, part);
}
bool starts_with(const std::string& message, std::string_view part) {
  return message.starts_with(part);
}

std::string changed_error(const Change& change) {
  return load_error(changed_json(change));
}

TEST(TokenizerJson, MissingFileIsNamed) {
  try {
    Tokenizer::load("/nonexistent/tokenizer.json");
    FAIL() << "no error";
  } catch (const support::UserError& error) {
    EXPECT_PRED2(contains, error.what(), "/nonexistent/tokenizer.json");
  }
}

TEST(TokenizerJson, TruncatedAndMalformedFiles) {
  const std::string whole = support::read_file(tokenizer_data("tokenizer.json"));
  for (const std::size_t size : {std::size_t{0}, std::size_t{1}, whole.size() / 2, whole.size() - 3}) {
    EXPECT_PRED2(starts_with, load_error(whole.substr(0, size)), ": not valid JSON") << size;
  }
  EXPECT_PRED2(contains, load_error("[]"), "the document must be an object, found array");
  EXPECT_PRED2(contains, load_error("{}"), "model must be an object, found null");
}

TEST(TokenizerJson, OtherPipelinesAreNotSupported) {
  EXPECT_PRED2(starts_with, changed_error([](json& data) { data["model"]["type"] = "WordPiece"; }),
               ": model.type is \"WordPiece\", which this tokenizer does not support");
  EXPECT_PRED2(starts_with, changed_error([](json& data) {
                 data["normalizer"] = {{"type", "Lowercase"}};
               }),
               ": normalizer is {\"type\":\"Lowercase\"}");
  EXPECT_PRED2(starts_with, changed_error([](json& data) {
                 data["normalizer"] = {{"type", "Sequence"}, {"normalizers", {{{"type", "NFKC"}}}}};
               }),
               ": normalizer.normalizers[0] is");
  EXPECT_PRED2(starts_with, changed_error([](json& data) {
                 data["pre_tokenizer"] = {{"type", "Whitespace"}};
               }),
               ": pre_tokenizer is");
  EXPECT_PRED2(starts_with, changed_error([](json& data) { data["pre_tokenizer"] = nullptr; }),
               ": pre_tokenizer is");
  EXPECT_PRED2(starts_with, changed_error([](json& data) { data["decoder"] = nullptr; }),
               ": decoder is null");
  EXPECT_PRED2(starts_with, changed_error([](json& data) {
                 data["post_processor"] = {{"type", "BertProcessing"}};
               }),
               ": post_processor is {\"type\":\"BertProcessing\"}");
}

TEST(TokenizerJson, SentencePieceIsRefusedByItsName) {
  const std::string fallback = changed_error([](json& data) {  // as Llama-2 has it
    data["model"]["byte_fallback"] = true;
    data["model"]["unk_token"] = "<unk>";
    data["pre_tokenizer"] = nullptr;
  });
  EXPECT_PRED2(starts_with, fallback,
               ": model.byte_fallback is true: a SentencePiece-style tokenizer, as of Llama-2");
  EXPECT_PRED2(contains, fallback, "reads byte-level BPE, as of Qwen, Llama-3 and GLM-4");
  const std::string unigram = changed_error([](json& data) { data["model"] = {{"type", "Unigram"}}; });
  EXPECT_PRED2(starts_with, unigram, ": model.type is \"Unigram\": a SentencePiece-style tokenizer");
}

TEST(TokenizerJson, TemplatesAreSpecialTokensAroundOneText) {
  const auto error_of = [](const json& single) {
    return changed_error([&](json& data) {
      data["post_processor"] = {{"type", "TemplateProcessing"},
                                {"single", single},
                                {"special_tokens", {{"<s>", {{"id", "<s>"}, {"ids", {1}}}}}}};
    });
  };
  const auto special = [](const char* token) {
    return json{{"SpecialToken", {{"id", token}, {"type_id", 0}}}};
  };
  const auto text = [](const char* id) { return json{{"Sequence", {{"id", id}, {"type_id", 0}}}}; };
  EXPECT_EQ(error_of({special("<s>"), text("A"), special("<s>")}), "no error");
  EXPECT_PRED2(starts_with, error_of(json::array({special("<s>")})), ": post_processor.single is");
  EXPECT_PRED2(starts_with, error_of({text("A"), text("A")}), ": post_processor.single is");
  EXPECT_PRED2(starts_with, error_of(json::array({text("B")})), ": post_processor.single is");
  EXPECT_PRED2(starts_with, error_of(json::array({json::object()})), ": post_processor.single is");
  EXPECT_PRED2(contains, error_of({special("</s>"), text("A")}),
               "names \"</s>\", which special_tokens does not have");
  EXPECT_PRED2(starts_with, error_of(7), ": post_processor.single must be an array");
}

TEST(TokenizerJson, OtherFilesOfATokenizerAreNamed) {
  for (const char* other : {"tokenizer.model", "vocab.json"}) {
    const TemporaryTokenizer temporary("{}");
    std::filesystem::rename(temporary.file(), temporary.file().parent_path() / other);
    try {
      Tokenizer::load(temporary.file());
      FAIL() << "no error";
    } catch (const support::UserError& error) {
      EXPECT_PRED2(contains, error.what(),
                   "tokenizer.json does not exist; the directory has its tokenizer as");
      EXPECT_PRED2(contains, error.what(), other);
    }
  }
}

TEST(TokenizerJson, OptionsThatWouldChangeIdsAreNotSupported) {
  for (const char* key : {"unk_token", "continuing_subword_prefix", "end_of_word_suffix"}) {
    EXPECT_PRED2(starts_with, changed_error([key](json& data) { data["model"][key] = "##"; }),
                 std::string(": model.") + key + " is \"##\"");
  }
  EXPECT_PRED2(starts_with, changed_error([](json& data) { data["model"]["dropout"] = 0.1; }),
               ": model.dropout is 0.1");
  EXPECT_PRED2(contains, changed_error([](json& data) {
                 data["pre_tokenizer"]["pretokenizers"][0]["behavior"] = "MergedWithNext";
               }),
               "pretokenizers[0].behavior is \"MergedWithNext\"");
  EXPECT_PRED2(contains,
               changed_error([](json& data) { data["pre_tokenizer"]["pretokenizers"][0]["invert"] = true; }),
               "pretokenizers[0].invert is true");
}

TEST(TokenizerJson, ExpressionsThatDoNotCompile) {
  const auto error_of = [](const char* expression) {
    return changed_error([expression](json& data) {
      data["pre_tokenizer"]["pretokenizers"][0]["pattern"] = {{"Regex", expression}};
    });
  };
  EXPECT_PRED2(contains, error_of("a(b"), "pretokenizers[0].pattern cannot be used: the expression \"a(b\"");
  EXPECT_PRED2(contains, error_of("[a[b]]"), "a class inside a class at byte 2");
  EXPECT_PRED2(contains, error_of("\\w+"), "'\\w' at byte 0");
  EXPECT_PRED2(contains, error_of("\\p{Han}"), "a property that is not a general category");
  EXPECT_PRED2(contains, error_of("\\p{N}{1,3}+"), "a '+' after a counted repetition");
  EXPECT_PRED2(contains, error_of("(?i)a"), "an inline option");
  EXPECT_PRED2(contains, error_of("a\\"), "a lone '\\'");
}

TEST(TokenizerJson, VocabularyAndMergesMustFit) {
  EXPECT_PRED2(contains, changed_error([](json& data) { data["model"]["merges"].push_back("no such"); }),
               "needs the token \"no\", which the vocabulary does not have");
  EXPECT_PRED2(contains, changed_error([](json& data) { data["model"]["merges"][3] = "abc"; }),
               "model.merges[3] must be two tokens separated by one space");
  EXPECT_PRED2(contains, changed_error([](json& data) {
                 data["model"]["merges"][3] = {"a", "b", "c"};
               }),
               "model.merges[3] must be a pair of tokens, found 3");
  EXPECT_PRED2(contains, changed_error([](json& data) { data["model"]["merges"][3] = 7; }),
               "model.merges[3] must be an array, found 7");
  EXPECT_PRED2(contains, changed_error([](json& data) { data["model"]["vocab"]["a"] = -1; }),
               "model.vocab[\"a\"] must be a token id");
  EXPECT_PRED2(contains, changed_error([](json& data) { data["model"]["vocab"]["a"] = 1LL << 40; }),
               "model.vocab[\"a\"] must be a token id");
  EXPECT_PRED2(contains, changed_error([](json& data) { data["model"]["vocab"]["fresh"] = 3; }),
               "has the id 3, as another token does");
}

TEST(TokenizerJson, AddedTokensMustNotContradict) {
  EXPECT_PRED2(contains, changed_error([](json& data) { data["added_tokens"][0]["id"] = 5; }),
               "gives \"<|endoftext|>\" the id 5");
  EXPECT_PRED2(contains, changed_error([](json& data) {
                 data["added_tokens"].push_back({{"id", 900}, {"content", "<|im_end|>"}});
               }),
               "gives the token \"<|im_end|>\" a second id, 900");
  EXPECT_PRED2(contains, changed_error([](json& data) { data["added_tokens"][0].erase("content"); }),
               "added_tokens[0].content must be a string, found null");
  EXPECT_PRED2(contains, changed_error([](json& data) { data["added_tokens"][0]["lstrip"] = "yes"; }),
               "added_tokens[0].lstrip must be true or false, found string");
}

}  // namespace
}  // namespace graft::text
