// SPDX-License-Identifier: Apache-2.0
// The linear layers of a Qwen2.5-VL-shaped model with two decoder layers and one vision block.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/zeros.h>
#include <graft/checkpoint_policy.h>

#include <set>
#include <string>
#include <vector>

#include "model/model.h"

namespace graft::test {

struct QwenSites {
  std::vector<model::Site> sites;
  std::vector<model::Param> params;

  QwenSites() {
    for (const char* layer : {"0", "1"}) {
      const std::string at = std::string("layers.") + layer;
      for (const char* proj : {"q_proj", "k_proj", "v_proj", "o_proj"}) language(at + ".self_attn." + proj);
      for (const char* proj : {"gate_proj", "up_proj", "down_proj"}) language(at + ".mlp." + proj);
      add_param("model.language_model." + at + ".input_layernorm.weight",
                "model." + at + ".input_layernorm.weight", {4}, GRAFT_COMPONENT_LANGUAGE);
    }
    vision("blocks.0.attn.qkv");
    vision("blocks.0.attn.proj");
    for (const char* proj : {"gate_proj", "up_proj", "down_proj"})
      vision(std::string("blocks.0.mlp.") + proj);
    add_param("model.visual.patch_embed.proj.weight", "visual.patch_embed.proj.weight", {4, 4},
              GRAFT_COMPONENT_VISION);
    for (const char* proj : {"mlp.0", "mlp.2"}) {
      add_site(std::string("model.visual.merger.") + proj, std::string("visual.merger.") + proj,
               GRAFT_COMPONENT_PROJECTOR);
    }
    add_site("lm_head", "lm_head", GRAFT_COMPONENT_HEAD);
  }

  // Last parts of the selected sites' names, with the part of the model in front: "language q_proj".
  [[nodiscard]] std::set<std::string> names(const std::vector<bool>& selected) const {
    std::set<std::string> out;
    for (std::size_t i = 0; i < sites.size(); ++i) {
      if (selected[i]) out.insert(sites[i].name);
    }
    return out;
  }

 private:
  void language(const std::string& path) {
    add_site("model.language_model." + path, "model." + path, GRAFT_COMPONENT_LANGUAGE);
  }
  void vision(const std::string& path) {
    add_site("model.visual." + path, "visual." + path, GRAFT_COMPONENT_VISION);
  }

  void add_param(const std::string& name, const std::string& alias, std::vector<std::int64_t> sizes,
                 std::int32_t component) {
    model::Param param;
    param.name = name;
    param.aliases = {alias};
    param.tensor = at::zeros(sizes);
    param.sizes = std::move(sizes);
    param.component = component;
    param.tied_to = -1;
    params.push_back(std::move(param));
  }

  void add_site(const std::string& name, const std::string& alias, std::int32_t component) {
    model::Site site;
    site.name = name;
    site.weight = static_cast<std::int32_t>(params.size());
    site.bias = -1;
    site.component = component;
    site.in_features = site.out_features = 4;
    sites.push_back(site);
    add_param(name + ".weight", alias + ".weight", {4, 4}, component);
  }
};

}  // namespace graft::test
