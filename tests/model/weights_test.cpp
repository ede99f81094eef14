// SPDX-License-Identifier: Apache-2.0
// Weights of a directory into declared parameters: dtypes, memory, ties, what does not fit, shards.
#include "model/weights.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "model/safetensors.h"
#include "support/error.h"
#include "support/files.h"
#include "support/strings.h"
#include "tests/support/errors.h"
#include "tests/support/temporary_directory.h"

namespace graft::model {
namespace {

namespace fs = std::filesystem;
using support::UserError;
using test::contains;
using test::message_of;

Param param(std::string name, std::vector<std::int64_t> sizes, std::int32_t tied_to = -1) {
  return {std::move(name), {}, std::move(sizes), 0, tied_to, {}};
}

// The rest of a directory is not looked at: parameters are declared by hand.
class WeightsTest : public testing::Test {
 protected:
  [[nodiscard]] fs::path file(std::string_view name = "model.safetensors") const { return root_ / name; }
  void write(const NamedTensors& tensors) const { write_safetensors(file(), tensors); }
  [[nodiscard]] std::vector<Param> load(std::vector<Param> params, at::ScalarType dtype = at::kFloat) const {
    (void)load_weights(root_.path(), dtype, params);
    return params;
  }
  [[nodiscard]] std::string refusal(const std::vector<Param>& params) const {
    return message_of<UserError>([&] { (void)load(params); });
  }

  test::TemporaryDirectory root_;
};

TEST_F(WeightsTest, EveryFloatingDtypeBecomesEveryOther) {
  const at::Tensor values = at::randn({5, 7});
  for (const at::ScalarType stored : {at::kDouble, at::kFloat, at::kHalf, at::kBFloat16}) {
    write({{"w", values.to(stored)}, {"odd", at::ones({3}).to(at::kHalf)}});
    for (const at::ScalarType wanted : {at::kFloat, at::kHalf, at::kBFloat16}) {
      const std::vector<Param> params = load({param("w", {5, 7}), param("odd", {3})}, wanted);
      EXPECT_EQ(params[0].tensor.scalar_type(), wanted);
      EXPECT_TRUE(at::equal(params[0].tensor, values.to(stored).to(wanted))) << stored << " to " << wanted;
      EXPECT_TRUE(at::equal(params[1].tensor, at::ones({3}).to(wanted)));
    }
  }
}

TEST_F(WeightsTest, TensorsLargerThanAChunkAndEmptyOnes) {
  const at::Tensor large = at::randn({3, 3'000'001});  // 36 MB, no whole number of chunks
  write({{"large", large}, {"empty", at::ones({0, 4})}, {"scalar", at::ones({})}});
  const std::vector<Param> params =
      load({param("large", {3, 3'000'001}), param("empty", {0, 4}), param("scalar", {})}, at::kBFloat16);
  EXPECT_TRUE(at::equal(params[0].tensor, large.to(at::kBFloat16)));
  EXPECT_EQ(params[1].tensor.numel(), 0);
  EXPECT_TRUE(at::equal(params[2].tensor, at::ones({}).to(at::kBFloat16)));
}

TEST_F(WeightsTest, TensorsAtOddOffsets) {
  const std::string header =
      R"({"a":{"dtype":"BF16","shape":[1],"data_offsets":[0,2]},"b":{"dtype":"F32","shape":[1],"data_offsets":[2,6]}})";
  std::string bytes(8, '\0');
  bytes[0] = static_cast<char>(header.size());
  bytes += header + std::string("\x80\x3F", 2) + std::string("\x00\x00\x00\x40", 4);  // 1 and 2
  support::write_file_atomic(file(), bytes);
  const std::vector<Param> params = load({param("a", {1}), param("b", {1})});
  EXPECT_EQ(params[0].tensor.item<float>(), 1.0F);
  EXPECT_EQ(params[1].tensor.item<float>(), 2.0F);
}

TEST_F(WeightsTest, ListsEverythingThatDoesNotFitAtOnce) {
  write({{"a", at::randn({2})},
         {"b", at::randn({2, 3})},
         {"c", at::ones({2}).to(at::kChar)},
         {"extra", at::randn({1})},
         {"model.layers.0.self_attn.rotary_emb.inv_freq", at::randn({1})}});
  const std::string text =
      refusal({param("a", {2}), param("b", {3, 2}), param("c", {2}), param("d", {1}), param("e", {1})});
  EXPECT_TRUE(contains(text, "model.safetensors")) << text;
  EXPECT_TRUE(contains(text, "2 missing: d, e;")) << text;
  EXPECT_TRUE(contains(text, "1 of another shape: b (found [2, 3], expected [3, 2])")) << text;
  EXPECT_TRUE(contains(text, "1 of no floating-point dtype")) << text;
  EXPECT_TRUE(contains(text, "c (I8)")) << text;
  EXPECT_TRUE(contains(text, "1 unexpected: extra;")) << text;
  EXPECT_FALSE(contains(text, "inv_freq")) << text;
}

TEST_F(WeightsTest, LongListsAreCut) {
  std::vector<Param> params;
  for (int i = 0; i < 14; ++i) params.push_back(param(support::cat("p", i), {1}));
  write({});
  EXPECT_TRUE(contains(refusal(params), "14 missing: p0, p1, p2, p3, p4, p5, p6, p7, p8, p9, and 4 more"));
}

TEST_F(WeightsTest, ATiedHeadMayBeStoredUnderEitherNameOrBoth) {
  const at::Tensor values = at::randn({4, 2});
  const std::vector<Param> tied = {param("embed", {4, 2}), param("head", {4, 2}, 0)};
  for (const NamedTensors& stored : {NamedTensors{{"embed", values}}, NamedTensors{{"head", values}},
                                     NamedTensors{{"embed", values}, {"head", values.clone()}}}) {
    write(stored);
    const std::vector<Param> params = load(tied);
    EXPECT_TRUE(at::equal(params[0].tensor, values));
    EXPECT_TRUE(params[1].tensor.is_same(params[0].tensor));
  }
  write({{"embed", values}, {"head", values.add(1)}});
  const std::string text = refusal(tied);
  EXPECT_TRUE(contains(text, "1 tied but different: head (other values than embed")) << text;
  EXPECT_TRUE(contains(text, "tie_word_embeddings")) << text;
  write({{"embed", values}, {"head", values.to(at::kHalf)}});
  EXPECT_TRUE(contains(refusal(tied), "tied but different"));
  write({{"other", values}});
  EXPECT_TRUE(contains(refusal(tied), "1 missing: embed; 1 unexpected: other"));
}

TEST_F(WeightsTest, SavesInShardsOfALimitedSizeAndReadsThemAgain) {
  std::vector<Param> params = {param("a", {10}), param("b", {6}), param("large", {100}), param("c", {2}),
                               param("head", {10}, 0)};
  std::vector<std::string> names;
  for (Param& p : params) {
    if (p.tied_to < 0) p.tensor = at::randn(p.sizes);
    names.push_back(p.tied_to < 0 ? "file." + p.name : std::string());
  }
  save_weights(root_.path(), params, names, /*shard_bytes=*/64);
  EXPECT_FALSE(fs::exists(file()));
  const auto index = nlohmann::json::parse(support::read_file(file("model.safetensors.index.json")));
  EXPECT_EQ(index["metadata"]["total_size"], 4 * (10 + 6 + 100 + 2));
  EXPECT_EQ(index["weight_map"]["file.a"], "model-00001-of-00003.safetensors");
  EXPECT_EQ(index["weight_map"]["file.b"], "model-00001-of-00003.safetensors");
  EXPECT_EQ(index["weight_map"]["file.large"],
            "model-00002-of-00003.safetensors");  // over the limit by itself
  EXPECT_EQ(index["weight_map"]["file.c"], "model-00003-of-00003.safetensors");
  EXPECT_EQ(index["weight_map"].size(), 4U);
  EXPECT_EQ(SafetensorsFile(file("model-00001-of-00003.safetensors")).entries().size(), 2U);

  std::vector<Param> again = params;
  for (Param& p : again) p.aliases = {"file." + p.name};
  EXPECT_EQ(load_weights(root_.path(), at::kFloat, again), names);
  for (std::size_t i = 0; i < 4; ++i) EXPECT_TRUE(at::equal(again[i].tensor, params[i].tensor));

  const fs::path shard = file("model-00002-of-00003.safetensors");
  fs::resize_file(shard, fs::file_size(shard) - 1);
  const std::string truncated = refusal(again);
  EXPECT_TRUE(contains(truncated, "model-00002-of-00003.safetensors")) << truncated;
  EXPECT_TRUE(contains(truncated, "truncated")) << truncated;
  fs::remove(shard);
  fs::remove(file("model-00003-of-00003.safetensors"));
  const std::string absent = refusal(again);
  EXPECT_TRUE(contains(absent,
                       "model.safetensors.index.json names 3 files, of which 2 are not in the directory: "
                       "model-00002-of-00003.safetensors, model-00003-of-00003.safetensors"))
      << absent;
}

TEST_F(WeightsTest, OneFileIfTheLimitIsNotReached) {
  std::vector<Param> params = {param("a", {10})};
  params[0].tensor = at::randn({10});
  save_weights(root_.path(), params, {"a"});
  EXPECT_TRUE(fs::exists(file()));
  EXPECT_FALSE(fs::exists(file("model.safetensors.index.json")));
}

TEST_F(WeightsTest, ACorruptShardIsNamed) {
  support::write_file_atomic(file("model.safetensors.index.json"), R"({"weight_map":{"a":"s.safetensors"}})");
  support::write_file_atomic(file("s.safetensors"), std::string("\x02\0\0\0\0\0\0\0{x", 10));
  const std::string text = refusal({param("a", {1})});
  EXPECT_TRUE(contains(text, "s.safetensors")) << text;
  EXPECT_TRUE(contains(text, "the header is not JSON")) << text;
}

TEST_F(WeightsTest, PicklesAreNotReadAndTheErrorSaysSo) {
  support::write_file_atomic(file("pytorch_model.bin"), "PK");
  const std::string text = refusal({param("a", {1})});
  EXPECT_TRUE(contains(text, "holds no weights")) << text;
  EXPECT_TRUE(contains(text, "pytorch_model.bin, a pickle, is not read")) << text;
}

}  // namespace
}  // namespace graft::model
