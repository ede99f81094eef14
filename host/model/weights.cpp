// SPDX-License-Identifier: Apache-2.0
#include "model/weights.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "model/int8_weight.h"
#include "model/safetensors.h"
#include "model/safetensors_dtypes.h"
#include "support/error.h"
#include "support/random.h"
#include "support/strings.h"

namespace graft::model {

namespace {

using support::cat;

// Buffers that older exports stored and that are computed instead.
bool is_buffer(const std::string& name) {
  return name.ends_with("rotary_emb.inv_freq") || name.ends_with("rotary_pos_emb.inv_freq");
}

// "2 missing: a, b"; at most ten names.
void add_list(std::vector<std::string>& parts, const char* what, const std::vector<std::string>& names) {
  constexpr std::size_t kShown = 10;
  if (names.empty()) return;
  std::vector<std::string> shown(names.begin(),
                                 names.begin() + static_cast<std::ptrdiff_t>(std::min(names.size(), kShown)));
  if (names.size() > kShown) shown.push_back(cat("and ", names.size() - kShown, " more"));
  parts.push_back(cat(names.size(), " ", what, ": ", support::join(shown, ", ")));
}

// Which file tensor each parameter is, with everything that does not fit.
class Matching {
 public:
  Matching(const WeightFiles& files, const std::vector<Param>& params) : files_(files) {
    for (std::size_t i = 0; i < params.size(); ++i) names_.push_back(match(params, i));
    for (const Param& param : params) check_tied(params, param);
    for (const std::string& name : files.names()) {
      if (!claimed_.contains(name) && !is_buffer(name)) unexpected_.push_back(name);
    }
  }

  [[nodiscard]] const std::vector<std::string>& names() const { return names_; }

  void require_complete() const {
    std::vector<std::string> parts;
    add_list(parts, "missing", missing_);
    add_list(parts, "of another shape", misshapen_);
    add_list(parts, "of no floating-point dtype (quantised checkpoints are not supported)", integers_);
    add_list(parts, "tied but different", untied_);
    add_list(parts, "unexpected", unexpected_);
    if (parts.empty()) return;
    throw support::UserError(cat(files_.path(), " does not fit config.json; tensors that are ",
                                 support::join(parts, "; "), "; the files are probably of different models"));
  }

 private:
  static std::vector<std::string> spellings(const Param& param) {
    std::vector<std::string> out = {param.name};
    out.insert(out.end(), param.aliases.begin(), param.aliases.end());
    return out;
  }

  std::string match(const std::vector<Param>& params, std::size_t index) {
    const Param& param = params[index];
    std::vector<std::string> candidates = spellings(param);
    if (param.tied_to >= 0) {  // some files store it all the same
      claimed_.insert(candidates.begin(), candidates.end());
      return {};
    }
    for (const Param& other : params) {  // and some store it instead of the one it is tied to
      if (other.tied_to != static_cast<std::int32_t>(index)) continue;
      const std::vector<std::string> more = spellings(other);
      candidates.insert(candidates.end(), more.begin(), more.end());
    }
    for (const std::string& name : candidates) {
      const TensorEntry* entry = files_.find(name);
      if (entry == nullptr) continue;
      claimed_.insert(name);
      check(*entry, param);
      return name;
    }
    missing_.push_back(param.name);
    return {};
  }

  void check(const TensorEntry& entry, const Param& param) {
    if (entry.sizes != param.sizes) {
      misshapen_.push_back(
          cat(entry.name, " (found ", entry.shape(), ", expected ", shape_text(param.sizes), ")"));
    }
    if (!c10::isFloatingType(entry.dtype)) {
      integers_.push_back(cat(entry.name, " (", safetensors_word(entry.dtype), ")"));
    }
  }

  // A stored copy of a tied parameter has to be one.
  void check_tied(const std::vector<Param>& params, const Param& param) {
    if (param.tied_to < 0) return;
    const std::string& source = names_[static_cast<std::size_t>(param.tied_to)];
    for (const std::string& name : spellings(param)) {
      if (source.empty() || name == source || files_.find(name) == nullptr) continue;
      if (!files_.hold_same(name, source)) {
        untied_.push_back(cat(name, " (other values than ",
                              params[static_cast<std::size_t>(param.tied_to)].name,
                              ", to which config.json ties it; is \"tie_word_embeddings\" right?)"));
      }
    }
  }

  const WeightFiles& files_;
  std::vector<std::string> names_;
  std::set<std::string> claimed_;
  std::vector<std::string> missing_, unexpected_, misshapen_, integers_, untied_;
};

void share_tied(std::vector<Param>& params) {
  for (Param& param : params) {
    if (param.tied_to >= 0) param.tensor = params[static_cast<std::size_t>(param.tied_to)].tensor;
  }
}

void hold_int8(Param& param) {
  if (!param.holds_int8) return;
  Int8Weight weight = to_int8(param.tensor);
  param.tensor = std::move(weight.values);
  param.scales = std::move(weight.scales);
}

at::Tensor normal_tensor(const Param& param, double std, std::uint64_t seed) {
  support::KeyedRandom random(seed, {support::hash_string("model.init"), support::hash_string(param.name)});
  at::Tensor tensor = at::empty(param.sizes, at::TensorOptions().dtype(at::kFloat));
  float* const out = tensor.mutable_data_ptr<float>();
  for (std::int64_t i = 0; i < tensor.numel(); ++i) out[i] = static_cast<float>(std * random.normal());
  return tensor;
}

at::Tensor random_tensor(const Param& param, const RandomInit& init, std::uint64_t seed) {
  if (init.kind == GRAFT_RANDOM_ONES) return at::ones(param.sizes);
  if (init.kind == GRAFT_RANDOM_ZEROS) return at::zeros(param.sizes);
  return normal_tensor(param, init.std, seed);
}

std::string shard_name(std::size_t index, std::size_t count) {
  char text[64];
  std::snprintf(text, sizeof(text), "model-%05zu-of-%05zu.safetensors", index + 1, count);
  return text;
}

void write_shards(const std::filesystem::path& directory, const std::vector<NamedTensors>& shards,
                  std::uint64_t total) {
  std::map<std::string, std::string> weight_map;
  for (std::size_t i = 0; i < shards.size(); ++i) {
    const std::string file = shard_name(i, shards.size());
    write_safetensors(directory / file, shards[i]);
    for (const auto& [name, tensor] : shards[i]) weight_map[name] = file;
  }
  const nlohmann::ordered_json index = {{"metadata", {{"total_size", total}}}, {"weight_map", weight_map}};
  support::write_file_atomic(directory / "model.safetensors.index.json", index.dump(2) + "\n");
}

}  // namespace

std::vector<std::string> load_weights(const std::filesystem::path& directory, at::ScalarType dtype,
                                      std::vector<Param>& params) {
  const WeightFiles files(directory);
  const Matching matching(files, params);
  matching.require_complete();
  at::Tensor buffer;
  for (std::size_t i = 0; i < params.size(); ++i) {
    if (params[i].tied_to >= 0) continue;
    params[i].tensor = at::empty(params[i].sizes, at::TensorOptions().dtype(dtype));
    files.copy_to(matching.names()[i], params[i].tensor, buffer);
    hold_int8(params[i]);
  }
  share_tied(params);
  return matching.names();
}

void check_weights(const std::filesystem::path& directory, const std::vector<Param>& params) {
  const WeightFiles files(directory);
  const Matching matching(files, params);
  matching.require_complete();
}

void outline_weights(at::ScalarType dtype, std::vector<Param>& params) {
  const auto on_meta = at::TensorOptions().device(at::kMeta);
  for (Param& param : params) {
    if (param.tied_to >= 0) continue;
    param.tensor = at::empty(param.sizes, on_meta.dtype(param.holds_int8 ? at::kChar : dtype));
    if (param.holds_int8) param.scales = at::empty({param.sizes.front()}, on_meta.dtype(at::kFloat));
  }
  share_tied(params);
}

std::vector<std::string> random_weights(std::uint64_t seed, at::ScalarType dtype,
                                        const std::vector<RandomInit>& random, std::vector<Param>& params) {
  std::vector<std::string> names;
  for (std::size_t i = 0; i < params.size(); ++i) {
    if (params[i].tied_to >= 0) {
      names.emplace_back();
      continue;
    }
    params[i].tensor = random_tensor(params[i], random[i], seed).to(dtype);
    hold_int8(params[i]);
    names.push_back(params[i].aliases.empty() ? params[i].name : params[i].aliases.front());
  }
  share_tied(params);
  return names;
}

at::ScalarType weights_dtype(const std::filesystem::path& directory) {
  const WeightFiles files(directory);
  std::map<at::ScalarType, std::uint64_t> bytes;
  for (const std::string& name : files.names()) {
    const TensorEntry& entry = *files.find(name);
    if (at::isFloatingType(entry.dtype)) bytes[entry.dtype] += entry.end - entry.begin;
  }
  const auto most = std::max_element(bytes.begin(), bytes.end(),
                                     [](const auto& a, const auto& b) { return a.second < b.second; });
  return most == bytes.end() ? at::kFloat : most->first;
}

void save_weights(const std::filesystem::path& directory, const std::vector<Param>& params,
                  const std::vector<std::string>& names, std::uint64_t shard_bytes) {
  std::vector<NamedTensors> shards(1);
  std::uint64_t filled = 0, total = 0;
  for (std::size_t i = 0; i < params.size(); ++i) {
    if (params[i].tied_to >= 0) continue;
    const std::uint64_t bytes = params[i].tensor.nbytes();
    if (filled > 0 && filled + bytes > shard_bytes) {
      shards.emplace_back();
      filled = 0;
    }
    shards.back().emplace_back(names[i], params[i].tensor);
    filled += bytes;
    total += bytes;
  }
  if (shards.size() == 1) {
    write_safetensors(directory / "model.safetensors", shards.front());
  } else {
    write_shards(directory, shards, total);
  }
}

}  // namespace graft::model
