// SPDX-License-Identifier: Apache-2.0
#include "common/rotary.h"

#include <numeric>

namespace families {

using graft::Tensor;
namespace ops = graft::ops;

namespace {

void check_sections(const Section& text, const RopeConfig& rope, std::int64_t head_dim) {
  text.require(rope.mrope_section.size() == 3, "mrope_section",
               "has " + std::to_string(rope.mrope_section.size()) + " entries, expected 3");
  const std::int64_t pairs =
      std::accumulate(rope.mrope_section.begin(), rope.mrope_section.end(), std::int64_t{0});
  const std::int64_t expected = rope.rotary_dim(head_dim) / 2;
  text.require(pairs == expected, "mrope_section",
               "adds up to " + std::to_string(pairs) + ", expected half the head dimension" +
                   (rope.partial_factor < 1.0 ? " times partial_rotary_factor, " : ", ") +
                   std::to_string(expected));
}

// partial_rotary_factor: in the section in transformers 5, beside it in published files.
void read_partial_factor(const Section& text, const std::optional<Section>& section, std::int64_t head_dim,
                         RopeConfig& out) {
  out.partial_factor = text.number("partial_rotary_factor", out.partial_factor);
  if (section) out.partial_factor = section->number("partial_rotary_factor", out.partial_factor);
  text.require(out.partial_factor > 0.0 && out.partial_factor <= 1.0, "partial_rotary_factor",
               "is not above 0 and at most 1");
  const std::int64_t values = out.rotary_dim(head_dim);
  text.require(values > 0 && values % 2 == 0, "partial_rotary_factor",
               "lets " + std::to_string(values) + " of a head's " + std::to_string(head_dim) +
                   " values rotate, expected pairs");
}

Tensor reciprocal(const Tensor& x) {
  static const graft::Op op("aten::reciprocal");
  return op({x});
}

// base^(2i / size), float32.
Tensor rotary_periods(double base, std::int64_t size) {
  static const graft::Op arange("aten::arange", "start_step");
  static const graft::Op power("aten::pow", "Scalar");
  const Tensor steps = arange({0, size, 2, graft::DType::kFloat32});
  return power({base, ops::div(steps, static_cast<double>(size))});
}

}  // namespace

RopeConfig read_rope(const Section& text, const RopeConfig& defaults, std::int64_t head_dim) {
  RopeConfig out = defaults;
  const bool is_multimodal = !defaults.mrope_section.empty();
  out.theta = text.number("rope_theta", out.theta);
  std::optional<Section> section =
      text.child("rope_scaling");  // transformers, too, prefers it where both stand
  if (!section || section->is_empty()) section = text.child("rope_parameters");
  if (section) {
    out.theta = section->number("rope_theta", out.theta);
    std::string type = section->string("rope_type", section->string("type", "default"));
    if (is_multimodal) {
      out.mrope_section = section->integers("mrope_section", out.mrope_section);
      section->require(section->boolean("mrope_interleaved", out.mrope_interleaved) == out.mrope_interleaved,
                       "mrope_interleaved",
                       out.mrope_interleaved ? "is false; this family interleaves"
                                             : "is true; this family does not interleave");
      if (type == "mrope") type = "default";
    } else if (type == "dynamic" && out.takes_dynamic) {
      out.n_positions = text.count("max_position_embeddings");
      type = "default";
    }
    out.scaling = read_rope_scaling(text, *section, type);
    section->require(out.reads_partial_factor || section->number("partial_rotary_factor", 1.0) == 1.0,
                     "partial_rotary_factor",
                     "is not 1; this family's heads that rotate in part are not offered");
  }
  if (out.reads_partial_factor) read_partial_factor(text, section, head_dim, out);
  if (is_multimodal) check_sections(text, out, head_dim);
  return out;
}

Tensor rotary_frequencies(double base, std::int64_t size) {
  return reciprocal(rotary_periods(base, size));
}

Tensor rotary_frequencies(const RopeConfig& rope, std::int64_t head_dim) {
  const std::int64_t size = rope.rotary_dim(head_dim);
  const Tensor periods = rotary_periods(rope.theta, size);
  Tensor frequencies = reciprocal(periods);
  scale_frequencies(rope.scaling, rope.theta, size, periods.data<float>(), frequencies.data<float>());
  return frequencies;
}

Tensor mrope_rows(const RopeConfig& rope) {
  std::vector<std::int64_t> rows;
  const std::vector<std::int64_t>& section = rope.mrope_section;
  if (!rope.mrope_interleaved) {
    for (std::size_t axis = 0; axis < section.size(); ++axis) {
      rows.insert(rows.end(), static_cast<std::size_t>(section[axis]), static_cast<std::int64_t>(axis));
    }
    return Tensor::from(rows);
  }
  const std::int64_t pairs = std::accumulate(section.begin(), section.end(), std::int64_t{0});
  for (std::int64_t pair = 0; pair < pairs; ++pair) {
    const std::int64_t axis = pair % 3;
    rows.push_back(pair < 3 * section[static_cast<std::size_t>(axis)] ? axis : 0);
  }
  return Tensor::from(rows);
}

Rotation rotation_of(const Tensor& angles, graft::DType dtype, double scale, bool pairs_neighbours) {
  const auto finish = [&](const Tensor& x) { return ops::to(scale == 1.0 ? x : ops::mul(x, scale), dtype); };
  const Tensor cos = finish(ops::cos(angles)), sin = finish(ops::sin(angles));
  const auto paired = [&](const Tensor& first, const Tensor& second) {  // [T, 1, r]
    const Tensor both =
        pairs_neighbours ? ops::flatten(ops::stack({first, second}, 2), 1, 2) : ops::cat({first, second}, 1);
    return ops::unsqueeze(both, 1);
  };
  return {paired(cos, cos), paired(ops::neg(sin), sin)};
}

Tensor rotate(const Tensor& x, const Tensor& cos, const Tensor& sin, bool pairs_neighbours) {
  static const graft::Op addcmul("aten::addcmul");
  static const graft::Op flip("aten::flip");
  const std::int64_t width = x.size(-1), turning = cos.size(-1);
  if (turning < width) {
    const auto [turned, still] = ops::split<2>(x, {turning, width - turning}, -1);
    return ops::cat({rotate(turned, cos, sin, pairs_neighbours), still}, -1);
  }
  if (pairs_neighbours) {
    const Tensor swapped = flip({ops::view(x, {-1, x.size(1), width / 2, 2}), {-1}});
    return addcmul({ops::mul(x, cos), ops::flatten(swapped, 2, 3), sin});
  }
  const auto [a, b] = ops::chunk<2>(x, -1);
  return addcmul({ops::mul(x, cos), ops::cat({b, a}, -1), sin});
}

}  // namespace families
