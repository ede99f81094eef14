// SPDX-License-Identifier: Apache-2.0
// The configuration of a run: one JSON object, from a file, overrides and flags, checked before anything is
// loaded. Every key, with its meaning, default and range, is declared once, in config/run_keys.h; the structs
// below mirror it.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace graft::config {

// Which command a configuration is for. Bits, because a key may serve several.
enum Command : unsigned {
  kTrain = 1,     // graft train: GRPO
  kSft = 2,       // graft sft
  kEval = 4,      // graft eval
  kGenerate = 8,  // graft generate
  kAllCommands = 15,
};

// "train", "sft", "eval", "generate".
[[nodiscard]] const char* command_name(Command command);

// A word or regular expression, or a list of names.
using PatternOrNames = std::variant<std::string, std::vector<std::string>>;

// Selects a plugin and sets its own parameters (a JSON object that the plugin's schema checks later).
struct PluginChoice {
  std::string name;
  nlohmann::json params = nlohmann::json::object();
};

// The policy of all segments, and of those of the vision tower where they have one of their own.
struct CheckpointPolicyConfig : PluginChoice {
  std::optional<std::string> vision;  // null: the same policy decides for both
  nlohmann::json vision_params = nlohmann::json::object();
};

struct ModelConfig {
  std::string path;  // Hugging Face directory
  std::string family = "auto";
  nlohmann::json family_params = nlohmann::json::object();
  std::string dtype = "float32";                       // of the stored weights: "float32" or "bfloat16"
  std::optional<std::string> compute_dtype;            // likewise; null: dtype
  std::optional<std::string> quantize;                 // "int8": weights of frozen linear layers
  std::string init = "pretrained";                     // or "random"
  std::optional<std::int64_t> min_pixels, max_pixels;  // null: preprocessor_config.json's
};

struct DataConfig {
  std::vector<std::string> train, eval;                  // JSONL files
  std::vector<std::string> image_root, eval_image_root;  // see data_files()
  std::string question_template = "{question}";
  std::string answer_template = "{answer}";
  std::optional<std::string> system_prompt;
  std::optional<std::string> image_position;  // "interleaved" or "first"; null: as objective.parity has it
  std::optional<std::int64_t> max_prompt_length;  // tokens, image tokens included
  std::optional<std::int64_t> limit;              // samples used of the training data
  bool shuffle = true;
  bool strict = false;
};

// Values by regular expressions over layer names.
struct PatternValues {
  std::vector<std::pair<std::string, double>> entries;
  bool is_ordered = true;  // written as a list, so that the first expression that fits counts
};

struct PeftConfig {
  std::string strategy = "full";
  nlohmann::json params = nlohmann::json::object();
  PatternOrNames target_modules = std::string("all-linear");
  PatternOrNames exclude_modules = std::vector<std::string>{};
  std::vector<std::string> components = {"language"};
  std::vector<std::int64_t> layers_to_transform;  // empty: all
  std::vector<std::string> layers_pattern;        // empty: any
  PatternValues rank_pattern, alpha_pattern;
  std::vector<std::string> modules_to_save;
  std::optional<std::string> adapter;      // PEFT directory
  std::vector<std::string> base_adapters;  // PEFT directories
  // For strategies that look at training data first; null: the defaults below.
  std::optional<std::int64_t> calibration_samples, calibration_batch_size, calibration_passes;

  [[nodiscard]] std::int64_t samples_of_calibration() const { return calibration_samples.value_or(64); }
  [[nodiscard]] std::int64_t batch_size_of_calibration() const { return calibration_batch_size.value_or(8); }
  [[nodiscard]] std::int64_t passes_of_calibration() const { return calibration_passes.value_or(100); }
  [[nodiscard]] bool configures_calibration() const {
    return calibration_samples || calibration_batch_size || calibration_passes;
  }

  // True for the strategies in this tree that train the model's own weights, which are known before any plugin is loaded: for
  // defaults and for early messages. What a strategy really does is checked when it is attached.
  [[nodiscard]] bool is_known_to_train_base() const { return strategy == "full" || strategy == "layers"; }
};

struct RewardConfig {
  std::string name;
  double weight = 1.0;
  nlohmann::json params = nlohmann::json::object();
  bool isolate = false;                // in a process of its own
  std::optional<double> timeout{};     // seconds; null: the default of isolated rewards
  std::optional<double> max_memory{};  // GiB; likewise
};

struct RolloutConfig {
  std::int64_t num_generations = 8;
  std::int64_t max_completion_length = 256;  // tokens, the stop token included
  double temperature = 1.0;                  // 0: greedy
  std::int64_t top_k = 0;                    // 0: off
  double top_p = 1.0;                        // 1: off
  bool ban_image_tokens = true;
};

struct ObjectiveConfig {
  std::string loss_type = "grpo";
  std::optional<std::string> importance_sampling_level;  // null: "sequence" for gspo, else "token"
  double beta = 0.0;
  std::optional<bool> use_bias_correction_kl;   // null: corrects_kl()
  std::optional<std::string> reference;         // null: "initial"
  std::optional<double> epsilon, epsilon_high;  // null: clip_low(), clip_high()
  std::optional<double> delta;                  // null: one-sided clipping
  std::int64_t num_iterations = 1;
  std::string old_logprobs = "auto";
  std::string scale_rewards = "group";
  std::string multi_objective_aggregation = "sum_then_normalize";
  double top_entropy_quantile = 1.0;
  bool mask_truncated_completions = false;
  std::string parity = "trl";

  // The clip range in use: 0.2 on both sides as TRL and the GRPO paper have it; gspo 3e-4 and 4e-4, since the ratio of a
  // whole completion moves much less (arXiv:2507.18071, section 5.1); cispo has only a cap, 5 (arXiv:2510.13786).
  [[nodiscard]] double clip_low() const { return epsilon.value_or(loss_type == "gspo" ? 3e-4 : 0.2); }
  [[nodiscard]] double clip_high() const {
    if (epsilon_high) return *epsilon_high;
    if (loss_type == "cispo") return 5.0;
    return epsilon || loss_type != "gspo" ? clip_low() : 4e-4;
  }
  [[nodiscard]] bool corrects_kl() const { return use_bias_correction_kl.value_or(parity != "vlm_r1"); }
  [[nodiscard]] bool sequence_ratio() const {
    return importance_sampling_level.value_or(loss_type == "gspo" ? "sequence" : "token") == "sequence";
  }
};

struct OptimizerConfig {
  double learning_rate = 1e-5;
  double weight_decay = 0.0;
  double beta1 = 0.9, beta2 = 0.999, eps = 1e-8;
  double max_grad_norm = 1.0;  // 0: no clipping
  std::string schedule = "linear";
  std::int64_t warmup_steps = 0;
  std::optional<double> warmup_ratio;  // of the run's steps; null: warmup_steps
};

struct TrainConfig {
  std::int64_t steps = 0;                          // 0: from epochs, known when the data is loaded
  std::optional<double> epochs;                    // exactly one of steps and epochs
  std::int64_t prompts_per_step = 4;               // train
  std::int64_t num_mini_batches = 1;               // train
  std::optional<std::int64_t> micro_prompts;       // train; null: prompts_per_step
  std::int64_t batch_size = 16;                    // sft
  std::optional<std::int64_t> micro_batch_size;    // sft; null: batch_size
  std::optional<std::int64_t> micro_batch_tokens;  // instead of micro_prompts or micro_batch_size
  std::int64_t save_steps = 100;                   // 0: only at the end
  std::int64_t logging_steps = 1;
  std::int64_t eval_steps = 0;  // 0: no evaluation during training
  std::optional<std::string> metric_for_best_model;
  std::optional<bool> greater_is_better;  // null: by the metric's name
  bool load_best_model_at_end = false;
  std::optional<std::int64_t> early_stopping_patience;  // evaluations; null: off
  double early_stopping_threshold = 0.0;
  std::optional<std::int64_t> max_saved;  // checkpoints kept; null: all
  std::string resume = "never";           // "auto", "never" or a checkpoint directory
  std::int64_t threads = 0;               // 0: all cores

  [[nodiscard]] std::int64_t prompts_per_micro_batch() const {
    return micro_prompts.value_or(prompts_per_step);
  }
  [[nodiscard]] std::int64_t prompts_per_rollout() const { return prompts_per_step * num_mini_batches; }
  [[nodiscard]] std::int64_t samples_per_micro_batch() const { return micro_batch_size.value_or(batch_size); }
};

struct EvalConfig {
  std::optional<std::int64_t> samples;  // null: all
  std::int64_t batch_size = 32;
  double temperature = 0.0;  // 0: greedy
  double iou_threshold = 0.5;
};

struct PreflightConfig {
  bool enabled = true;
  std::int64_t prompts = 8;

  bool operator==(const PreflightConfig&) const = default;
};

// Thresholds of the rules in host/monitor, which tell where each comes from. Shares are of 1.
struct MonitorConfig {
  bool enabled = true;
  std::vector<std::string> ignore;   // rules by name
  std::int64_t window = 10;          // steps
  std::int64_t constant_steps = 20;  // steps
  std::int64_t flat_steps = 100;     // steps
  double unparsable_share = 0.5;
  double no_score_share = 0.2;
  double zero_variance_share = 0.8;
  double length_growth = 2.0;  // factor
  double truncated_share = 0.5;
  double reward_length_correlation = 0.8;
  double zero_gradient = 1e-8;
  double adapter_learning_rate = 5e-6;
  double adapter_change = 1e-6;     // of the norm of the weights
  std::int64_t adapter_steps = 20;  // 0: never measured
  double kl_spike = 10.0;           // factor
  double kl_floor = 0.1;
  double entropy_collapse = 0.1;  // factor
  double clipped_share = 0.3;

  bool operator==(const MonitorConfig&) const = default;
};

struct RunConfig {
  std::int64_t seed = 0;
  std::string output_dir;
  std::vector<std::string> plugins;  // extra plugin files
  ModelConfig model;
  DataConfig data;
  PeftConfig peft;
  CheckpointPolicyConfig checkpoint_policy{{"none"}, std::nullopt};
  std::vector<RewardConfig> rewards;
  RolloutConfig rollout;
  ObjectiveConfig objective;
  OptimizerConfig optimizer;
  TrainConfig train;
  EvalConfig eval;
  PreflightConfig preflight;
  MonitorConfig monitor;

  // data.image_position is "first": by itself, or because of objective.parity=vlm_r1.
  [[nodiscard]] bool puts_images_first() const {
    return data.image_position.value_or(objective.parity == "vlm_r1" ? "first" : "interleaved") == "first";
  }
};

// One JSONL file and the directory its image paths are relative to.
struct DataFile {
  std::string path;
  std::string image_root;
};

// Pairs files with image roots: no root: the JSONL file's own directory; one: shared; else one each, in
// order. Evaluation files use eval_image_root, or image_root if that is a single directory.
[[nodiscard]] std::vector<DataFile> train_files(const DataConfig& data);
[[nodiscard]] std::vector<DataFile> eval_files(const DataConfig& data);

struct LoadedConfig {
  RunConfig config;
  nlohmann::json
      resolved;  // every key with its value: what is saved with the run; loads back to the same config
};

// Builds the configuration of one command. Flags and overrides win over the file, the file over defaults; of
// two flags for one key the later wins. `args` holds `section.key=value` overrides (value: JSON, else a
// string; lists may be given as a,b,c), `--section.key value` and the flags of TRL and VLM-R1
// (config/command_line.h). A relative path is relative to the current directory, wherever it was written.
// Nothing is read but the file.
//
// Throws UserError for unknown keys and flags (with the nearest known name), wrong types and ranges, flags
// without effect on this command or run, and contradictions between keys.
[[nodiscard]] LoadedConfig load_run_config(const std::optional<std::string>& file,
                                           const std::vector<std::string>& args, Command command);

}  // namespace graft::config
