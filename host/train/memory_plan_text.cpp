// SPDX-License-Identifier: Apache-2.0
// A memory plan for people and for programs.
#include <cstdio>
#include <map>

#include "support/strings.h"
#include "train/memory_plan.h"

namespace graft::train {

using support::cat;

namespace {

constexpr std::size_t kNameWidth = 40;

std::string mib(std::int64_t bytes) {
  char text[32];
  std::snprintf(text, sizeof(text), "%10.1f", static_cast<double>(bytes) / (1024.0 * 1024.0));
  return text;
}

std::string line(const std::string& name, std::int64_t bytes, const char* note = "") {
  std::string out = "  " + name;
  if (out.size() < kNameWidth) out.resize(kNameWidth, ' ');
  return out + mib(bytes) + (*note == '\0' ? "" : cat("   ", note)) + '\n';
}

// Layers of one kind in one line: "language.layers.* (12)".
std::string activation_lines(const std::map<std::string, std::int64_t>& activations) {
  std::map<std::string, std::pair<std::int64_t, std::size_t>> grouped;
  for (const auto& [name, bytes] : activations) {
    const std::size_t dot = name.find_last_of('.');
    std::int64_t number = 0;
    const bool is_numbered = dot != std::string::npos && support::parse_number(name.substr(dot + 1), number);
    auto& [sum, count] = grouped[is_numbered ? name.substr(0, dot) + ".*" : name];
    sum += bytes;
    ++count;
  }
  std::string out;
  for (const auto& [name, entry] : grouped) {
    out += line(entry.second > 1 ? cat("  ", name, " (", entry.second, ")") : "  " + name, entry.first);
  }
  return out;
}

std::string cell_text(const PlannedCell& cell, std::int64_t process) {
  const memory::Estimate& estimate = *cell.estimate;
  std::string out = cat(cell.strategy, " with checkpoint policy ", cell.policy, ", MiB:\n");
  out += line("program and libraries", process);
  out += line("weights", estimate.weights);
  out += line("adapters", estimate.adapters);
  out += line("gradients", estimate.gradients);
  out += line("optimizer state", estimate.optimizer);
  if (estimate.reference > 0) out += line("copy of the reference policy", estimate.reference);
  out += line("KV cache", estimate.kv_cache, "during the rollout");
  out += line("head", estimate.head, "for moments of forward and backward");
  out += line("activations of the largest pass", estimate.activation_bytes());
  out += activation_lines(estimate.activations);
  out += "  peaks, all of the above that is there at the time included:\n";
  for (const memory::PhaseEstimate& phase : estimate.phases)
    out += line("  " + phase.name, process + phase.peak);
  return out;
}

std::string padded(std::string text, std::size_t width) {
  if (text.size() < width) text.resize(width, ' ');
  return text;
}

std::string table(const MemoryPlan& plan, const PlanOptions& options) {
  std::string out =
      cat(padded("strategy", 20), padded("policy", 14), "   rollout  reference     update  MiB");
  if (options.memory) out += "   fits  prompts in a pass";
  out += '\n';
  for (const PlannedCell& cell : plan.cells) {
    out += padded(cell.strategy, 20) + padded(cell.policy, 14);
    if (!cell.estimate) {
      out += cat("  ", cell.refusal, '\n');
      continue;
    }
    for (const char* name : {"rollout", "reference", "update"}) {
      std::string text = padded("", 9) + "-";
      for (const memory::PhaseEstimate& phase : cell.estimate->phases) {
        if (phase.name == name) text = mib(plan.process + phase.peak);
      }
      out += text + ' ';
    }
    if (options.memory) {
      out += cat("      ", plan.process + cell.estimate->peak() <= *options.memory ? "yes " : "no  ", "  ",
                 cell.largest_pass.value_or(0));
    }
    out += '\n';
  }
  return out;
}

nlohmann::ordered_json estimate_json(const memory::Estimate& estimate, std::int64_t process) {
  nlohmann::ordered_json out;
  out["weights"] = estimate.weights;
  out["adapters"] = estimate.adapters;
  out["gradients"] = estimate.gradients;
  out["optimizer"] = estimate.optimizer;
  out["reference"] = estimate.reference;
  out["kv_cache"] = estimate.kv_cache;
  out["head"] = estimate.head;
  out["activations"] = estimate.activations;
  for (const memory::PhaseEstimate& phase : estimate.phases) {
    out["phases"][phase.name] = {{"peak", process + phase.peak}, {"parts", phase.parts}};
  }
  out["peak"] = process + estimate.peak();
  return out;
}

}  // namespace

nlohmann::ordered_json MemoryPlan::json() const {
  nlohmann::ordered_json out{{"family", family},
                             {"model", model},
                             {"dtype", dtype},
                             {"parameters", parameters},
                             {"prompts", prompts},
                             {"pass_prompts", pass_prompts},
                             {"prompt_tokens", prompt_tokens},
                             {"num_generations", num_generations},
                             {"completion_length", completion_length},
                             {"process", process},
                             {"is_upper_bound", is_upper_bound}};
  for (const PlannedCell& cell : cells) {
    nlohmann::ordered_json row{{"strategy", cell.strategy}, {"policy", cell.policy}};
    if (cell.estimate) {
      row.update(estimate_json(*cell.estimate, process));
    } else {
      row["refusal"] = cell.refusal;
    }
    if (cell.largest_pass) row["largest_pass"] = *cell.largest_pass;
    out["cells"].push_back(std::move(row));
  }
  return out;
}

std::string MemoryPlan::text(const PlanOptions& options) const {
  std::string out =
      cat(family, " in ", model, ": ", parameters, " parameters, ", dtype, "\n", prompts,
          " prompts of up to ", prompt_tokens, " tokens with ", num_generations, " completions of ",
          completion_length, " tokens each; up to ", pass_prompts, " prompts in a pass\n");
  if (is_upper_bound) out += "mixed precision is counted as float32: an upper bound\n";
  out += '\n' + cell_text(cells.front(), process) + '\n';
  if (cells.size() > 1) return out + table(*this, options);
  if (!options.memory) return out;
  const std::int64_t most = cells.front().largest_pass.value_or(0);
  return out + cat(fits(options) ? "fits into " : "does not fit into ",
                   support::human_bytes(static_cast<std::uint64_t>(*options.memory)),
                   most > 0
                       ? cat("; the largest pass that fits has ", most, " prompts (train.micro_prompts), ",
                             most * num_generations, " completions\n")
                       : "; not even a pass of one prompt does\n");
}

bool MemoryPlan::fits(const PlanOptions& options) const {
  return !options.memory || process + cells.front().estimate->peak() <= *options.memory;
}

}  // namespace graft::train
