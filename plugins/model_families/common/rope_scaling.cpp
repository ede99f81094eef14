// SPDX-License-Identifier: Apache-2.0
#include "common/rope_scaling.h"

#include <cmath>

namespace families {
namespace {

constexpr double kTurn = 6.283185307179586;

// transformers takes the decoder's own original_max_position_embeddings before the section's, and falls back to the context that
// the checkpoint declares.
double original_context(const Section& text, const Section& section) {
  constexpr std::string_view kKey = "original_max_position_embeddings";
  const double own = text.number(kKey, section.number(kKey, 0.0));
  const double length = own != 0.0 ? own : static_cast<double>(text.count("max_position_embeddings"));
  section.require(length > 0.0, kKey, "is not positive");
  return length;
}

void read_llama3(const Section& section, RopeScaling& out) {
  out.low_freq_factor = section.number("low_freq_factor");
  out.high_freq_factor = section.number("high_freq_factor");
  section.require(out.low_freq_factor > 0.0 && out.high_freq_factor > out.low_freq_factor, "high_freq_factor",
                  "is not larger than low_freq_factor");
}

// 0 means the default, as for transformers.
double number_or(const Section& section, std::string_view key, double fallback) {
  const double value = section.number(key, fallback);
  return value == 0.0 ? fallback : value;
}

void read_yarn(const Section& section, RopeScaling& out) {
  out.beta_fast = number_or(section, "beta_fast", out.beta_fast);
  out.beta_slow = number_or(section, "beta_slow", out.beta_slow);
  section.require(out.beta_slow > 0.0 && out.beta_fast >= out.beta_slow, "beta_fast",
                  "is less than beta_slow, or one of them is negative");
  out.truncate = section.boolean("truncate", true);
  const double mscale = section.number("mscale", 0.0), mscale_all_dim = section.number("mscale_all_dim", 0.0);
  const double log_factor = std::log(out.factor);  // 0 or more
  const auto temperature = [&](double scale) { return 0.1 * scale * log_factor + 1.0; };
  const bool has_both = mscale != 0.0 && mscale_all_dim != 0.0;
  const double inferred = has_both ? temperature(mscale) / temperature(mscale_all_dim) : temperature(1.0);
  out.attention_factor = section.number("attention_factor", inferred);
  section.require(out.attention_factor > 0.0, "attention_factor", "is not positive");
}

// Wavelengths above original_context / low_freq_factor are stretched by `factor`, those below original_context /
// high_freq_factor stay, and between them the two are mixed.
void scale_llama3(const RopeScaling& scaling, std::int64_t pairs, float* frequencies) {
  for (std::int64_t i = 0; i < pairs; ++i) {
    const double frequency = static_cast<double>(frequencies[i]);
    const double turns = scaling.original_context * frequency / kTurn;  // within the original context
    const double mix =
        (turns - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor);
    const double kept = std::fmin(1.0, std::fmax(0.0, mix));
    frequencies[i] = static_cast<float>((1.0 - kept) * frequency / scaling.factor + kept * frequency);
  }
}

void scale_yarn(const RopeScaling& scaling, double base, std::int64_t size, const float* periods,
                float* frequencies) {
  // The pair, a real number, that turns so often within the original context.
  const auto pair_of = [&](double turns) {
    return static_cast<double>(size) * std::log(scaling.original_context / (turns * kTurn)) /
           (2.0 * std::log(base));
  };
  double first = pair_of(scaling.beta_fast), last = pair_of(scaling.beta_slow);
  if (scaling.truncate) {
    first = std::floor(first);
    last = std::ceil(last);
  }
  first = std::fmax(first, 0.0);
  last = std::fmin(last, static_cast<double>(size - 1));
  if (first == last) last += 0.001;
  const auto factor = static_cast<float>(scaling.factor);
  for (std::int64_t i = 0; i < size / 2; ++i) {  // in float32, as transformers' tensors
    const float ramp = (static_cast<float>(i) - static_cast<float>(first)) / static_cast<float>(last - first);
    const float kept = 1.0F - std::fmin(1.0F, std::fmax(0.0F, ramp));
    frequencies[i] = 1.0F / (factor * periods[i]) * (1.0F - kept) + frequencies[i] * kept;
  }
}

}  // namespace

RopeScaling read_rope_scaling(const Section& text, const Section& section, const std::string& type) {
  using Kind = RopeScaling::Kind;
  RopeScaling out;
  if (type == "default") return out;
  section.require(
      type != "dynamic", "rope_type",
      "is \"dynamic\", whose frequencies depend on the longest sequence of a batch and are not offered; if "
      "no "
      "prompt with its completion is longer than max_position_embeddings, \"default\" gives the same "
      "numbers: write that into the file; for longer ones \"yarn\" or \"linear\" are offered");
  section.require(
      type != "longrope", "rope_type",
      "is \"longrope\", whose frequencies change where the longest sequence of a batch exceeds the original "
      "context, and are not offered; use a checkpoint with \"default\", \"linear\", \"llama3\" or \"yarn\"");
  out.kind = type == "linear"   ? Kind::kLinear
             : type == "llama3" ? Kind::kLlama3
             : type == "yarn"   ? Kind::kYarn
                                : Kind::kNone;
  section.require(
      out.kind != Kind::kNone, "rope_type",
      "is \"" + type +
          "\"; \"default\", \"linear\", \"llama3\" and \"yarn\" are offered, so positions beyond the "
          "context that the model was trained with are not");
  out.factor = section.number("factor");
  section.require(out.factor >= 1.0, "factor", "is less than 1");
  if (out.kind != Kind::kLinear) out.original_context = original_context(text, section);
  if (out.kind == Kind::kLlama3) read_llama3(section, out);
  if (out.kind == Kind::kYarn) read_yarn(section, out);
  return out;
}

void scale_frequencies(const RopeScaling& scaling, double base, std::int64_t size, const float* periods,
                       float* frequencies) {
  switch (scaling.kind) {
    case RopeScaling::Kind::kNone:
      return;
    case RopeScaling::Kind::kLinear:
      for (std::int64_t i = 0; i < size / 2; ++i) frequencies[i] /= static_cast<float>(scaling.factor);
      return;
    case RopeScaling::Kind::kLlama3:
      return scale_llama3(scaling, size / 2, frequencies);
    case RopeScaling::Kind::kYarn:
      return scale_yarn(scaling, base, size, periods, frequencies);
  }
}

}  // namespace families
