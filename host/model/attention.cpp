// SPDX-License-Identifier: Apache-2.0
#include "model/attention.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros_like.h>
#include <torch/csrc/autograd/custom_function.h>

#include <stdexcept>
#include <utility>

#include "model/partial_attention.h"
#include "support/error.h"
#include "support/strings.h"

namespace graft::model {

namespace {

// A dense product of queries with keys: n_blocks pairs of blocks that lie one after the other in the flat
// token order.
struct Part {
  std::int64_t q_begin;
  std::int64_t k_begin;
  std::int64_t q_length;  // of one block
  std::int64_t k_length;  // of one block
  std::int64_t n_blocks;
  bool is_causal;  // needs q_length == k_length
  bool is_first;   // starts the result of its queries; the others join

  [[nodiscard]] std::int64_t q_tokens() const { return q_length * n_blocks; }
  [[nodiscard]] std::int64_t k_tokens() const { return k_length * n_blocks; }
};

// What a whole attention is made of, and how many tokens it takes.
struct Layout : torch::CustomClassHolder {
  std::vector<Part> parts;
  std::int64_t n_tokens = 0;

  // A block that attends to itself. Neighbours of one length become one product.
  void add_block(std::int64_t begin, std::int64_t length, bool is_causal, bool is_first) {
    if (length == 0) return;
    if (!parts.empty()) {
      Part& last = parts.back();
      if (last.q_begin == last.k_begin && last.q_begin + last.q_tokens() == begin &&
          last.q_length == length && last.k_length == length && last.is_causal == is_causal &&
          last.is_first == is_first) {
        ++last.n_blocks;
        return;
      }
    }
    parts.push_back({begin, begin, length, length, 1, is_causal, is_first});
  }
};

using LayoutPtr = c10::intrusive_ptr<Layout>;

LayoutPtr packed_layout(const std::vector<PackedGroup>& groups) {
  auto layout = c10::make_intrusive<Layout>();
  std::int64_t& end = layout->n_tokens;
  for (const PackedGroup& group : groups) {
    if (group.prompt_length < 1) throw std::invalid_argument("packed_attention: a prompt has no tokens");
    const std::int64_t prompt = end;
    layout->add_block(prompt, group.prompt_length, /*is_causal=*/true, /*is_first=*/true);
    const std::int64_t completions = prompt + group.prompt_length;
    std::int64_t total = 0;
    for (const std::int64_t length : group.completion_lengths) total += length;
    end = completions + total;
    if (total == 0) continue;
    // The queries of all completions against the shared prompt, in one product …
    layout->parts.push_back({completions, prompt, total, group.prompt_length, 1, false, true});
    // … and each completion against its own past.
    std::int64_t begin = completions;
    for (const std::int64_t length : group.completion_lengths) {
      layout->add_block(begin, length, /*is_causal=*/true, /*is_first=*/false);
      begin += length;
    }
  }
  return layout;
}

// ---- flat rows <-> the [batch, heads, tokens, d] that a product takes
// ------------------------------------------------- One block: the key heads are the batch and the queries
// that share a key head its heads, so nothing is copied. Several blocks: the blocks are the batch, and shared
// keys are repeated.

at::Tensor query_heads(const at::Tensor& flat, const Part& part, std::int64_t kv_heads) {
  const at::Tensor rows = flat.narrow(0, part.q_begin, part.q_tokens());  // [n L, H, d]
  const std::int64_t heads = rows.size(1), dim = rows.size(2);
  if (part.n_blocks == 1) {
    return rows.view({part.q_length, kv_heads, heads / kv_heads, dim})
        .permute({1, 2, 0, 3});  // [Hkv, rep, L, d]
  }
  return rows.view({part.n_blocks, part.q_length, heads, dim}).transpose(1, 2);  // [n, H, L, d]
}

at::Tensor key_heads(const at::Tensor& flat, const Part& part, std::int64_t heads) {
  const at::Tensor rows = flat.narrow(0, part.k_begin, part.k_tokens());  // [n L, Hkv, d]
  const std::int64_t kv_heads = rows.size(1), dim = rows.size(2), share = heads / kv_heads;
  if (part.n_blocks == 1)
    return rows.transpose(0, 1).unsqueeze(1).expand({-1, share, -1, -1});  // [Hkv, rep, L, d]
  if (share == 1) return rows.view({part.n_blocks, part.k_length, kv_heads, dim}).transpose(1, 2);
  return rows.view({part.n_blocks, part.k_length, kv_heads, 1, dim})
      .expand({-1, -1, -1, share, -1})
      .reshape({part.n_blocks, part.k_length, heads, dim})
      .transpose(1, 2);  // [n, H, L, d]
}

// [batch, heads, L, ...] of a product -> flat [n L, H, ...]
at::Tensor flat_rows(const at::Tensor& x, const Part& part) {
  at::Tensor rows;
  if (part.n_blocks == 1) {
    rows = x.dim() == 4 ? x.permute({2, 0, 1, 3}) : x.permute({2, 0, 1});
    return rows.flatten(1, 2);
  }
  return x.transpose(1, 2).flatten(0, 1);
}

// Gradients of repeated keys, summed over the queries that share them: -> [n L, Hkv, d]
at::Tensor flat_key_grad(const at::Tensor& grad, const Part& part, std::int64_t kv_heads) {
  if (part.n_blocks == 1) return grad.sum(1).transpose(0, 1);
  const at::Tensor rows = grad.transpose(1, 2).flatten(0, 1);  // [n L, H, d]
  return rows.unflatten(1, {kv_heads, -1}).sum(2);
}

at::Tensor dense(const at::Tensor& x) {
  return x.stride(-1) == 1 ? x : x.contiguous();
}

PartialAttention attend_forward(const Layout& layout, const at::Tensor& q, const at::Tensor& k,
                                const at::Tensor& v, double scale) {
  const at::NoGradGuard no_grad;
  const auto precision = q.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  const std::int64_t heads = q.size(1), kv_heads = k.size(1);
  at::Tensor out = at::empty(q.sizes(), q.options().dtype(precision));           // [T, H, d]
  at::Tensor lse = at::empty({q.size(0), heads}, q.options().dtype(precision));  // [T, H]
  for (const Part& part : layout.parts) {
    const PartialAttention result =
        partial_attention(query_heads(q, part, kv_heads), key_heads(k, part, heads),
                          key_heads(v, part, heads), scale, part.is_causal);
    at::Tensor rows = out.narrow(0, part.q_begin, part.q_tokens());
    at::Tensor row_lse = lse.narrow(0, part.q_begin, part.q_tokens());
    if (part.is_first) {
      rows.copy_(flat_rows(result.out, part));
      row_lse.copy_(flat_rows(result.lse, part));
    } else {
      join_attention(rows, row_lse, flat_rows(result.out, part), flat_rows(result.lse, part));
    }
  }
  return {out.to(q.scalar_type()), lse};
}

// Keeps queries, keys, values, result and log-sum-exps; probabilities are formed again in backward.
class AttentionNode : public torch::autograd::Function<AttentionNode> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& q,
                            const at::Tensor& k, const at::Tensor& v, const LayoutPtr& layout, double scale) {
    const PartialAttention result = attend_forward(*layout, q, k, v, scale);
    context->save_for_backward({q, k, v, result.out, result.lse});
    context->saved_data["layout"] = c10::IValue::make_capsule(layout);
    context->saved_data["scale"] = scale;
    return result.out;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 const torch::autograd::variable_list& grads) {
    const auto saved = context->get_saved_variables();
    const at::Tensor &q = saved[0], &k = saved[1], &v = saved[2], &out = saved[3], &lse = saved[4];
    const auto holder = context->saved_data["layout"].toCapsule();
    const auto& layout = static_cast<const Layout&>(*holder);
    const double scale = context->saved_data["scale"].toDouble();
    const at::Tensor grad_out = dense(grads[0]);
    const std::int64_t heads = q.size(1), kv_heads = k.size(1);
    at::Tensor grad_q = at::empty(q.sizes(), q.options());
    at::Tensor grad_k = at::zeros_like(k, k.options(), at::MemoryFormat::Contiguous);
    at::Tensor grad_v = at::zeros_like(v, v.options(), at::MemoryFormat::Contiguous);
    for (const Part& part : layout.parts) {
      const auto [part_q, part_k, part_v] = partial_attention_backward(
          query_heads(grad_out, part, kv_heads), query_heads(q, part, kv_heads), key_heads(k, part, heads),
          key_heads(v, part, heads), query_heads(out, part, kv_heads), lse_heads(lse, part, kv_heads), scale,
          part.is_causal);
      at::Tensor rows = grad_q.narrow(0, part.q_begin, part.q_tokens());
      part.is_first ? rows.copy_(flat_rows(part_q, part)) : rows.add_(flat_rows(part_q, part));
      grad_k.narrow(0, part.k_begin, part.k_tokens()).add_(flat_key_grad(part_k, part, kv_heads));
      grad_v.narrow(0, part.k_begin, part.k_tokens()).add_(flat_key_grad(part_v, part, kv_heads));
    }
    return {grad_q, grad_k, grad_v, at::Tensor(), at::Tensor()};
  }

 private:
  static at::Tensor lse_heads(const at::Tensor& flat, const Part& part, std::int64_t kv_heads) {
    return query_heads(flat.unsqueeze(-1), part, kv_heads).squeeze(-1);
  }
};

void check_shapes(const Layout& layout, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
  const auto fail = [&](const std::string& why) {
    throw support::PluginError(support::cat("attention of a model family: ", why, ": q ", c10::str(q.sizes()),
                                            ", k ", c10::str(k.sizes()), ", v ", c10::str(v.sizes())));
  };
  if (q.dim() != 3 || k.dim() != 3) fail("expected q [T, H, d] and k, v [T, Hkv, d]");
  if (k.sizes() != v.sizes() || q.size(0) != k.size(0) || q.size(2) != k.size(2)) fail("shapes do not agree");
  if (k.size(1) == 0 || q.size(1) % k.size(1) != 0)
    fail("the number of query heads is no multiple of that of key heads");
  if (q.scalar_type() != k.scalar_type() || q.scalar_type() != v.scalar_type()) fail("dtypes differ");
  if (q.size(0) != layout.n_tokens) fail(support::cat("this pass has ", layout.n_tokens, " tokens"));
}

at::Tensor attend_layout(const LayoutPtr& layout, const at::Tensor& q, const at::Tensor& k,
                         const at::Tensor& v, double scale) {
  check_shapes(*layout, q, k, v);
  const bool needs_grad =
      at::GradMode::is_enabled() && (q.requires_grad() || k.requires_grad() || v.requires_grad());
  if (!needs_grad) return attend_forward(*layout, dense(q), dense(k), dense(v), scale).out;
  return AttentionNode::apply(dense(q), dense(k), dense(v), layout, scale);
}

class PackedAttention final : public SequenceAttention {
 public:
  explicit PackedAttention(LayoutPtr layout) : layout_(std::move(layout)) {}

  at::Tensor attend(std::int32_t /*layer*/, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                    double scale) override {
    return attend_layout(layout_, q, k, v, scale);
  }

 private:
  LayoutPtr layout_;
};

}  // namespace

std::shared_ptr<SequenceAttention> packed_attention(std::vector<PackedGroup> groups) {
  return std::make_shared<PackedAttention>(packed_layout(groups));
}

at::Tensor block_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, double scale,
                           const std::vector<std::int64_t>& block_ends) {
  auto layout = c10::make_intrusive<Layout>();
  for (const std::int64_t end : block_ends) {
    if (end < layout->n_tokens) {
      throw support::PluginError(support::cat("attention of a model family: block end ", end, " after ",
                                              layout->n_tokens, ": ends must ascend"));
    }
    layout->add_block(layout->n_tokens, end - layout->n_tokens, /*is_causal=*/false, /*is_first=*/true);
    layout->n_tokens = end;
  }
  return attend_layout(layout, q, k, v, scale);
}

}  // namespace graft::model
