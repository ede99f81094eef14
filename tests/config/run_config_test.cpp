// SPDX-License-Identifier: Apache-2.0
#include "config/run_config.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "config/run_schema.h"
#include "support/error.h"
#include "tests/support/errors.h"
#include "tests/support/temporary_directory.h"

namespace graft::config {
namespace {

using nlohmann::json;
using support::UserError;
using test::contains;
using test::message_of;
using Args = std::vector<std::string>;

constexpr const char* kFile = R"({
  // a run
  "output_dir": "out",
  "model": {"path": "models/tiny"},
  "data": {"train": "a.jsonl", "eval": ["e.jsonl"]},
  "peft": {"strategy": "lora", "params": {"r": 8}},
  "rewards": ["iou", {"name": "format", "weight": 0.5}],
  "optimizer": {"learning_rate": 3e-4},
  "train": {"steps": 20}
})";

class RunConfigTest : public testing::Test {
 protected:
  LoadedConfig load(const Args& args, Command command = kTrain) const {
    return load_run_config(file_, args, command);
  }
  std::string error_of(const Args& args, Command command = kTrain) const {
    return message_of<UserError>([&] { (void)load(args, command); });
  }
  std::string error_of_text(const std::string& text, Command command = kTrain) const {
    return message_of<UserError>([&] { (void)load_run_config(dir_.write("bad.json", text), {}, command); });
  }

  test::TemporaryDirectory dir_;
  std::string file_ = dir_.write("run.json", kFile);
};

TEST_F(RunConfigTest, TheFileWinsOverDefaults) {
  const RunConfig c = load({}).config;
  EXPECT_EQ(c.model.path, "models/tiny");
  EXPECT_EQ(c.data.train, (std::vector<std::string>{"a.jsonl"}));
  EXPECT_EQ(c.optimizer.learning_rate, 3e-4);
  EXPECT_EQ(c.optimizer.beta2, 0.999);
  EXPECT_EQ(c.peft.params, (json{{"r", 8}}));
  ASSERT_EQ(c.rewards.size(), 2U);
  EXPECT_EQ(c.rewards[0].name, "iou");
  EXPECT_EQ(c.rewards[0].weight, 1.0);
  EXPECT_EQ(c.rewards[1].weight, 0.5);
  EXPECT_FALSE(c.model.max_pixels.has_value());
  EXPECT_EQ(c.objective.clip_high(), 0.2);
  EXPECT_EQ(c.train.prompts_per_micro_batch(), c.train.prompts_per_step);
}

TEST_F(RunConfigTest, OverridesWinOverTheFileAndTheLastOneWins) {
  const RunConfig c =
      load({"optimizer.learning_rate=1e-5", "seed=3", "data.train=b.jsonl,c.jsonl", "--rollout.top_k", "5",
            "model.max_pixels=1000", "optimizer.learning_rate=2e-5", "--output-dir=007",
            "rewards.format.weight=2", "rewards.0.params.threshold=0.5", "peft.params.alpha=16"})
          .config;
  EXPECT_EQ(c.optimizer.learning_rate, 2e-5);
  EXPECT_EQ(c.seed, 3);
  EXPECT_EQ(c.data.train, (std::vector<std::string>{"b.jsonl", "c.jsonl"}));
  EXPECT_EQ(c.rollout.top_k, 5);
  EXPECT_EQ(c.model.max_pixels, 1000);
  EXPECT_EQ(c.output_dir, "007");
  EXPECT_EQ(c.rewards[1].weight, 2.0);
  EXPECT_EQ(c.rewards[0].params, (json{{"threshold", 0.5}}));
  EXPECT_EQ(c.peft.params, (json{{"r", 8}, {"alpha", 16}}));
}

TEST_F(RunConfigTest, TheResolvedFormLoadsBackToItself) {
  const LoadedConfig first = load({"seed=3", "--lora_target_modules", "q_proj", "v_proj"});
  const std::string saved = dir_.write("resolved.json", first.resolved.dump(2));
  EXPECT_EQ(load_run_config(saved, {}, kTrain).resolved, first.resolved);
}

TEST_F(RunConfigTest, EveryKeyOfTheTableIsResolved) {
  const json resolved = load({}).resolved;
  for (const KeyInfo& key : run_schema().keys) {
    std::string pointer = "/" + key.path;
    std::replace(pointer.begin(), pointer.end(), '.', '/');
    EXPECT_TRUE(resolved.contains(json::json_pointer(pointer))) << key.path;
    EXPECT_FALSE(run_schema().schema_at(key.path)->description.empty()) << key.path;
  }
}

TEST_F(RunConfigTest, ConfigMayBeAFlag) {
  EXPECT_EQ(load_run_config(std::nullopt, {"--config", file_, "seed=1"}, kTrain).config.seed, 1);
  EXPECT_EQ(load_run_config(std::nullopt, {"--config=" + file_}, kTrain).config.train.steps, 20);
  EXPECT_TRUE(contains(error_of({"--config", "other.json"}), "two configuration files"));
  EXPECT_TRUE(contains(error_of({"--config"}), "needs a file"));
}

TEST_F(RunConfigTest, PatternsAndListsOfModules) {
  EXPECT_EQ(std::get<std::string>(load({}).config.peft.target_modules), "all-linear");
  const PatternOrNames pattern =
      load({"peft.target_modules=.*layers\\.[0-3]\\.(?!mlp).{1,9}_proj"}).config.peft.target_modules;
  EXPECT_EQ(std::get<std::string>(pattern), ".*layers\\.[0-3]\\.(?!mlp).{1,9}_proj");
  const PatternOrNames list = load({R"(peft.exclude_modules=["lm_head"])"}).config.peft.exclude_modules;
  EXPECT_EQ(std::get<std::vector<std::string>>(list), (std::vector<std::string>{"lm_head"}));
}

// ---- errors
// -----------------------------------------------------------------------------------------------------------

TEST_F(RunConfigTest, AnUnknownKeyNamesFileLineKeyAndNearest) {
  EXPECT_TRUE(contains(
      error_of_text("{\n\"optimizer\": {\n\"learnin_rate\": 1}}"),
      "bad.json:3: unknown key \"optimizer.learnin_rate\"; did you mean \"optimizer.learning_rate\"?"));
  EXPECT_TRUE(contains(error_of_text("{\"learning_rate\": 1}"), "did you mean \"optimizer.learning_rate\"?"));
  EXPECT_TRUE(contains(error_of_text("{\"optimiser\": {}}"), "did you mean \"optimizer\"?"));
  EXPECT_TRUE(
      contains(error_of_text("{\"rewards\": [{\"nam\": \"iou\"}]}"), "unknown key \"rewards.0.nam\""));
}

TEST_F(RunConfigTest, WrongTypesAndRangesNameTheirPlace) {
  EXPECT_TRUE(contains(error_of_text("{\"optimizer\":\n{\"learning_rate\": \"fast\"}}"),
                       "bad.json:2: optimizer.learning_rate is \"fast\"; expected a number, greater than 0"));
  EXPECT_TRUE(
      contains(error_of({"optimizer.learning_rate=fast"}),
               "optimizer.learning_rate=fast: optimizer.learning_rate is \"fast\"; expected a number"));
  EXPECT_TRUE(contains(error_of({"--temperature", "-1"}), "--temperature -1: rollout.temperature is -1"));
  EXPECT_TRUE(contains(error_of({"--loss_type", "grop"}), "did you mean \"grpo\"?"));
  EXPECT_TRUE(
      contains(error_of_text("{\"peft\": {\"strategy\": 3}}"), "peft.strategy is 3; expected a string"));
  EXPECT_TRUE(contains(error_of_text("{\"peft\": []}"), "peft is []; expected an object"));
  EXPECT_TRUE(contains(error_of_text("[1]"), "found [1]; expected an object"));
  EXPECT_TRUE(contains(error_of({"model=3"}), "model is"));
  EXPECT_TRUE(contains(error_of({"peft.components=language,visoin"}), "did you mean \"vision\"?"));
}

TEST_F(RunConfigTest, UnknownOverridesAndFlagsComeWithTheNearest) {
  EXPECT_TRUE(contains(error_of({"optimizer.lerning_rate=1"}), "did you mean \"optimizer.learning_rate\"?"));
  EXPECT_TRUE(contains(error_of({"learning_rate=1"}), "did you mean \"optimizer.learning_rate\"?"));
  EXPECT_TRUE(
      contains(error_of({"--lora_rank", "8"}), "--lora_rank: unknown flag; did you mean \"--lora_r\"?"));
  EXPECT_TRUE(contains(error_of({"--num_generation", "8"}), "did you mean \"--num_generations\"?"));
  EXPECT_TRUE(contains(error_of({"--xyzzy_plugh", "8"}), "`graft config reference` lists all flags"));
  EXPECT_TRUE(contains(error_of({"--packing"}), "has no counterpart in graft; samples are always packed"));
  EXPECT_TRUE(contains(error_of({"stray"}), "unexpected argument \"stray\""));
  EXPECT_TRUE(contains(error_of({"--beta"}), "--beta: needs a value"));
  EXPECT_TRUE(contains(error_of({"--use_peft=maybe"}), "expected true or false"));
  EXPECT_TRUE(contains(error_of({"rewards.iuo.weight=1"}), "there is no \"iuo\""));
  EXPECT_TRUE(contains(error_of({"seed.x=1"}), "unknown key \"seed.x\""));
}

TEST_F(RunConfigTest, AFlagWithoutEffectOnTheCommandIsAnError) {
  EXPECT_TRUE(contains(error_of({"--epsilon", "0.1"}, kEval),
                       "objective.epsilon has no effect on graft eval; it belongs to graft train"));
  EXPECT_TRUE(contains(error_of({"--num_generations", "4"}, kSft), "has no effect on graft sft"));
  EXPECT_NO_THROW((void)load({}, kEval));  // the file may hold keys of other commands
}

TEST_F(RunConfigTest, RulesBetweenKeys) {
  EXPECT_TRUE(contains(error_of({"--num_generations", "1"}),
                       "--num_generations 1: rollout.num_generations is 1; GRPO compares"));
  EXPECT_TRUE(contains(error_of({"train.prompts_per_step=6", "train.micro_prompts=4"}),
                       "it must divide train.prompts_per_step (6)"));
  EXPECT_TRUE(contains(error_of({"model.min_pixels=9", "model.max_pixels=8"}), "more than model.max_pixels"));
  EXPECT_TRUE(contains(error_of({"rewards=iou,iou"}), "names \"iou\" twice with the same params"));
  EXPECT_TRUE(contains(error_of({"rewards=[]"}), "rewards is not set"));
  EXPECT_TRUE(contains(error_of({"rewards.0.weight=0", "rewards.1.weight=0"}), "all have weight 0"));
  EXPECT_TRUE(contains(error_of({"data.train=[]"}), "data.train is not set"));
  EXPECT_TRUE(contains(error_of({"output_dir="}), "output_dir is not set"));
  EXPECT_TRUE(contains(error_of({"--temperature", "0"}), "greedy completions of a group are all alike"));
  EXPECT_TRUE(contains(error_of({"data.image_root=a,b,c"}),
                       "data.image_root has 3 directories and data.train 1 files"));
  EXPECT_TRUE(contains(error_of({"data.eval=[]"}, kEval), "data.eval is not set"));
  EXPECT_TRUE(contains(error_of_text("{}", kGenerate), "model.path is not set; graft generate needs"));
  EXPECT_TRUE(contains(error_of({"train.micro_batch_size=5"}, kSft), "must divide train.batch_size"));
}

TEST_F(RunConfigTest, PatternsOfRankAndAlphaAreObjectsOrOrderedLists) {
  const PeftConfig object = load({R"(peft.rank_pattern={"q_proj": 4, "^model.x": 16})"}).config.peft;
  EXPECT_FALSE(object.rank_pattern.is_ordered);
  EXPECT_EQ(object.rank_pattern.entries.size(), 2U);
  const LoadedConfig list = load({"--alpha_pattern", R"([["q_proj", 4.5], ["a", 2]])"});
  EXPECT_TRUE(list.config.peft.alpha_pattern.is_ordered);
  EXPECT_EQ(list.config.peft.alpha_pattern.entries,
            (std::vector<std::pair<std::string, double>>{{"q_proj", 4.5}, {"a", 2.0}}));
  const std::string saved = dir_.write("resolved.json", list.resolved.dump(2));
  EXPECT_EQ(load_run_config(saved, {}, kTrain).config.peft.alpha_pattern.entries,
            list.config.peft.alpha_pattern.entries);
  EXPECT_EQ(load({"peft.rank_pattern.q_proj=4"}).config.peft.rank_pattern.entries.front().second, 4.0);

  EXPECT_TRUE(contains(error_of({R"(peft.rank_pattern={"q": 2.5})"}), "\"q\" is 2.5; expected a rank"));
  EXPECT_TRUE(
      contains(error_of({R"(peft.rank_pattern={"q": 0})"}), "expected a rank, an integer of at least 1"));
  EXPECT_TRUE(contains(error_of({R"(peft.alpha_pattern={"q": "x"})"}), "expected a number greater than 0"));
  EXPECT_TRUE(
      contains(error_of({R"(peft.alpha_pattern=["q", 3])"}), R"(expected pairs ["expression", number])"));
  EXPECT_TRUE(contains(error_of({R"(peft.alpha_pattern=[["q", 3], ["q", 4]])"}), "\"q\" is given twice"));
  EXPECT_TRUE(contains(error_of({"peft.rank_pattern=q_proj"}), "expected an object or a list"));
  EXPECT_TRUE(
      contains(error_of_text("{\n\"peft\": {\n\"rank_pattern\": {\"q\": -1}}}"), "bad.json:3: peft.rank_p"));
}

TEST_F(RunConfigTest, RulesOfWhatIsTrained) {
  const PeftConfig c = load({"peft.layers_to_transform=0,2", "--layers_pattern", "layers"}).config.peft;
  EXPECT_EQ(c.layers_to_transform, (std::vector<std::int64_t>{0, 2}));
  EXPECT_EQ(c.layers_pattern, std::vector<std::string>{"layers"});
  EXPECT_EQ(load({"--layers_to_transform", "3"}).config.peft.layers_to_transform,
            std::vector<std::int64_t>{3});
  EXPECT_EQ(load({"--layers_to_transform", "3", "1"}).config.peft.layers_to_transform,
            (std::vector<std::int64_t>{3, 1}));
  EXPECT_TRUE(contains(error_of({"peft.layers_to_transform=-1"}), "expected an integer, at least 0"));
  EXPECT_TRUE(contains(error_of({"peft.layers_to_transform=first"}), "expected an integer"));
  EXPECT_TRUE(
      contains(error_of({"peft.layers_pattern=layers"}), "no effect without peft.layers_to_transform"));
  EXPECT_TRUE(contains(error_of({"peft.layers_to_transform=1", "peft.target_modules=.*q_proj"}),
                       "has no effect on an expression in peft.target_modules"));
  for (const char* key : {"peft.layers_to_transform=1", R"(peft.rank_pattern={"q": 2})",
                          R"(peft.alpha_pattern={"q": 2})", "peft.modules_to_save=lm_head"}) {
    EXPECT_TRUE(contains(error_of({key, "peft.adapter=a"}), "has no effect with peft.adapter")) << key;
    EXPECT_NO_THROW((void)load({key})) << key;
  }
  EXPECT_EQ(load({"peft.base_adapters=a,b"}, kEval).config.peft.base_adapters.size(), 2U);
  EXPECT_TRUE(contains(error_of({"peft.base_adapters=a,b,a"}), "names a twice"));
  for (const char* strategy : {"full", "layers"}) {
    const std::string choice = std::string("peft.strategy=") + strategy;
    EXPECT_TRUE(
        contains(error_of({choice, "peft.base_adapters=a"}), "trains the weights that they stand on"));
    EXPECT_TRUE(contains(error_of({choice, "model.dtype=bfloat16"}), choice));
    EXPECT_TRUE(contains(error_of({choice, "objective.beta=0.1", "objective.reference=base"}),
                         std::string("peft.strategy \"") + strategy));
  }
}

// What an objective does not use, or cannot have, is refused by name.
TEST_F(RunConfigTest, RulesOfTheObjective) {
  const auto refused = [&](const Args& args, const std::vector<std::string>& parts) {
    const std::string message = error_of(args);
    for (const std::string& part : parts) EXPECT_TRUE(contains(message, part));
  };
  refused({"objective.loss_type=cispo", "objective.epsilon=0.2"}, {"objective.epsilon is 0.2", "cispo"});
  refused({"objective.loss_type=cispo", "objective.delta=4"}, {"objective.delta", "cispo"});
  refused({"objective.loss_type=gspo", "--importance_sampling_level", "token"},
          {"--importance_sampling_level token", "gspo"});
  refused({"objective.old_logprobs=none", "objective.num_iterations=2"},
          {"objective.old_logprobs", "objective.num_iterations 2"});
  refused({"objective.old_logprobs=none", "train.num_mini_batches=4"}, {"train.num_mini_batches 4"});
  refused({"objective.old_logprobs=none", "objective.epsilon=0.1"},
          {"objective.epsilon", "every ratio is 1"});
  refused({"objective.reference=base"}, {"objective.reference", "objective.beta is 0"});
  refused({"objective.use_bias_correction_kl=false"},
          {"objective.use_bias_correction_kl", "objective.beta is 0"});
  refused({"objective.beta=0.1", "objective.reference=base", "peft.strategy=full"},
          {"objective.reference is \"base\"", "peft.strategy \"full\""});
  refused({"objective.beta=0.1", "model.init=random", "peft.strategy=full"},
          {"objective.beta is 0.1", "model.init"});
  refused({"objective.multi_objective_aggregation=normalize_then_sum", "objective.scale_rewards=none"},
          {"objective.scale_rewards is \"none\"", "normalize_then_sum"});
  refused({"objective.top_entropy_quantile=0"}, {"objective.top_entropy_quantile is 0"});
  refused({"objective.loss_type=ppo"}, {"objective.loss_type is \"ppo\"", "gspo"});
}

TEST_F(RunConfigTest, VlmR1ParityRefusesWhatVlmR1DoesNotHave) {
  const std::string parity = "objective.parity=vlm_r1";
  EXPECT_FALSE(load({parity, "rewards=iou"}).config.objective.corrects_kl());
  for (const char* other :
       {"objective.loss_type=dapo", "objective.importance_sampling_level=sequence", "objective.delta=2",
        "objective.old_logprobs=recompute", "objective.scale_rewards=none",
        "objective.top_entropy_quantile=0.2", "objective.mask_truncated_completions=true",
        "train.num_mini_batches=2", "rollout.temperature=0.9", "rewards.format.weight=0.5"}) {
    EXPECT_TRUE(contains(error_of({parity, other}), "objective.parity=vlm_r1")) << other;
  }
}

TEST_F(RunConfigTest, VlmR1ParityPutsImagesFirstUnlessToldOtherwise) {
  const std::string parity = "objective.parity=vlm_r1", rewards = "rewards=iou";
  EXPECT_FALSE(load({}).config.puts_images_first());
  EXPECT_TRUE(load({parity, rewards}).config.puts_images_first());
  EXPECT_FALSE(load({parity, rewards, "data.image_position=interleaved"}).config.puts_images_first());
  EXPECT_TRUE(load({"data.image_position=first"}).config.puts_images_first());
  // What a run saves says no more than what was set, and loads back to the same.
  const LoadedConfig saved = load({parity, rewards});
  EXPECT_TRUE(saved.resolved["data"]["image_position"].is_null());
  EXPECT_TRUE(load_run_config(dir_.write("saved.json", saved.resolved.dump()), {}, kTrain)
                  .config.puts_images_first());
}

TEST_F(RunConfigTest, ClipRangesAreThoseOfTheObjective) {
  const auto range = [&](const Args& args) {
    const ObjectiveConfig objective = load(args).config.objective;
    return std::pair(objective.clip_low(), objective.clip_high());
  };
  EXPECT_EQ(range({}), std::pair(0.2, 0.2));
  EXPECT_EQ(range({"objective.epsilon=0.1"}), std::pair(0.1, 0.1));
  EXPECT_EQ(range({"objective.loss_type=gspo"}), std::pair(3e-4, 4e-4));
  EXPECT_EQ(range({"objective.loss_type=gspo", "objective.epsilon=0.01"}), std::pair(0.01, 0.01));
  EXPECT_EQ(range({"objective.importance_sampling_level=sequence"}), std::pair(0.2, 0.2));
  EXPECT_EQ(range({"objective.loss_type=cispo"}).second, 5.0);
  EXPECT_EQ(range({"objective.loss_type=cispo", "--epsilon_high", "1.5"}).second, 1.5);
}

TEST_F(RunConfigTest, OneRewardMayStandTwiceWithDifferentParams) {
  const char* twice = R"(rewards=["iou", {"name": "iou", "params": {"space": "unit"}}])";
  EXPECT_EQ(load({twice}).config.rewards.size(), 2U);
  EXPECT_EQ(load({twice, "rewards.1.weight=3"}).config.rewards[1].weight, 3.0);
  EXPECT_TRUE(contains(error_of({twice, "rewards.iou.weight=3"}),
                       "\"iou\" names both item 0 and item 1; use the index"));
}

TEST_F(RunConfigTest, ARunIsAsLongAsItsStepsOrItsEpochs) {
  EXPECT_TRUE(contains(error_of({"train.steps=0"}), "train.steps and train.epochs are not set"));
  EXPECT_TRUE(contains(error_of({"--num_train_epochs", "2"}),
                       "--num_train_epochs 2: train.epochs is 2 and train.steps is 20; one of them"));
  EXPECT_EQ(load({"--num_train_epochs", "2.5", "train.steps=0"}).config.train.epochs, 2.5);
  EXPECT_TRUE(contains(error_of({"train.epochs=0", "train.steps=0"}), "greater than 0"));
  EXPECT_TRUE(contains(error_of({"optimizer.warmup_steps=21"}), "more than train.steps"));
  EXPECT_TRUE(
      contains(error_of({"--warmup_ratio", "0.1", "--warmup_steps", "2"}), "one of them is the warm-up"));
  EXPECT_EQ(load({"--warmup_ratio", "0.1"}).config.optimizer.warmup_ratio, 0.1);
}

TEST_F(RunConfigTest, APassIsLimitedBySamplesOrByTokens) {
  EXPECT_EQ(load({"train.micro_batch_tokens=512"}).config.train.micro_batch_tokens, 512);
  EXPECT_TRUE(contains(error_of({"train.micro_batch_tokens=512", "train.micro_prompts=2"}),
                       "train.micro_batch_tokens is 512 and train.micro_prompts is 2"));
  EXPECT_TRUE(contains(error_of({"train.micro_batch_tokens=512", "train.micro_batch_size=2"}, kSft),
                       "train.micro_batch_tokens is 512 and train.micro_batch_size is 2"));
}

TEST_F(RunConfigTest, SettingsOfTheBestModelWithoutEffectAreErrors) {
  const Args evaluated = {"train.eval_steps=5"},
             tracked = {"train.eval_steps=5", "--metric_for_best_model", "iou"};
  const auto with = [](Args args, const Args& more) {
    args.insert(args.end(), more.begin(), more.end());
    return args;
  };
  EXPECT_TRUE(contains(error_of({"train.eval_steps=5", "data.eval=[]"}), "names no file to evaluate on"));
  EXPECT_TRUE(
      contains(error_of({"--metric_for_best_model", "eval_iou"}), "nothing is evaluated during the run"));
  for (const char* setting :
       {"--load_best_model_at_end", "--greater_is_better", "--early_stopping_patience=2"}) {
    EXPECT_TRUE(
        contains(error_of(with(evaluated, {setting})), "has no effect without train.metric_for_best_model"))
        << setting;
    EXPECT_NO_THROW((void)load(with(tracked, {setting}))) << setting;
  }
  EXPECT_TRUE(contains(error_of(with(tracked, {"train.early_stopping_threshold=0.1"})),
                       "has no effect without train.early_stopping_patience"));
}

TEST_F(RunConfigTest, RewardsOfSupervisedFineTuningNeedEvaluations) {
  EXPECT_TRUE(contains(error_of({"--reward_funcs", "iou"}, kSft),
                       "--reward_funcs iou: rewards have no effect on graft sft without evaluations"));
  EXPECT_NO_THROW((void)load({"--reward_funcs", "iou", "--eval_steps", "5"}, kSft));
  EXPECT_NO_THROW((void)load({}, kSft));  // those of the file may serve another command
}

TEST_F(RunConfigTest, AnEvaluationWithoutRewardsReportsGrounding) {
  const RunConfig c = load({"rewards=[]"}, kEval).config;
  ASSERT_EQ(c.rewards.size(), 2U);
  EXPECT_EQ(c.rewards[0].name, "iou");
  EXPECT_EQ(c.rewards[1].name, "format");
  EXPECT_TRUE(load({"rewards=[]", "train.eval_steps=5"}, kSft).config.rewards.empty());
  EXPECT_TRUE(load({"rewards=[]"}, kSft).config.rewards.empty());
}

TEST(CommittedConfigs, Load) {
  const std::string demo = GRAFT_SOURCE_DIR "/configs/demo/";
  EXPECT_NO_THROW((void)load_run_config(demo + "sft.json", {}, kSft));
  EXPECT_NO_THROW((void)load_run_config(demo + "grpo.json", {}, kTrain));
  EXPECT_NO_THROW((void)load_run_config(demo + "eval.json", {}, kEval));
}

// ---- files and image roots
// ----------------------------------------------------------------------------------------------

TEST(DataFiles, ArePairedWithImageRoots) {
  DataConfig data;
  data.train = {"x/a.jsonl", "b.jsonl"};
  std::vector<DataFile> files = train_files(data);
  EXPECT_EQ(files[0].image_root, "x");
  EXPECT_EQ(files[1].image_root, "");
  data.image_root = {"images"};
  files = train_files(data);
  EXPECT_EQ(files[1].image_root, "images");
  data.image_root = {"i1", "i2"};
  EXPECT_EQ(train_files(data)[1].image_root, "i2");
  data.eval = {"e.jsonl"};
  EXPECT_THROW((void)eval_files(data), UserError);
  data.eval_image_root = {"i3"};
  EXPECT_EQ(eval_files(data)[0].image_root, "i3");
}

}  // namespace
}  // namespace graft::config
