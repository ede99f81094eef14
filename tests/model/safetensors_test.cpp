// SPDX-License-Identifier: Apache-2.0
#include "model/safetensors.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <fstream>
#include <functional>

#include "support/error.h"

namespace graft::model {
namespace {

namespace fs = std::filesystem;

class Safetensors : public testing::Test {
 protected:
  Safetensors() {
    std::string name = (fs::temp_directory_path() / "graft-safetensors-XXXXXX").string();
    directory_ = ::mkdtemp(name.data());
  }
  ~Safetensors() override { fs::remove_all(directory_); }

  fs::path file(std::string_view name = "t.safetensors") const { return directory_ / name; }

  // A file of this header and `data` zero bytes.
  fs::path raw(const std::string& header, std::size_t data) const {
    std::string bytes;
    for (int i = 0; i < 8; ++i) bytes.push_back(static_cast<char>(header.size() >> (8 * i) & 0xFF));
    support::write_file_atomic(file(), bytes + header + std::string(data, '\0'));
    return file();
  }

  std::string refusal(const std::function<void()>& action) const {
    try {
      action();
    } catch (const support::UserError& e) {
      return e.what();
    }
    ADD_FAILURE() << "no error";
    return {};
  }
  std::string refusal(const std::string& header, std::size_t data) const {
    const fs::path path = raw(header, data);
    std::string text = refusal([&] { SafetensorsFile{path}; });
    EXPECT_NE(text.find("t.safetensors"), std::string::npos) << text;
    return text;
  }

  fs::path directory_;
};

TEST_F(Safetensors, GivesBackWhatWasWritten) {
  NamedTensors tensors;
  const at::ScalarType dtypes[] = {at::kDouble, at::kFloat, at::kHalf, at::kBFloat16, at::kLong,
                                   at::kInt,    at::kShort, at::kChar, at::kByte,     at::kBool};
  for (const at::ScalarType dtype : dtypes) {
    tensors.emplace_back(std::string("t.") + c10::toString(dtype), at::arange(6).reshape({2, 3}).to(dtype));
  }
  tensors.emplace_back("transposed", at::randn({3, 5}).t());
  tensors.emplace_back("scalar", at::randn({}));
  tensors.emplace_back("empty", at::empty({0, 4}));
  write_safetensors(file(), tensors, {{"format", "pt"}, {"step", "7"}});
  const SafetensorsFile read(file());
  EXPECT_EQ(read.entries().size(), tensors.size());
  EXPECT_EQ(read.metadata().at("step"), "7");
  for (const auto& [name, tensor] : tensors) {
    const at::Tensor copy = read.read(name);
    EXPECT_EQ(copy.scalar_type(), tensor.scalar_type());
    EXPECT_TRUE(at::equal(copy, tensor)) << name;
  }
}

TEST_F(Safetensors, WritesTheSameBytesWhateverTheOrder) {
  const at::Tensor a = at::randn({3}), b = at::ones({3}).to(at::kByte), c = at::randn({2, 2});
  write_safetensors(file("1"), {{"a", a}, {"b", b}, {"c", c}});
  write_safetensors(file("2"), {{"c", c}, {"b", b}, {"a", a}});
  EXPECT_EQ(support::read_file(file("1")), support::read_file(file("2")));
}

TEST_F(Safetensors, AViewKeepsTheFileMapped) {
  const at::Tensor a = at::randn({100});
  write_safetensors(file(), {{"a", a}});
  at::Tensor view;
  {
    const SafetensorsFile opened(file());
    view = opened.view(*opened.find("a"));
  }
  fs::remove(file());
  EXPECT_TRUE(at::equal(view, a));
}

TEST_F(Safetensors, ReadsTensorsAtOddOffsets) {
  std::string header = R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                       R"("b":{"dtype":"F32","shape":[2],"data_offsets":[1,9]}})";
  EXPECT_EQ(SafetensorsFile(raw(header, 9)).read("b").sum().item<float>(), 0.0F);
}

TEST_F(Safetensors, NamesTheTensorThatIsMissing) {
  write_safetensors(file(), {{"a", at::ones({1})}});
  EXPECT_NE(refusal([&] { (void)SafetensorsFile(file()).read("b"); }).find("no tensor \"b\""),
            std::string::npos);
  EXPECT_NE(refusal([&] { SafetensorsFile{file("absent")}; }).find("absent"), std::string::npos);
}

TEST_F(Safetensors, RefusesTruncatedFilesAtEveryLength) {
  write_safetensors(file(), {{"a", at::ones({4})}, {"b", at::ones({2})}});
  const std::string whole = support::read_file(file());
  for (std::size_t length = 0; length < whole.size(); ++length) {
    std::ofstream(file(), std::ios::binary) << std::string_view(whole).substr(0, length);
    EXPECT_FALSE(refusal([&] { SafetensorsFile{file()}; }).empty()) << length;
  }
  support::write_file_atomic(file(), std::string_view(whole).substr(0, whole.size() - 1));
  const std::string text = refusal([&] { SafetensorsFile{file()}; });
  EXPECT_NE(text.find("\"b\""), std::string::npos) << text;
  EXPECT_NE(text.find("ends at byte 24, but the file holds 23 bytes"), std::string::npos) << text;
  support::write_file_atomic(file(), whole + "x");
  EXPECT_FALSE(refusal([&] { SafetensorsFile{file()}; }).empty());
}

TEST_F(Safetensors, RefusesInconsistentHeaders) {
  const auto entry = [](const std::string& rest) { return "{\"a\":{" + rest + "}}"; };
  const std::pair<std::string, const char*> cases[] = {
      {"not json", "not JSON"},
      {"[]", "expected an object"},
      {"{\"a\":3}", "expected an object"},
      {entry(R"("shape":[2],"data_offsets":[0,8])"), "\"dtype\" is missing"},
      {entry(R"("dtype":"F8_E4M3","shape":[8],"data_offsets":[0,8])"), "F8_E4M3"},
      {entry(R"("dtype":7,"shape":[8],"data_offsets":[0,8])"), "the dtype is 7"},
      {entry(R"("dtype":"F32","shape":[-2],"data_offsets":[0,8])"), "natural numbers"},
      {entry(R"("dtype":"F32","shape":[2.0],"data_offsets":[0,8])"), "natural numbers"},
      {entry(R"("dtype":"F32","shape":2,"data_offsets":[0,8])"), "natural numbers"},
      {entry(R"("dtype":"F32","shape":[2],"data_offsets":[8,0])"), "ascending"},
      {entry(R"("dtype":"F32","shape":[2],"data_offsets":[0])"), "expected two"},
      {entry(R"("dtype":"F32","shape":[3],"data_offsets":[0,8])"), "has 12"},
      {entry(R"("dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,8])"), "more than 2^63"},
      {entry(R"("dtype":"F32","shape":[18446744073709551615],"data_offsets":[0,8])"), "out of range"},
      {entry(R"("dtype":"F32","shape":[1],"data_offsets":[4,8])"), "gap"},
      {entry(R"("dtype":"F32","shape":[1],"data_offsets":[0,4])"), "take 4 bytes"},
      {entry(R"("dtype":"F32","shape":[4],"data_offsets":[0,16])"), "truncated"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
       "overlaps"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
       "occurs twice"},
      {R"({"__metadata__":{"k":1},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", "no string"},
  };
  for (const auto& [header, expected] : cases) {
    const std::string text = refusal(header, 8);
    EXPECT_NE(text.find(expected), std::string::npos) << header << "\n" << text;
  }
}

TEST_F(Safetensors, RefusesAHeaderLengthBeyondTheFile) {
  support::write_file_atomic(file(), std::string("\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF{}", 10));
  EXPECT_NE(refusal([&] { SafetensorsFile{file()}; }).find("limit"), std::string::npos);
}

TEST_F(Safetensors, ShardsReadLikeOneFile) {
  const at::Tensor a = at::randn({2}), b = at::randn({3});
  write_safetensors(file("s1.safetensors"), {{"a", a}});
  write_safetensors(file("s2.safetensors"), {{"b", b}});
  const auto index = [&](std::string_view map) {
    support::write_file_atomic(file("model.safetensors.index.json"),
                               std::string(R"({"weight_map":)").append(map) + "}");
  };
  index(R"({"a":"s1.safetensors","b":"s2.safetensors"})");
  const WeightFiles weights(directory_);
  EXPECT_EQ(weights.names(), (std::vector<std::string>{"a", "b"}));
  EXPECT_TRUE(at::equal(weights.view("b"), b));
  EXPECT_EQ(weights.find("c"), nullptr);

  const auto refused = [&] { return refusal([&] { WeightFiles{directory_}; }); };
  index(R"({"a":"s2.safetensors","b":"s2.safetensors"})");
  EXPECT_NE(refused().find("\"a\" is said to be in s2.safetensors"), std::string::npos);
  index(R"({"a":"../s1.safetensors"})");
  EXPECT_NE(refused().find("plain file name"), std::string::npos);
  index(R"({"a":"s3.safetensors"})");
  EXPECT_NE(refused().find("s3.safetensors"), std::string::npos);
  index("7");
  EXPECT_NE(refused().find("weight_map"), std::string::npos);
  write_safetensors(file("s2.safetensors"), {{"b", b}, {"a", a}});
  index(R"({"a":"s1.safetensors","b":"s2.safetensors"})");
  EXPECT_NE(refused().find("both in"), std::string::npos);
}

TEST_F(Safetensors, ADirectoryWithoutWeightsIsNamed) {
  EXPECT_NE(refusal([&] { WeightFiles{directory_}; }).find("holds no weights"), std::string::npos);
}

}  // namespace
}  // namespace graft::model
