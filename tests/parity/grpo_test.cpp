// SPDX-License-Identifier: Apache-2.0
// Optimizer steps equal to TRL's: goldens of tests/oracle/trl_grpo.py, which runs the real GRPOTrainer on the tiny checkpoint
// with completions forced to the same token ids. A representative few are kept in data/trl_grpo; the environment variable
// GRAFT_TRL_GOLDENS names a directory with all of them (tests/embed/trl_grpo.sh makes it).
//
// Tolerance: 1e-5 of the largest magnitude of a tensor, in float32 on both sides; scalars 1e-5 relative to their value, or to
// the magnitude of what they sum where that cancels (floor_of). 2e-5 for fresh adapters after their first step: the gradient
// of A is proportional to B, which is then one Adam step of gradients that agree to 1e-5.
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>

#include "config/run_config.h"
#include "model/safetensors.h"
#include "support/files.h"
#include "tests/support/tiny_trainer.h"

namespace graft::tests {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

constexpr double kTolerance = 1e-5, kFreshTolerance = 2e-5;

fs::path golden_directory() {
  const char* live = std::getenv("GRAFT_TRL_GOLDENS");
  return live != nullptr ? fs::path(live) : fs::path(GRAFT_TEST_DATA) / "parity/data/trl_grpo";
}

const json& goldens() {
  static const json all = json::parse(support::read_file(golden_directory() / "cases.json"));
  return all;
}

config::RunConfig config_of(const json& golden) {
  std::vector<std::string> args = {
      "model.path=" + tiny_directory().string(),
      "output_dir=unused",
      "data.train=unused.jsonl",
      "data.shuffle=false",
      "peft.strategy=lora",
      "rollout.num_generations=" + goldens()["num_generations"].dump(),
      "rollout.max_completion_length=" + goldens()["max_completion_length"].dump(),
      "rollout.ban_image_tokens=false"};
  json rewards = json::array();
  for (const auto& [key, value] : golden["config"].items()) {
    if (key != "reward_weights")
      args.push_back(key + "=" + (value.is_string() ? value.get<std::string>() : value.dump()));
  }
  const json weights = golden["config"].value("reward_weights", json::array({1.0, 1.0}));
  rewards.push_back({{"name", "scripted_a"}, {"weight", weights[0]}});
  rewards.push_back({{"name", "scripted_b"}, {"weight", weights[1]}});
  args.push_back("rewards=" + rewards.dump());
  args.push_back("train.prompts_per_step=" + golden["prompts_per_step"].dump());
  args.push_back("train.micro_prompts=" + golden["micro_prompts"].dump());
  args.push_back("train.steps=" + std::to_string(golden["steps"].size()));
  return config::load_run_config(std::nullopt, args, config::kTrain).config;
}

std::vector<TinyQuestion> questions_of() {
  std::vector<TinyQuestion> questions;
  for (const json& prompt : goldens()["prompts"]) {
    questions.push_back({prompt["question"].get<std::string>(), prompt["image"].get<std::string>()});
  }
  return questions;
}

// Compares step `step` of a case with its golden file.
class StepComparison {
 public:
  StepComparison(const json& golden, const model::SafetensorsFile& file) : golden_(golden), file_(file) {}

  void tensors(std::size_t step, const train::Experience& experience, const train::MiniBatch& mini,
               const train::UpdateResult& result, const adapt::Adapter& adapter) const {
    const at::Tensor rows = counted_rows(step, experience, mini);
    compare(step, "logprobs", at::cat(result.logprobs).index_select(0, rows));
    compare(step, "entropy", at::cat(result.entropies).index_select(0, rows));
    std::vector<at::Tensor> old, reference;
    for (const train::MicroBatch& micro : mini.micro_batches) {
      if (micro.old_logprobs.defined()) old.push_back(micro.old_logprobs);
      if (micro.ref_logprobs.defined()) reference.push_back(micro.ref_logprobs);
    }
    ASSERT_EQ(has(step, "old_logprobs"), !old.empty());
    if (!old.empty()) compare(step, "old_logprobs", at::cat(old).index_select(0, rows));
    ASSERT_EQ(has(step, "ref_logprobs"), !reference.empty());
    if (!reference.empty()) compare(step, "ref_logprobs", at::cat(reference).index_select(0, rows));
    const auto first = static_cast<std::int64_t>(mini.first * experience.num_generations);
    const at::Tensor advantages = at::tensor(experience.advantages.advantages, at::kDouble);
    compare(step, "advantages", advantages.narrow(0, first, mini.completions));
    for (const adapt::AdapterTensor& tensor : adapter.tensors()) {
      compare(step, "grad." + tensor.name, tensor.tensor.grad());
    }
  }

  // Every number that the oracle logs and graft has under the same name; fails if one that graft owes is missing.
  void metrics(std::size_t step, const nlohmann::ordered_json& row) const {
    const json& theirs = golden_["steps"][step]["metrics"];
    for (const auto& [name, value] : theirs.items()) {
      if (is_left_out(name)) continue;
      ASSERT_TRUE(row.contains(name)) << name << " of step " << step;
      if (value.is_null()) {
        EXPECT_TRUE(row[name].is_null()) << name;
        continue;
      }
      const double expected = value.get<double>(), scale = std::max(std::abs(expected), floor_of(name));
      EXPECT_NEAR(row[name].get<double>(), expected, kTolerance * scale) << name << " of step " << step;
    }
  }

 private:
  [[nodiscard]] bool is_left_out(const std::string& name) const {
    // Counted by the trainer's own loop.
    if (name == "epoch") return true;
    // VLM-R1's own definitions (kl a mean of completions' means, clip_ratio of the unclipped branch): its loss is what counts.
    if (golden_["config"].contains("objective.parity"))
      return name != "loss" && name != "grad_norm" && name != "learning_rate";
    // TRL logs the mean of the micro-batches' means, graft that of all tokens.
    const bool accumulates = golden_["micro_prompts"] != golden_["prompts_per_step"];
    return accumulates && (name == "entropy" || name == "kl" || name.starts_with("clip_ratio/"));
  }
  // Losses cancel: their summands are of the size of the advantages, with cispo times that of log-probabilities. k3 is the
  // small difference of log-probabilities that are known to about 1e-6.
  [[nodiscard]] double floor_of(const std::string& name) const {
    if (name == "kl") return 0.05;
    if (name == "loss") return golden_["config"].value("objective.loss_type", "grpo") == "cispo" ? 1.0 : 0.1;
    return 1e-6;
  }

  // Token rows of the completions that are not masked, and that both sides score the same number of tokens of each.
  [[nodiscard]] at::Tensor counted_rows(std::size_t step, const train::Experience& experience,
                                        const train::MiniBatch& mini) const {
    const at::Tensor lengths = file_.read(std::to_string(step) + ".lengths");
    std::vector<std::int64_t> rows;
    std::int64_t row = 0;
    for (std::int64_t i = 0; i < mini.completions; ++i) {
      const std::size_t index = mini.first * experience.num_generations + static_cast<std::size_t>(i);
      const auto length = static_cast<std::int64_t>(experience.scored_ids[index].size());
      EXPECT_EQ(lengths[i].item<std::int64_t>(), experience.included[index] ? length : 0)
          << "completion " << index;
      for (std::int64_t j = 0; experience.included[index] && j < length; ++j) rows.push_back(row + j);
      row += length;
    }
    return at::tensor(rows, at::kLong);
  }

  [[nodiscard]] bool has(std::size_t step, const std::string& name) const {
    return file_.find(std::to_string(step) + "." + name) != nullptr;
  }

  void compare(std::size_t step, const std::string& name, const at::Tensor& ours) const {
    const std::string key = std::to_string(step) + "." + name;
    ASSERT_TRUE(has(step, name)) << key;
    const at::Tensor theirs = file_.read(key).to(at::kDouble);
    ASSERT_EQ(theirs.sizes(), ours.sizes()) << key;
    const double scale = std::max(1e-12, theirs.abs().max().item<double>());
    const double tolerance = golden_["fresh"] == true && step > 0 ? kFreshTolerance : kTolerance;
    EXPECT_LE((ours.to(at::kDouble) - theirs).abs().max().item<double>() / scale, tolerance) << key;
  }

  const json& golden_;
  const model::SafetensorsFile& file_;
};

// A fresh adapter draws its own A, as TRL's does: both take the one in the file, and keep B = 0.
void copy_lora_a(const fs::path& directory, const adapt::Adapter& adapter) {
  const at::NoGradGuard no_grad;
  const model::SafetensorsFile file(directory / "adapter_model.safetensors");
  for (const adapt::AdapterTensor& tensor : adapter.tensors()) {
    at::Tensor values = tensor.tensor;
    if (tensor.name.ends_with("lora_A.weight")) values.copy_(file.read("base_model.model." + tensor.name));
  }
}

class TrlGrpo : public ::testing::TestWithParam<std::size_t> {};

TEST_P(TrlGrpo, StepsAreEqual) {
  const json& golden = goldens()["cases"][GetParam()];
  const config::RunConfig config = config_of(golden);
  const model::SafetensorsFile file(golden_directory() /
                                    (golden["name"].get<std::string>() + ".safetensors"));
  const StepComparison comparison(golden, file);

  std::size_t n_rollouts = 0, n_updates = 0;
  TinyTrainer* made = nullptr;
  train::GrpoHooks hooks;
  hooks.sample = [&](std::span<const train::PromptItem> prompts, std::int64_t) {
    const json& rollout = golden["rollouts"][n_rollouts++];
    return scripted_rollouts(prompts, rollout["completions"].get<std::vector<std::vector<std::int64_t>>>(),
                             made->model->stop_ids());
  };
  hooks.before_optimizer_step = [&](const train::Experience& experience, const train::MiniBatch& mini,
                                    const train::UpdateResult& result) {
    comparison.tensors(n_updates++, experience, mini, result, *made->adapter);
  };
  const bool is_fresh = golden.value("fresh", false);
  const fs::path adapter = golden_directory() / "adapter";
  TinyTrainer trainer(config, questions_of(), hooks, is_fresh ? fs::path() : adapter);
  made = &trainer;
  if (is_fresh) copy_lora_a(adapter, *trainer.adapter);
  std::vector<nlohmann::ordered_json> rows;
  while (rows.size() < golden["steps"].size()) {
    for (auto& row : trainer.trainer.step().rows) rows.push_back(std::move(row));
  }
  ASSERT_EQ(n_updates, golden["steps"].size());
  for (std::size_t step = 0; step < rows.size(); ++step) comparison.metrics(step, rows[step]);
}

std::vector<std::size_t> all_cases() {
  std::vector<std::size_t> indices(goldens()["cases"].size());
  for (std::size_t i = 0; i < indices.size(); ++i) indices[i] = i;
  return indices;
}

std::string case_name(const ::testing::TestParamInfo<std::size_t>& of) {
  std::string name = goldens()["cases"][of.param]["name"].get<std::string>();
  for (char& c : name) {
    if (std::isalnum(static_cast<unsigned char>(c)) == 0) c = '_';
  }
  return name;
}

INSTANTIATE_TEST_SUITE_P(Cases, TrlGrpo, ::testing::ValuesIn(all_cases()), case_name);

}  // namespace
}  // namespace graft::tests
