// SPDX-License-Identifier: Apache-2.0
// Peak memory of loading: at most 1.1 × the weights as loaded, of the tensors alone and of a whole model, whatever the dtypes and
// wherever the tensors lie in their file. Each case is measured in a process of its own.
#include <ATen/ops/empty.h>
#include <gtest/gtest.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>

#include "model/weights.h"
#include "support/files.h"
#include "support/strings.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/tiny_model.h"

namespace graft::model {
namespace {

namespace fs = std::filesystem;

// "VmHWM", the peak of resident memory, of this process in bytes.
std::int64_t peak_of_process() {
  constexpr std::string_view kKey = "VmHWM:";
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(kKey)) return std::strtoll(line.c_str() + kKey.size(), nullptr, 10) * 1024;
  }
  return 0;
}

void restart_peak() {
  std::ofstream("/proc/self/clear_refs") << "5";
}

struct Stored {
  std::string name;
  std::vector<std::int64_t> sizes;
};

std::int64_t bytes_of(const Stored& tensor) {
  std::int64_t bytes = 2;
  for (const std::int64_t size : tensor.sizes) bytes *= size;
  return bytes;
}

// A checkpoint in bfloat16, written a little at a time: it never lies in memory. With `is_aligned` false every tensor begins at an
// odd address.
void write_checkpoint(const fs::path& path, const std::vector<Stored>& tensors, bool is_aligned) {
  nlohmann::ordered_json header;
  std::int64_t end = 0;
  for (const Stored& tensor : tensors) {
    const std::int64_t begin = end;
    end += bytes_of(tensor);
    header[tensor.name] = {{"dtype", "BF16"}, {"shape", tensor.sizes}, {"data_offsets", {begin, end}}};
  }
  std::string text = header.dump();
  text.append((8 - text.size() % 8) % 8 + (is_aligned ? 0 : 1), ' ');
  std::ofstream out(path, std::ios::binary);
  for (int i = 0; i < 8; ++i) out.put(static_cast<char>(text.size() >> (8 * i) & 0xFF));
  out << text;
  std::array<char, 4096> block{};
  std::uint32_t state = 1;
  for (std::int64_t at = 0; at < end; at += static_cast<std::int64_t>(block.size())) {
    for (std::size_t i = 0; i < block.size(); i += 2) {
      state = state * 1664525U + 1013904223U;
      block[i] = static_cast<char>(state >> 24U);
      block[i + 1] = 0x3F;
    }
    out.write(block.data(), std::min<std::int64_t>(static_cast<std::int64_t>(block.size()), end - at));
  }
}

// Ends the process: 0 if the peak since restart_peak() is within 1.1 × the weights as loaded.
[[noreturn]] void exit_with(std::int64_t before, const std::vector<Param>& params) {
  const std::int64_t peak = peak_of_process() - before;
  std::int64_t loaded = 0;
  for (const Param& param : params) {
    if (param.tied_to < 0) loaded += static_cast<std::int64_t>(param.tensor.nbytes());
  }
  std::fprintf(stderr, "peak %.1f MiB over %.1f MiB of weights\n", static_cast<double>(peak) / (1 << 20),
               static_cast<double>(loaded) / (1 << 20));
  std::exit(peak >= loaded && static_cast<double>(peak) <= 1.1 * static_cast<double>(loaded) ? 0 : 1);
}

// ---- tensors alone: 320 MiB on disk -----------------------------------------------------------------------

std::vector<Param> params_of(const std::vector<Stored>& tensors) {
  std::vector<Param> params;
  for (const Stored& tensor : tensors) {
    Param& param = params.emplace_back();
    param.name = tensor.name;
    param.sizes = tensor.sizes;
    param.tied_to = -1;
  }
  return params;
}

[[noreturn]] void load_large_and_exit(at::ScalarType dtype) {
  auto root = std::make_unique<test::TemporaryDirectory>();
  std::vector<Stored> tensors;
  for (int i = 0; i < 4; ++i) tensors.push_back({support::cat("t", i), {40 * 1024, 1024}});
  write_checkpoint(*root / "model.safetensors", tensors, true);
  std::vector<Param> params = params_of(tensors);
  {  // what LibTorch takes for itself on first use is not a matter of the weights
    const test::TemporaryDirectory small;
    const std::vector<Stored> one = {{"t0", {64, 1024}}};
    write_checkpoint(small / "model.safetensors", one, true);
    std::vector<Param> loaded = params_of(one);
    (void)load_weights(small.path(), dtype, loaded);
  }
  restart_peak();
  const std::int64_t before = peak_of_process();
  (void)load_weights(root->path(), dtype, params);
  root.reset();
  exit_with(before, params);
}

TEST(LoadingMemoryDeathTest, WeightsTakeATenthMoreThanThemselvesAtMost) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(load_large_and_exit(at::kBFloat16), testing::ExitedWithCode(0), "over 320.0 MiB of weights");
  EXPECT_EXIT(load_large_and_exit(at::kFloat), testing::ExitedWithCode(0), "over 640.0 MiB of weights");
}

// ---- a model: Model::open() of a directory as a user has it -----------------------------------------------

// A Qwen2 model with tied embeddings, 136,330,240 parameters in bfloat16: 260 MiB.
void write_model(const fs::path& directory, bool is_aligned) {
  constexpr std::int64_t kHidden = 2048, kWide = 8192, kKv = 256, kVocab = 8192, kLayers = 2;
  const fs::path source = fs::path(GRAFT_TEST_DATA) / "parity/data/qwen2_tiny";
  for (const char* name : {"tokenizer.json", "tokenizer_config.json", "generation_config.json"}) {
    fs::copy_file(source / name, directory / name);
  }
  nlohmann::json config = nlohmann::json::parse(support::read_file(source / "config.json"));
  config.update({{"hidden_size", kHidden},
                 {"intermediate_size", kWide},
                 {"num_hidden_layers", kLayers},
                 {"num_attention_heads", 16},
                 {"num_key_value_heads", 2},
                 {"vocab_size", kVocab},
                 {"tie_word_embeddings", true}});
  support::write_file_atomic(directory / "config.json", config.dump());
  std::vector<Stored> tensors = {{"model.embed_tokens.weight", {kVocab, kHidden}},
                                 {"model.norm.weight", {kHidden}}};
  for (std::int64_t i = 0; i < kLayers; ++i) {
    const std::string layer = support::cat("model.layers.", i, ".");
    const auto add = [&](const char* name, std::vector<std::int64_t> sizes) {
      tensors.push_back({layer + name, std::move(sizes)});
    };
    for (const auto& [name, width] : {std::pair{"q", kHidden}, std::pair{"k", kKv}, std::pair{"v", kKv}}) {
      add(support::cat("self_attn.", name, "_proj.weight").c_str(), {width, kHidden});
      add(support::cat("self_attn.", name, "_proj.bias").c_str(), {width});
    }
    add("self_attn.o_proj.weight", {kHidden, kHidden});
    add("mlp.gate_proj.weight", {kWide, kHidden});
    add("mlp.up_proj.weight", {kWide, kHidden});
    add("mlp.down_proj.weight", {kHidden, kWide});
    add("input_layernorm.weight", {kHidden});
    add("post_attention_layernorm.weight", {kHidden});
  }
  write_checkpoint(directory / "model.safetensors", tensors, is_aligned);
}

[[noreturn]] void open_large_and_exit(const std::string& dtype, bool is_aligned) {
  auto root = std::make_unique<test::TemporaryDirectory>();
  write_model(root->path(), is_aligned);
  OpenOptions options;
  options.dtype = dtype;
  options.directory = fs::path(GRAFT_TEST_DATA) / "parity/data/qwen2_tiny";
  (void)Model::open(tests::tiny_registry(), options);  // libraries, plugins, what LibTorch takes for itself
  options.directory = root->path();
  restart_peak();
  const std::int64_t before = peak_of_process();
  const auto model = Model::open(tests::tiny_registry(), options);
  root.reset();
  exit_with(before, model->params());
}

TEST(LoadingMemoryDeathTest, AModelTakesATenthMoreThanItsWeightsAtMost) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(open_large_and_exit("bfloat16", true), testing::ExitedWithCode(0), "over 260.0 MiB of weights");
  EXPECT_EXIT(open_large_and_exit("float32", true), testing::ExitedWithCode(0), "over 520.1 MiB of weights");
}

TEST(LoadingMemoryDeathTest, AModelWhoseTensorsAreNotAlignedTakesNoMore) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(open_large_and_exit("bfloat16", false), testing::ExitedWithCode(0),
              "over 260.0 MiB of weights");
  EXPECT_EXIT(open_large_and_exit("float32", false), testing::ExitedWithCode(0), "over 520.1 MiB of weights");
}

}  // namespace
}  // namespace graft::model
