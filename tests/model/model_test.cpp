// SPDX-License-Identifier: Apache-2.0
// What Model does with directories: weights by name and alias, special ids, prompts, saving, recomputation.
// The numbers of the forward pass are compared in tests/parity.
#include "model/model.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>
#include <graft/checkpoint_policy.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <nlohmann/json.hpp>

#include "memory/recompute.h"
#include "model/attention.h"
#include "model/safetensors.h"
#include "support/error.h"
#include "support/files.h"
#include "tests/support/errors.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/tiny_model.h"

namespace graft::model {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using support::UserError;
using test::contains;
using test::message_of;
using tests::open_tiny_model;
using tests::tiny_directory;
using tests::tiny_registry;

// A copy of the tiny checkpoint that a test may spoil.
class ModelDirectoryTest : public testing::Test {
 protected:
  ModelDirectoryTest() : path_(root_ / "model") {
    fs::create_directories(path_);
    for (const auto& entry : fs::directory_iterator(tiny_directory())) {
      if (entry.is_regular_file()) fs::copy_file(entry.path(), path_ / entry.path().filename());
    }
  }

  [[nodiscard]] std::unique_ptr<Model> open(const std::function<void(OpenOptions&)>& adjust = {}) const {
    OpenOptions options;
    options.directory = path_;
    if (adjust) adjust(options);
    return Model::open(tiny_registry(), options);
  }
  [[nodiscard]] std::string refusal(const std::function<void(OpenOptions&)>& adjust = {}) const {
    return message_of<UserError>([&] { (void)open(adjust); });
  }

  void edit(const char* file, const std::function<void(json&)>& change) const {
    json object = json::parse(support::read_file(path_ / file));
    change(object);
    support::write_file_atomic(path_ / file, object.dump());
  }
  // Rewrites the weights after `change`.
  void edit_weights(const std::function<void(NamedTensors&)>& change) const {
    NamedTensors tensors;
    {
      const SafetensorsFile file(path_ / "model.safetensors");
      for (const TensorEntry& entry : file.entries()) tensors.emplace_back(entry.name, file.read(entry.name));
    }
    change(tensors);
    write_safetensors(path_ / "model.safetensors", tensors);
  }

  test::TemporaryDirectory root_;
  fs::path path_;
};

void expect_same_params(const Model& a, const Model& b) {
  ASSERT_EQ(a.params().size(), b.params().size());
  for (std::size_t i = 0; i < a.params().size(); ++i) {
    EXPECT_TRUE(at::equal(a.params()[i].tensor, b.params()[i].tensor)) << a.params()[i].name;
  }
}

TEST_F(ModelDirectoryTest, OpensWithTheFamilyThatReadsIt) {
  const auto model = open();
  EXPECT_EQ(model->family(), "qwen2_5_vl");
  EXPECT_EQ(model->dtype(), at::kFloat);
  EXPECT_EQ(model->sites()[model->head_site()].out_features, model->vocab_size());
  EXPECT_EQ(model->position_rank(), 3U);
  for (const Param& param : model->params()) {
    EXPECT_TRUE(param.tensor.defined()) << param.name;
    EXPECT_EQ(param.tensor.sizes().vec(), param.sizes) << param.name;
    EXPECT_FALSE(param.tensor.requires_grad());
  }
}

TEST_F(ModelDirectoryTest, NamesAMissingDirectoryAndMissingFiles) {
  EXPECT_TRUE(contains(refusal([](OpenOptions& o) { o.directory = "/nowhere/model"; }), "/nowhere/model"));
  EXPECT_TRUE(contains(refusal([](OpenOptions& o) { o.dtype = "float8"; }), "float8"));
  fs::remove(path_ / "tokenizer.json");
  EXPECT_TRUE(contains(refusal(), "tokenizer.json"));
  fs::remove(path_ / "config.json");
  EXPECT_TRUE(contains(refusal(), "config.json"));
}

TEST_F(ModelDirectoryTest, NamesTheModelTypeThatNoFamilyReads) {
  edit("config.json", [](json& config) { config["model_type"] = "no_such_model"; });
  const std::string text = refusal();
  EXPECT_TRUE(contains(text, "no_such_model"));
  EXPECT_TRUE(contains(text, "qwen2_5_vl"));
}

TEST_F(ModelDirectoryTest, AConfigThatTheFamilyRefusesIsTheUsersError) {
  edit("config.json", [](json& config) { config.erase("num_hidden_layers"); });
  EXPECT_TRUE(contains(refusal(), "num_hidden_layers"));
}

TEST_F(ModelDirectoryTest, ListsMissingUnexpectedAndMisshapenTensorsTogether) {
  edit_weights([](NamedTensors& tensors) {
    const auto find = [&](std::string_view part) {
      return std::find_if(tensors.begin(), tensors.end(),
                          [&](const auto& entry) { return entry.first.find(part) != std::string::npos; });
    };
    find("layers.0.self_attn.q_proj.weight")->second = at::randn({3, 5});
    tensors.erase(find("layers.1.mlp.up_proj.weight"));
    tensors.emplace_back("left.over", at::randn({1}));
    tensors.emplace_back("model.rotary_emb.inv_freq", at::randn({1}));  // a buffer: passed over
  });
  const std::string text = refusal();
  EXPECT_TRUE(contains(text, "model.safetensors"));
  EXPECT_TRUE(contains(text, "layers.1.mlp.up_proj.weight"));
  EXPECT_TRUE(contains(text, "left.over"));
  EXPECT_TRUE(contains(text, "found [3, 5], expected ["));
  EXPECT_TRUE(contains(text, "1 unexpected"));
}

TEST_F(ModelDirectoryTest, ATruncatedWeightsFileIsRefused) {
  fs::resize_file(path_ / "model.safetensors", fs::file_size(path_ / "model.safetensors") - 1000);
  EXPECT_TRUE(contains(refusal(), "truncated"));
}

TEST_F(ModelDirectoryTest, ReadsBothLayoutsOfTensorNames) {
  const auto published = open_tiny_model();
  edit_weights([&](NamedTensors& tensors) {
    for (auto& [name, tensor] : tensors) {
      for (const Param& param : published->params()) {
        if (std::find(param.aliases.begin(), param.aliases.end(), name) != param.aliases.end()) {
          name = param.name;
          break;
        }
      }
    }
  });
  expect_same_params(*open(), *published);
}

TEST_F(ModelDirectoryTest, ConvertsToTheComputeDtype) {
  const auto model = open([](OpenOptions& o) { o.dtype = "bfloat16"; });
  const auto whole = open_tiny_model();
  for (std::size_t i = 0; i < model->params().size(); ++i) {
    EXPECT_TRUE(at::equal(model->params()[i].tensor, whole->params()[i].tensor.to(at::kBFloat16)));
  }
}

TEST_F(ModelDirectoryTest, RandomWeightsDependOnTheSeedAlone) {
  fs::remove(path_ / "model.safetensors");
  const auto random = [&](std::uint64_t seed) {
    return open([&](OpenOptions& o) {
      o.random_init = true;
      o.seed = seed;
    });
  };
  const auto a = random(1), b = random(1), c = random(2);
  expect_same_params(*a, *b);
  EXPECT_FALSE(at::equal(a->params()[0].tensor, c->params()[0].tensor));
  EXPECT_TRUE(contains(refusal(), "holds no weights"));
}

TEST_F(ModelDirectoryTest, TiedParametersShareATensor) {
  edit("config.json", [](json& config) { config["tie_word_embeddings"] = true; });
  edit_weights([](NamedTensors& tensors) {
    std::erase_if(tensors, [](const auto& entry) { return entry.first == "lm_head.weight"; });
  });
  const auto model = open();
  const Param& head = model->params()[static_cast<std::size_t>(model->sites()[model->head_site()].weight)];
  ASSERT_GE(head.tied_to, 0);
  EXPECT_TRUE(head.tensor.is_same(model->params()[static_cast<std::size_t>(head.tied_to)].tensor));
  model->save(root_ / "saved");
  EXPECT_EQ(SafetensorsFile(root_ / "saved/model.safetensors").find("lm_head.weight"), nullptr);
}

TEST_F(ModelDirectoryTest, FindsStopIdsWhereTheyAreGiven) {
  const auto with = [&](const json& generation, const json& config) {
    edit("generation_config.json", [&](json& object) { object["eos_token_id"] = generation; });
    edit("config.json", [&](json& object) { object["eos_token_id"] = config; });
    return open()->stop_ids();
  };
  using Ids = std::vector<std::int64_t>;
  const auto model = open_tiny_model();
  const std::int64_t im_end = model->tokenizer().token_id("<|im_end|>").value();
  EXPECT_EQ(with(json::array({7, 8}), 5), (Ids{7, 8}));
  EXPECT_EQ(with(9, 5), Ids{9});
  EXPECT_EQ(with(nullptr, 5), Ids{5});
  EXPECT_EQ(with(nullptr, nullptr), Ids{im_end});  // tokenizer_config.json
  edit("generation_config.json", [&](json& object) { object["eos_token_id"] = "end"; });
  EXPECT_TRUE(contains(refusal(), "eos_token_id"));
}

TEST_F(ModelDirectoryTest, PixelLimitsOverrideThePreprocessor) {
  const auto tokens = [](const Model& model) {
    const image::Image picture = image::load_image(tiny_directory() / "golden/image.png");
    return model.prepare({{"user", "where?", 1}}, std::span(&picture, 1), {}).images[0].n_tokens;
  };
  const auto limited = open([](OpenOptions& o) {
    o.min_pixels = 28 * 28;
    o.max_pixels = 28 * 28 * 4;
  });
  EXPECT_LE(tokens(*limited), 4);
  EXPECT_GT(tokens(*open()), 4);
}

TEST_F(ModelDirectoryTest, SavesWhatItReadAndOpensItAgain) {
  const auto model = open();
  model->save(root_ / "saved");
  EXPECT_EQ(support::read_file(root_ / "saved/model.safetensors"),
            support::read_file(path_ / "model.safetensors"));
  EXPECT_EQ(support::read_file(root_ / "saved/config.json"), support::read_file(path_ / "config.json"));
  EXPECT_TRUE(fs::exists(root_ / "saved/tokenizer.json"));
  path_ = root_ / "saved";
  expect_same_params(*open(), *model);
}

TEST_F(ModelDirectoryTest, ASavedConfigNamesTheDtypeOfTheWeights) {
  open([](OpenOptions& o) { o.dtype = "bfloat16"; })->save(root_ / "saved");
  EXPECT_EQ(json::parse(support::read_file(root_ / "saved/config.json"))["torch_dtype"], "bfloat16");
  EXPECT_EQ(SafetensorsFile(root_ / "saved/model.safetensors").entries()[0].dtype, at::kBFloat16);
}

// ---- prompts ----------------------------------------------------------------------------------------------

class PromptTest : public testing::Test {
 protected:
  [[nodiscard]] std::string refusal(const std::vector<Message>& messages, std::size_t n_images) const {
    const std::vector<image::Image> images(n_images, picture_);
    return message_of<UserError>([&] { (void)model_->prepare(messages, images, {}); });
  }
  std::unique_ptr<Model> model_ = open_tiny_model();
  image::Image picture_ = image::load_image(tiny_directory() / "golden/image.png");
};

TEST_F(PromptTest, PlaceholdersSayWhereImagesStand) {
  EXPECT_EQ(model_->render({{"user", "look", 1}}, true), model_->render({{"user", "<image>look", 1}}, true));
  const std::string text = model_->render({{"user", "first <image> then <image>.", 2}}, false);
  const std::size_t first = text.find("<|image_pad|>"), then = text.find(" then ");
  EXPECT_LT(text.find("first "), first);
  EXPECT_LT(first, then);
  EXPECT_LT(then, text.rfind("<|image_pad|>"));
  EXPECT_EQ(text.find("<image>"), std::string::npos);
}

TEST_F(PromptTest, HoldsOneRowForEachImageToken) {
  const std::vector<image::Image> images(2, picture_);
  const Prompt prompt = model_->prepare({{"user", "compare <image> and <image>", 2}}, images, {});
  ASSERT_EQ(prompt.images.size(), 2U);
  EXPECT_EQ(static_cast<std::int64_t>(prompt.image_rows.size()),
            prompt.images[0].n_tokens + prompt.images[1].n_tokens);
  for (const std::int64_t row : prompt.image_rows) {
    EXPECT_EQ(prompt.ids[static_cast<std::size_t>(row)], model_->image_token_ids()[0]);
  }
  EXPECT_EQ(prompt.positions.size(1), static_cast<std::int64_t>(prompt.ids.size()));
  EXPECT_EQ(prompt.images[0].original_width, picture_.width);
}

TEST_F(PromptTest, RefusesImagesThatDoNotMatchThePlaceholders) {
  EXPECT_TRUE(contains(refusal({{"user", "<image> and <image>", 1}}, 1), "2 <image> placeholders"));
  EXPECT_TRUE(contains(refusal({{"user", "<image>", 0}}, 0), "1 <image> placeholders"));
  EXPECT_TRUE(contains(refusal({{"user", "look", 1}}, 2), "2 were given"));
  EXPECT_TRUE(contains(refusal({{"user", "<|image_pad|> smuggled", 0}}, 0), "image_pad"));
}

TEST_F(PromptTest, PlaceholdersOfTheAssistantAreText) {
  const std::string text =
      model_->render({{"user", "How do I mark one?", 0}, {"assistant", "With <image>.", 0}}, false);
  EXPECT_NE(text.find("With <image>."), std::string::npos);
}

TEST_F(PromptTest, ReadsIllFormedTextWithoutFailing) {
  const Prompt prompt = model_->prepare({{"user", "bad \xFF byte", 0}}, {}, {});
  EXPECT_NE(prompt.text.find("\xEF\xBF\xBD"), std::string::npos);
}

// ---- passes -----------------------------------------------------------------------------------------------

class PassTest : public testing::Test {
 protected:
  DecoderInput input_of(const tests::TinyPrompt& made) const {
    DecoderInput input;
    input.ids = at::tensor(made.prompt.ids);
    input.positions = made.prompt.positions;
    input.image_values = made.image_values;
    input.image_rows = at::tensor(made.prompt.image_rows);
    return input;
  }
  at::Tensor logits(const PassOptions& options = {}) const {
    const auto attention = packed_attention({{static_cast<std::int64_t>(made_.prompt.ids.size()), {}}});
    return model_->head(model_->decode(input_of(made_), attention, options), options);
  }
  std::vector<at::Tensor> gradients() {
    for (const Param& param : model_->params()) param.tensor.mutable_grad() = at::Tensor();
    made_ = tests::tiny_prompt(*model_, "where is it?", "image");
    logits().square().mean().backward();
    std::vector<at::Tensor> out;
    for (const Param& param : model_->params()) out.push_back(param.tensor.grad());
    return out;
  }
  std::vector<memory::Decision> all_recomputed() const {
    return std::vector<memory::Decision>(model_->segments().size(), memory::Decision::kRecompute);
  }

  std::unique_ptr<Model> model_ = open_tiny_model();
  tests::TinyPrompt made_ = tests::tiny_prompt(*model_, "where is it?", "image");
};

TEST_F(PassTest, VisionIsEncodedWithoutAGraphUnlessItIsTrained) {
  EXPECT_FALSE(model_->trains_vision());
  for (const Param& param : model_->params()) {
    if (param.component == GRAFT_COMPONENT_LANGUAGE) param.tensor.requires_grad_();
  }
  EXPECT_FALSE(tests::tiny_prompt(*model_, "a", "image").image_values.requires_grad());
  for (const Param& param : model_->params()) {
    if (param.component == GRAFT_COMPONENT_PROJECTOR) param.tensor.requires_grad_();
  }
  EXPECT_TRUE(model_->trains_vision());
  EXPECT_TRUE(tests::tiny_prompt(*model_, "a", "image").image_values.requires_grad());
}

TEST_F(PassTest, RecomputingEverySegmentGivesTheSameGradients) {
  for (const Param& param : model_->params()) param.tensor.requires_grad_();
  const std::vector<at::Tensor> expected = gradients();
  model_->set_segment_hook(memory::recompute_hook(all_recomputed()));
  const std::vector<at::Tensor> found = gradients();
  for (std::size_t i = 0; i < expected.size(); ++i) {
    ASSERT_TRUE(expected[i].defined() && found[i].defined()) << model_->params()[i].name;
    EXPECT_TRUE(at::equal(found[i], expected[i])) << model_->params()[i].name;
  }
}

TEST_F(PassTest, OneTrainedWeightBehindFrozenOnesGetsItsGradient) {
  model_->set_segment_hook(memory::recompute_hook(all_recomputed()));
  const auto norm = std::find_if(model_->params().begin(), model_->params().end(), [](const Param& param) {
    return param.name.find("layers.2.post_attention_layernorm") != std::string::npos;
  });
  ASSERT_NE(norm, model_->params().end());
  norm->tensor.requires_grad_();
  logits().square().mean().backward();
  ASSERT_TRUE(norm->tensor.grad().defined());
  EXPECT_GT(norm->tensor.grad().abs().sum().item<float>(), 0.0F);
}

TEST_F(PassTest, PoliciesPlanEverySegment) {
  const auto plan_with = [&](const char* policy) {
    return memory::plan(tiny_registry(), *model_, {policy, json::object()}, std::nullopt,
                        memory::declared_costs(*model_, {.tokens = 1000, .patches = 1000}, 4));
  };
  const auto keep = plan_with("none"), full = plan_with("full");
  EXPECT_EQ(keep, std::vector<memory::Decision>(model_->segments().size(), memory::Decision::kKeep));
  EXPECT_NE(std::find(full.begin(), full.end(), memory::Decision::kRecompute), full.end());
}

TEST_F(PassTest, AnErrorOfTheSequencesComesOutAsItIs) {
  struct Broken : SequenceAttention {
    at::Tensor attend(std::int32_t, const at::Tensor&, const at::Tensor&, const at::Tensor&,
                      double) override {
      throw support::Interrupted("stopped");
    }
  };
  const auto message = message_of<support::Interrupted>(
      [&] { (void)model_->decode(input_of(made_), std::make_shared<Broken>(), {}); });
  EXPECT_EQ(message, "stopped");
  EXPECT_TRUE(
      contains(message_of<support::PluginError>([&] { (void)model_->decode(input_of(made_), nullptr, {}); }),
               "no sequences"));
}

}  // namespace
}  // namespace graft::model
