// SPDX-License-Identifier: Apache-2.0
#include "adapt/combine.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/linalg_svd.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <utility>

#include "adapt/peft_config.h"
#include "adapt/peft_tensors.h"
#include "adapt/stored_adapter.h"
#include "model/safetensors.h"
#include "support/error.h"
#include "support/files.h"
#include "support/log.h"
#include "support/strings.h"

namespace graft::adapt {
namespace {

using support::cat;
using support::UserError;

constexpr std::string_view kPrefix = "base_model.model.";
constexpr std::string_view kA = ".lora_A.weight", kB = ".lora_B.weight";

// One layer of one adapter: its update is scale · B A.
struct Factors {
  at::Tensor a, b;  // [r, in], [out, r]
  double scale = 1.0;
};

struct LoraFile {
  std::filesystem::path directory;
  nlohmann::ordered_json config;
  std::map<std::string, Factors> layers;  // by module path
  std::int64_t rank = 0;                  // the highest
};

// What an update is made of besides A and B would be lost.
void require_plain(const LoraFile& file, const StoredAdapter& stored) {
  const auto refuse = [&](const std::string& what) { throw UserError(cat(file.directory, ' ', what)); };
  if (stored.strategy != "lora")
    refuse(cat("is of the strategy \"", stored.strategy, "\"; only LoRA adapters are combined"));
  const nlohmann::json& params = stored.params;
  if (params.value("use_dora", false))
    refuse("is a DoRA adapter, whose magnitudes cannot be added; merge it into the model");
  if (params.value("lora_bias", false) || params.value("bias", std::string("none")) != "none")
    refuse("trains biases, which cannot be combined; merge it into the model");
  if (!stored.fields.modules_to_save.empty())
    refuse(
        "holds copies of whole modules (modules_to_save), which cannot be combined; merge it into the model");
  const std::string init = params.value("init", std::string());
  if (init == "pissa" || init == "olora")
    refuse(cat("started as a part of the weight (", init,
               "); turn it into plain LoRA first: graft adapter convert"));
}

LoraFile read_lora(plugin::Registry& registry, const std::filesystem::path& directory) {
  LoraFile file;
  file.directory = directory;
  file.config = read_adapter_config(directory);
  const StoredAdapter stored = read_adapter(registry, directory, "");
  require_plain(file, stored);
  const model::SafetensorsFile tensors(adapter_tensor_file(directory));
  for (const model::TensorEntry& entry : tensors.entries()) {
    const std::string_view name = entry.name;
    const bool is_a = name.ends_with(kA), is_b = name.ends_with(kB);
    if (!name.starts_with(kPrefix) || (!is_a && !is_b))
      throw UserError(cat(tensors.path(), " holds ", entry.name, ", which is no factor of a linear layer"));
    const std::string module(name.substr(kPrefix.size(), name.size() - kPrefix.size() - kA.size()));
    at::Tensor value = tensors.view(entry).to(at::kFloat, /*non_blocking=*/false, /*copy=*/true);
    (is_a ? file.layers[module].a : file.layers[module].b) = std::move(value);
  }
  const double alpha = stored.params.at("alpha").get<double>();
  for (auto& [module, layer] : file.layers) {
    if (!layer.a.defined() || !layer.b.defined() || layer.a.dim() != 2 || layer.b.dim() != 2 ||
        layer.a.size(0) != layer.b.size(1)) {
      throw UserError(
          cat(tensors.path(), ": the factors of ", module, " are missing or do not fit each other"));
    }
    const auto r = static_cast<double>(layer.a.size(0));
    const double own = stored.fields.alpha_pattern.value({module});
    layer.scale = (own > 0.0 ? own : alpha) / (stored.params.value("use_rslora", false) ? std::sqrt(r) : r);
    file.rank = std::max(file.rank, layer.a.size(0));
  }
  if (file.layers.empty()) throw UserError(cat(tensors.path(), " holds no tensors"));
  return file;
}

// The elements of the largest magnitude, as many as `density` says; zeros elsewhere.
at::Tensor pruned(const at::Tensor& tensor, double density) {
  if (density >= 1.0) return tensor;
  const auto kept = static_cast<std::int64_t>(density * static_cast<double>(tensor.numel()));
  const at::Tensor flat = tensor.reshape({-1});
  const at::Tensor places = std::get<1>(flat.abs().topk(kept));
  return at::zeros_like(flat).index_put_({places}, flat.index_select(0, places)).view(tensor.sizes());
}

// Sums of tensors by some weights, as the type of the combination has it.
class Mixer {
 public:
  explicit Mixer(const Combination& options)
      : density_(options.density),
        elects_(options.type.starts_with("ties")),
        by_frequency_(options.majority_sign_method == "frequency") {}

  [[nodiscard]] at::Tensor mix(const std::vector<at::Tensor>& tensors,
                               const std::vector<double>& weights) const {
    std::vector<at::Tensor> parts, weighted;
    for (std::size_t i = 0; i < tensors.size(); ++i) {
      parts.push_back(pruned(tensors[i], density_));
      weighted.push_back(parts.back() * weights[i]);
    }
    const at::Tensor all = at::stack(weighted);
    if (!elects_) return all.sum(0);
    // The mean of the elements that have the sign of the (unweighted) majority.
    const at::Tensor unweighted = at::stack(parts), signs = unweighted.sign();
    const at::Tensor majority = (by_frequency_ ? signs : unweighted).sum(0).ge(0).to(at::kFloat) * 2.0 - 1.0;
    const at::Tensor agrees = signs.eq(majority).to(at::kFloat);
    return (all * agrees).sum(0) / agrees.sum(0).clamp_min(1.0);
  }

 private:
  double density_;
  bool elects_, by_frequency_;
};

// With zeros up to a rank.
Factors padded(const at::Tensor& a, const at::Tensor& b, std::int64_t rank) {
  return {at::constant_pad_nd(a, {0, 0, 0, rank - a.size(0)}).contiguous(),
          at::constant_pad_nd(b, {0, rank - b.size(1)}).contiguous()};
}

using Weighted = std::vector<std::pair<const Factors*, double>>;

Factors concatenate(const Weighted& parts, std::int64_t rank) {
  std::vector<at::Tensor> a, b;
  for (const auto& [layer, weight] : parts) {
    a.push_back(layer->a * (weight * layer->scale));
    b.push_back(layer->b);
  }
  return padded(at::cat(a, 0), at::cat(b, 1), rank);
}

// Each factor takes the root of the weight, A its sign.
Factors add(const Weighted& parts, const Mixer& mixer, std::int64_t rank) {
  std::vector<at::Tensor> a, b;
  std::vector<double> of_a, of_b;
  for (const auto& [layer, weight] : parts) {
    const double scaled = weight * layer->scale;
    of_b.push_back(std::sqrt(std::fabs(scaled)));
    of_a.push_back(std::copysign(of_b.back(), scaled));
    a.push_back(layer->a);
    b.push_back(layer->b);
  }
  return padded(mixer.mix(a, of_a), mixer.mix(b, of_b), rank);
}

Factors decompose(const Weighted& parts, const Mixer& mixer, std::int64_t rank) {
  std::vector<at::Tensor> updates;
  std::vector<double> weights;
  for (const auto& [layer, weight] : parts) {
    updates.push_back(at::matmul(layer->b, layer->a) * layer->scale);
    weights.push_back(weight);
  }
  const auto [u, s, v] = at::linalg_svd(mixer.mix(updates, weights), /*full_matrices=*/false);
  const std::int64_t kept = std::min(rank, s.size(0));
  return padded(v.narrow(0, 0, kept), u.narrow(1, 0, kept) * s.narrow(0, 0, kept), rank);
}

bool is_svd(const std::string& type) {
  return type.ends_with("svd");
}

void check(const Combination& options, const std::vector<LoraFile>& files) {
  if (options.adapters.size() != options.weights.size()) {
    throw UserError(cat("found ", options.adapters.size(), " adapters and ", options.weights.size(),
                        " weights; expected one weight for each adapter"));
  }
  const auto& types = combination_types();
  if (std::find(types.begin(), types.end(), options.type) == types.end())
    throw UserError(
        cat("type \"", options.type, "\" is not known; expected one of ", support::join(types, ", ")));
  const bool prunes = options.type.starts_with("ties") || options.type.starts_with("magnitude_prune");
  if (!(options.density > 0.0 && options.density <= 1.0))
    throw UserError(cat("density is ", options.density, ", expected a part above 0, at most 1"));
  if (options.density != 1.0 && !prunes)
    throw UserError(cat("density has no effect with type ", options.type));
  if (options.majority_sign_method != "total" && !options.type.starts_with("ties"))
    throw UserError(cat("majority_sign_method has no effect with type ", options.type));
  if (options.rank != 0 && !is_svd(options.type))
    throw UserError(cat("rank has no effect with type ", options.type));
  if (is_svd(options.type) || options.type == "cat") return;
  for (const LoraFile& file : files) {
    if (file.rank != files.front().rank) {
      throw UserError(cat("type ", options.type, " adds factors of one rank, but ", files.front().directory,
                          " has rank ", files.front().rank, " and ", file.directory, " ", file.rank,
                          "; use cat or svd"));
    }
  }
}

std::int64_t rank_of(const Combination& options, const std::vector<LoraFile>& files) {
  std::int64_t sum = 0, highest = 0;
  for (const LoraFile& file : files) {
    sum += file.rank;
    highest = std::max(highest, file.rank);
  }
  if (options.type == "cat") return sum;
  return options.rank > 0 ? options.rank : highest;
}

std::map<std::string, Factors> combine(const Combination& options, const std::vector<LoraFile>& files,
                                       std::int64_t rank) {
  std::map<std::string, Weighted> modules;
  for (std::size_t i = 0; i < files.size(); ++i) {
    for (const auto& item : files[i].layers) {
      const std::string& module = item.first;
      const Factors& layer = item.second;
      Weighted& parts = modules[module];
      const auto fits = [&](const Factors& other) {
        const bool has_rank =
            is_svd(options.type) || options.type == "cat" || other.a.size(0) == layer.a.size(0);
        return has_rank && other.a.size(1) == layer.a.size(1) && other.b.size(0) == layer.b.size(0);
      };
      if (!parts.empty() && !fits(*parts.front().first))
        throw UserError(cat(module, " has another shape or rank in ", files[i].directory,
                            " than in an adapter before it"));
      parts.emplace_back(&layer, options.weights[i]);
    }
  }
  const Mixer mixer(options);
  std::map<std::string, Factors> combined;
  for (const auto& [module, parts] : modules) {
    combined[module] = options.type == "cat"  ? concatenate(parts, rank)
                       : is_svd(options.type) ? decompose(parts, mixer, rank)
                                              : add(parts, mixer, rank);
  }
  return combined;
}

// The first adapter's fields, for these layers by their whole names, at scale 1.
nlohmann::json combined_config(const std::vector<LoraFile>& files,
                               const std::map<std::string, Factors>& layers, std::int64_t rank) {
  nlohmann::json config = files.front().config;
  const auto base = [](const LoraFile& file) {
    return file.config.value("base_model_name_or_path", nlohmann::ordered_json());
  };
  for (const LoraFile& file : files) {
    if (base(file) != base(files.front())) {
      support::log_warn(cat(file.directory, " was trained on ", base(file).dump(), ", ",
                            files.front().directory, " on ", base(files.front()).dump()));
    }
  }
  std::vector<std::string> names;
  for (const auto& [module, factors] : layers) names.push_back(module);
  config["target_modules"] = names;
  config["r"] = config["lora_alpha"] = rank;
  config["init_lora_weights"] = true;
  config["use_rslora"] = false;
  config["rank_pattern"] = config["alpha_pattern"] = nlohmann::json::object();
  for (const char* field : {"exclude_modules", "layers_to_transform", "layers_pattern", "eva_config"})
    config[field] = nullptr;
  return config;
}

}  // namespace

const std::vector<std::string>& combination_types() {
  static const std::vector<std::string> types = {
      "svd", "linear", "cat", "ties", "magnitude_prune", "ties_svd", "magnitude_prune_svd"};
  return types;
}

void combine_adapters(plugin::Registry& registry, const Combination& combination,
                      const std::filesystem::path& output) {
  if (combination.adapters.empty()) throw UserError("no adapter to combine");
  std::vector<LoraFile> files;
  for (const auto& directory : combination.adapters) files.push_back(read_lora(registry, directory));
  check(combination, files);
  const std::int64_t rank = rank_of(combination, files);
  const auto combined = combine(combination, files, rank);
  model::NamedTensors tensors;
  for (const auto& [module, layer] : combined) {
    tensors.emplace_back(cat(kPrefix, module, kA), layer.a);
    tensors.emplace_back(cat(kPrefix, module, kB), layer.b);
  }
  support::AtomicDirectory target(output);
  support::write_file_atomic(target.path() / "adapter_config.json",
                             combined_config(files, combined, rank).dump(2) + "\n");
  model::write_safetensors(target.path() / "adapter_model.safetensors", tensors);
  target.commit();
}

}  // namespace graft::adapt
