// SPDX-License-Identifier: Apache-2.0
// graft/sdk/family_declarations.hpp: what a model family consists of: parameters, linear sites, segments.
// Included by model_family.hpp.
#ifndef GRAFT_SDK_FAMILY_DECLARATIONS_HPP
#define GRAFT_SDK_FAMILY_DECLARATIONS_HPP

#include <graft/model_family.h>
#include <graft/sdk/error.hpp>

#include <cstdint>
#include <deque>
#include <string>
#include <utility>
#include <vector>

namespace graft {

// Collects what a family consists of and owns the texts. Indices are those that Exec takes.
class FamilyDeclarations {
 public:
  enum class Init : std::int32_t { kNormal = 0, kOnes = 1, kZeros = 2 };  // of `--init random`

  struct SegmentCost {
    std::uint64_t activation_values_per_token = 0;  // elements kept for backward, children included
    std::uint64_t input_values_per_token = 0;
    std::uint64_t flops_per_token = 0;
  };

  // `aliases`: other names under which published files store it.
  std::uint32_t param(std::string name, std::vector<std::int64_t> sizes, std::int32_t component,
                      std::vector<std::string> aliases = {}, Init init = Init::kNormal) {
    Param& entry = params_.emplace_back();
    entry.name = std::move(name);
    entry.sizes = std::move(sizes);
    entry.aliases = std::move(aliases);
    for (const std::string& alias : entry.aliases) entry.alias_views.push_back(to_str(alias));
    entry.decl.hdr = GRAFT_HDR(graft_param_decl);
    entry.decl.name = to_str(entry.name);
    entry.decl.aliases = entry.alias_views.data();
    entry.decl.n_aliases = static_cast<std::uint32_t>(entry.alias_views.size());
    entry.decl.sizes = entry.sizes.data();
    entry.decl.rank = static_cast<std::uint32_t>(entry.sizes.size());
    entry.decl.component = component;
    entry.decl.tied_to = -1;
    entry.decl.random_init = static_cast<std::int32_t>(init);
    return add(param_list_, &entry.decl);
  }

  // A parameter that is the same tensor as `other`; files may lack it.
  std::uint32_t tied_param(std::string name, std::uint32_t other, std::int32_t component) {
    const std::uint32_t index = param(std::move(name), params_.at(other).sizes, component);
    params_.back().decl.properties = GRAFT_PARAM_TIED;
    params_.back().decl.tied_to = static_cast<std::int32_t>(other);
    return index;
  }

  // A linear layer over parameters declared before.
  std::uint32_t site(std::string name, std::uint32_t weight, std::int32_t bias, std::int32_t component) {
    Site& entry = sites_.emplace_back();
    entry.name = std::move(name);
    entry.decl.hdr = GRAFT_HDR(graft_site_decl);
    entry.decl.name = to_str(entry.name);
    entry.decl.weight = static_cast<std::int32_t>(weight);
    entry.decl.bias = bias;
    entry.decl.component = component;
    return add(site_list_, &entry.decl);
  }

  // A segment; `parent` is -1 at the top.
  std::uint32_t segment(std::string name, std::int32_t parent, std::int32_t component,
                        const SegmentCost& cost) {
    Segment& entry = segments_.emplace_back();
    entry.name = std::move(name);
    entry.decl.hdr = GRAFT_HDR(graft_segment_decl);
    entry.decl.name = to_str(entry.name);
    entry.decl.parent = parent;
    entry.decl.component = component;
    entry.decl.activation_values_per_token = cost.activation_values_per_token;
    entry.decl.input_values_per_token = cost.input_values_per_token;
    entry.decl.flops_per_token = cost.flops_per_token;
    return add(segment_list_, &entry.decl);
  }

  // The rest of the description, in plain values.
  double initializer_range = 0.02;  // standard deviation of random weights (Init::kNormal)
  std::uint32_t head_site = 0;
  std::int64_t vocab_size = 0;
  std::int64_t hidden_size = 0;
  std::uint32_t n_attention_layers = 0;
  std::uint32_t position_rank = 1;
  std::vector<std::int64_t> image_token_ids;
  std::int32_t grounding_space = GRAFT_SPACE_NONE;
  std::string grounding_format;
  std::int64_t image_value_size = 0;  // columns of what encode_images gives; 0: hidden_size

  // Valid until the next change.
  const graft_family_desc* description() {
    for (Param& entry : params_) entry.decl.random_std = initializer_range;
    desc_ = {};
    desc_.hdr = GRAFT_HDR(graft_family_desc);
    desc_.params = param_list_.data();
    desc_.sites = site_list_.data();
    desc_.segments = segment_list_.data();
    desc_.n_params = static_cast<std::uint32_t>(param_list_.size());
    desc_.n_sites = static_cast<std::uint32_t>(site_list_.size());
    desc_.n_segments = static_cast<std::uint32_t>(segment_list_.size());
    desc_.head_site = static_cast<std::int32_t>(head_site);
    desc_.vocab_size = vocab_size;
    desc_.hidden_size = hidden_size;
    desc_.n_attention_layers = n_attention_layers;
    desc_.position_rank = position_rank;
    desc_.image_token_ids = image_token_ids.data();
    desc_.n_image_token_ids = static_cast<std::uint32_t>(image_token_ids.size());
    desc_.grounding_space = grounding_space;
    desc_.grounding_format = to_str(grounding_format);
    desc_.image_value_size = image_value_size;
    return &desc_;
  }

 private:
  struct Param {
    std::string name;
    std::vector<std::int64_t> sizes;
    std::vector<std::string> aliases;
    std::vector<graft_str> alias_views;
    graft_param_decl decl{};
  };
  struct Site {
    std::string name;
    graft_site_decl decl{};
  };
  struct Segment {
    std::string name;
    graft_segment_decl decl{};
  };
  template <typename T>
  static std::uint32_t add(std::vector<const T*>& list, const T* entry) {
    list.push_back(entry);
    return static_cast<std::uint32_t>(list.size() - 1);
  }

  std::deque<Param> params_;  // deques: the declarations point into their entries
  std::deque<Site> sites_;
  std::deque<Segment> segments_;
  std::vector<const graft_param_decl*> param_list_;
  std::vector<const graft_site_decl*> site_list_;
  std::vector<const graft_segment_decl*> segment_list_;
  graft_family_desc desc_{};
};

}  // namespace graft

#endif
