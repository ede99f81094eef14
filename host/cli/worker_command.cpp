// SPDX-License-Identifier: Apache-2.0
// reward-worker: scores with one reward plugin for another graft process (rewards/wire.h), over file descriptor 3.
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "cli/commands.h"
#include "plugin/registry.h"
#include "rewards/scorer.h"
#include "rewards/wire.h"
#include "support/child_process.h"
#include "support/error.h"
#include "train/session.h"

namespace graft::cli {

namespace {

using nlohmann::json;

constexpr int kHost = 3;

bool write_line(const json& message) {
  const std::string text = message.dump(-1, ' ', false, json::error_handler_t::replace) + '\n';
  for (std::size_t written = 0; written < text.size();) {
    const ssize_t n = write(kHost, text.data() + written, text.size() - written);
    if (n < 0 && errno != EINTR) return false;
    if (n > 0) written += static_cast<std::size_t>(n);
  }
  return true;
}

// The next line of the host; nothing at the end.
std::optional<std::string> read_line(support::LineBuffer& buffer) {
  while (true) {
    if (std::optional<std::string> line = buffer.next()) return line;
    char block[65536];
    const ssize_t n = read(kHost, block, sizeof(block));
    if (n == 0 || (n < 0 && errno != EINTR)) return std::nullopt;
    if (n > 0) buffer.append({block, static_cast<std::size_t>(n)});
  }
}

// Item by item unless the reward looks at the whole batch, so that the host knows which one it was at.
void answer(rewards::Scorer& scorer, const json& request) {
  const rewards::ReceivedItems received(request);
  const auto items = received.items();
  const auto step = request.at("step").get<std::uint64_t>();
  const bool observe = request.at("observe").get<bool>();
  const std::size_t n_scores = scorer.description().score_names.size();
  const std::size_t stride = scorer.description().is_batch_dependent ? items.size() : 1;
  for (std::size_t begin = 0; begin < items.size(); begin += stride) {
    const rewards::RawScores raw = scorer.score(items.subspan(begin, stride), step, observe);
    for (std::size_t i = 0; i < stride; ++i) {
      if (!write_line(rewards::reply_json(raw, i, n_scores))) return;
    }
  }
}

void run_worker() {
  support::LineBuffer buffer;
  std::optional<std::string> line = read_line(buffer);
  if (!line) throw support::UserError("graft reward-worker is started by graft itself");
  std::unique_ptr<plugin::Registry> registry;
  std::unique_ptr<rewards::Scorer> scorer;
  try {
    const json hello = json::parse(*line);
    registry = train::open_registry({hello.at("library").get<std::string>()});
    rewards::RewardSpec spec;
    spec.name = hello.at("name").get<std::string>();
    spec.params = hello.at("params");
    scorer = rewards::open_plugin_reward(*registry, spec, "params");
  } catch (const std::exception& error) {
    write_line({{"error", error.what()}});
    return;
  }
  write_line(rewards::description_json(scorer->description(), scorer->params()));
  while ((line = read_line(buffer))) answer(*scorer, json::parse(*line));
}

}  // namespace

void add_worker_command(CLI::App& app) {
  app.add_subcommand("reward-worker", "")->group("")->callback(run_worker);
}

}  // namespace graft::cli
