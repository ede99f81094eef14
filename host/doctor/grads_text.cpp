// SPDX-License-Identifier: Apache-2.0
// The report on gradients for people and for programs.
#include <algorithm>
#include <cstdio>

#include "doctor/grads.h"
#include "support/strings.h"

namespace graft::doctor {

using support::cat;

namespace {

constexpr std::size_t kShownTensors = 10;

std::string scientific(double value) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.2e", value);
  return text;
}

std::string cost_text(const PassCost& cost) {
  return cat(
      support::fixed(cost.seconds, 2), " s",
      cost.peak_bytes ? ", peak " + support::human_bytes(static_cast<std::uint64_t>(*cost.peak_bytes)) : "");
}

std::string row_text(const TensorGradients& row) {
  std::string value = scientific(row.difference);
  if (!row.is_there_without && !row.is_there_with) value = "no gradient at all";
  if (row.is_there_without && !row.is_there_with) value = "LOST with checkpointing";
  if (!row.is_there_without && row.is_there_with) value = "only with checkpointing";
  if (value.size() < 24) value.resize(24, ' ');
  return cat("  ", value, "  ", scientific(row.largest), "  ", row.name, '\n');
}

std::string parts_text(const TrainedParts& parts) {
  std::vector<std::string> named;
  const auto add = [&](std::size_t count, const char* where) {
    if (count > 0) named.push_back(cat(count, " ", where));
  };
  add(parts.patch_embedding, "in the patch embedding");
  add(parts.vision_layers, "in vision layers");
  add(parts.projector, "in the projector");
  add(parts.token_embedding, "in the token embedding");
  add(parts.language_layers, "in language layers");
  add(parts.behind, "behind the layers (norm, head)");
  return support::join(named, ", ");
}

}  // namespace

std::size_t GradsReport::lost() const {
  return static_cast<std::size_t>(
      std::count_if(tensors.begin(), tensors.end(),
                    [](const TensorGradients& row) { return !row.is_there_without || !row.is_there_with; }));
}

double GradsReport::worst() const {
  double most = 0.0;
  for (const TensorGradients& row : tensors) most = std::max(most, row.difference);
  return most;
}

nlohmann::ordered_json GradsReport::json() const {
  const auto cost = [](const PassCost& given) {
    nlohmann::ordered_json out{{"seconds", given.seconds}, {"peak_bytes", nullptr}};
    if (given.peak_bytes) out["peak_bytes"] = *given.peak_bytes;
    return out;
  };
  nlohmann::ordered_json out{{"strategy", strategy},   {"policy", policy},
                             {"tokens", tokens},       {"trained_tensors", tensors.size()},
                             {"lost", lost()},         {"worst", worst()},
                             {"tolerance", tolerance}, {"good", is_good()}};
  out["loss"] = {{"without", loss_without}, {"with", loss_with}};
  out["cost"] = {{"without", cost(without)}, {"with", cost(with)}};
  for (const TensorGradients& row : tensors) {
    out["tensors"].push_back({{"name", row.name},
                              {"without", row.is_there_without},
                              {"with", row.is_there_with},
                              {"largest", row.largest},
                              {"difference", row.difference}});
  }
  for (const HistoricalCase& way : history) {
    out["elsewhere"].push_back({{"case", way.name},
                                {"raises", way.outcome.raises},
                                {"lost", way.outcome.lost},
                                {"vision_backward", way.outcome.vision_backward}});
  }
  return out;
}

std::string GradsReport::text() const {
  std::string out = cat(strategy, ", a pass of ", tokens, " tokens, without checkpointing and with policy ",
                        policy, ":\n  ", tensors.size() - lost(), " of ", tensors.size(),
                        " trained tensors have a gradient in both, the worst differs by ",
                        scientific(worst()), " of its largest entry (tolerance ", scientific(tolerance),
                        "): ", is_good() ? "good" : "NOT GOOD", "\n  without ", cost_text(without), "; with ",
                        cost_text(with), "\n\n  relative difference       largest   tensor\n");
  for (std::size_t i = 0; i < std::min(kShownTensors, tensors.size()); ++i) out += row_text(tensors[i]);
  if (tensors.size() > kShownTensors)
    out += cat("  … and ", tensors.size() - kShownTensors, " that differ no more\n");
  out += cat("\nWhat is trained here: ", parts_text(parts),
             ".\nElsewhere, reentrant checkpointing runs each layer without autograd and lets its output "
             "require a gradient only "
             "if an input of the layer does;\ntrained weights inside a layer do not count. Where all that "
             "comes before a "
             "stack of layers is frozen, the stack is cut off. With these tensors:\n");
  for (const HistoricalCase& way : history) out += cat("  ", way.name, ":\n      ", way.text, '\n');
  out +=
      "Here the graph does not depend on inputs: trained tensors of a recomputed segment are part of it, and "
      "no hook makes the "
      "frozen vision tower take part in backward.\n";
  return out;
}

}  // namespace graft::doctor
