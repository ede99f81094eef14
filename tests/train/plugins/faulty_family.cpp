// SPDX-License-Identifier: Apache-2.0
// Qwen2 with one mistake that cuts the autograd graph, for tests of the guard on the first step. It runs the in-tree decoder
// against a graft_exec of its own, which passes everything on to the host's and makes the mistake on the way.
#include <deque>
#include <string>
#include <vector>

#include "common/text_family.h"

namespace {

using graft::Tensor;

class FaultyFamily final : public families::TextFamily {
 public:
  static constexpr auto name = "faulty_qwen2";
  static constexpr auto summary = "Qwen2 that cuts the autograd graph, for tests";
  static bool probe(const graft::Json&) { return false; }
  static graft::Schema params() {
    return graft::Schema().choice(
        "fault",
        {"none", "detach_layer", "detach_projection", "freeze_embeddings", "no_history", "skip_site"}, "none",
        "which mistake is made");
  }

  explicit FaultyFamily(const graft::Params& params) : fault_(params.string("fault")) {}

  void open(const graft::FamilyFiles& files) override {
    open_text(files, families::decoder_defaults("qwen2"), families::ChatMl{"You are a helpful assistant."});
    const graft_family_desc& desc = *declare.description();
    for (std::uint32_t i = 0; i < desc.n_params; ++i) {
      if (graft::to_view(desc.params[i]->name) == "model.embed_tokens.weight") embeddings_ = i;
    }
    for (std::uint32_t i = 0; i < desc.n_sites; ++i) {
      if (graft::to_view(desc.sites[i]->name) == "model.layers.1.self_attn.v_proj") value_site_ = i;
    }
    for (std::uint32_t i = 0; i < desc.n_segments; ++i) {
      if (graft::to_view(desc.segments[i]->name) == "language.layers.1") second_layer_ = i;
    }
    const graft_param_decl& weight = *desc.params[desc.sites[value_site_]->weight];
    value_width_ = weight.sizes[0];
  }

  Tensor decode(const graft::Exec& exec, const graft::DecodeInput& input) const override {
    Detour detour(*this, exec.raw());
    const Tensor hidden = DecoderFamily::decode(graft::Exec(&detour.table), input);
    return fault_ == "no_history" ? graft::ops::detach(hidden) : hidden;
  }

 private:
  // The host's exec behind one that makes the mistake.
  struct Detour {
    Detour(const FaultyFamily& of, const graft_exec* behind)
        : table{GRAFT_HDR(graft_exec), this, &param, &linear, &segment, &attention},
          family(of),
          real(behind) {}
    graft_exec table;
    const FaultyFamily& family;
    const graft_exec* real;
    std::deque<Tensor> lent;  // what param() gave instead of the host's tensors
  };
  static Detour& detour_of(const graft_exec* exec) { return *static_cast<Detour*>(exec->context); }

  static graft_status param(const graft_exec* exec, std::uint32_t index, graft_tensor* borrowed,
                            graft_error* error) {
    Detour& detour = detour_of(exec);
    const graft_status status = detour.real->param(detour.real, index, borrowed, error);
    if (status != GRAFT_OK || detour.family.fault_ != "freeze_embeddings" ||
        index != detour.family.embeddings_)
      return status;
    return graft::guard(error, [&] {
      detour.lent.push_back(graft::ops::detach(Tensor::share(*borrowed)));
      *borrowed = detour.lent.back().get();
    });
  }

  static graft_status linear(const graft_exec* exec, std::uint32_t site, graft_tensor x, graft_tensor* y,
                             graft_error* error) {
    Detour& detour = detour_of(exec);
    const FaultyFamily& family = detour.family;
    const bool is_faulty = site == family.value_site_;
    if (is_faulty && family.fault_ == "skip_site") {
      return graft::guard(error, [&] {
        const Tensor in = Tensor::share(x);
        *y = graft::ops::new_zeros(in, {in.size(0), family.value_width_}).release();
      });
    }
    const graft_status status = detour.real->linear(detour.real, site, x, y, error);
    if (status != GRAFT_OK || !is_faulty || family.fault_ != "detach_projection") return status;
    return graft::guard(error, [&] { *y = graft::ops::detach(Tensor::adopt(*y)).release(); });
  }

  static graft_status segment(const graft_exec* exec, std::uint32_t index, graft_segment_body body,
                              std::uint64_t tag, const graft_tensor* in, std::uint32_t n_in,
                              graft_tensor* out, std::uint32_t n_out, graft_error* error) {
    Detour& detour = detour_of(exec);
    const FaultyFamily& family = detour.family;
    std::vector<graft_tensor> inputs(in, in + n_in);
    Tensor cut;
    if (family.fault_ == "detach_layer" && index == family.second_layer_) {
      const graft_status status =
          graft::guard(error, [&] { cut = graft::ops::detach(Tensor::share(in[0])); });
      if (status != GRAFT_OK) return status;
      inputs[0] = cut.get();
    }
    return detour.real->segment(detour.real, index, &faulty_body, family.tag_of(body, tag), inputs.data(),
                                n_in, out, n_out, error);
  }

  static graft_status attention(const graft_exec* exec, const graft_attention* args, graft_tensor* out,
                                graft_error* error) {
    const Detour& detour = detour_of(exec);
    return detour.real->attention(detour.real, args, out, error);
  }

  // Runs the decoder's body of a segment against the faulty exec again. The body is part of the tag, as it may run in backward.
  static graft_status faulty_body(graft_instance* instance, const graft_exec* exec, std::uint64_t tag,
                                  const graft_tensor* in, std::uint32_t n_in, graft_tensor* out,
                                  std::uint32_t n_out, graft_error* error) {
    const auto& family = graft::self<FaultyFamily>(instance);
    Detour detour(family, exec);
    const graft_segment_body body = family.bodies_[tag >> kTagBits];
    return body(instance, &detour.table, tag & ((1U << kTagBits) - 1), in, n_in, out, n_out, error);
  }
  std::uint64_t tag_of(graft_segment_body body, std::uint64_t tag) const {
    std::size_t i = 0;
    while (i < bodies_.size() && bodies_[i] != body) ++i;
    if (i == bodies_.size()) bodies_.push_back(body);
    return (static_cast<std::uint64_t>(i) << kTagBits) | tag;
  }

  static constexpr unsigned kTagBits = 16;
  std::string fault_;
  std::uint32_t embeddings_ = 0, value_site_ = 0, second_layer_ = 0;
  std::int64_t value_width_ = 0;
  mutable std::deque<graft_segment_body> bodies_;
};

}  // namespace

GRAFT_PLUGIN(FaultyFamily);
