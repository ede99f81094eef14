// SPDX-License-Identifier: Apache-2.0
#include "plugin/check_context.h"

#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <new>
#include <nlohmann/json.hpp>

#include "config/schema.h"
#include "plugin/host_services.h"
#include "support/error.h"
#include "support/strings.h"

namespace graft::plugin {

using support::cat;

// ---- Journal ---------------------------------------------------------------------------------------------------------

// Lines of JSON: [level, component, check, detail].
struct Journal::Shared {
  std::array<char, 256> component;
  std::array<char, 256> step;
  std::size_t used;
  std::array<char, 1 << 20> lines;
};

namespace {

template <std::size_t N>
void copy_text(std::array<char, N>& to, const std::string& text) {
  const std::size_t n = std::min(text.size(), N - 1);
  std::memcpy(to.data(), text.data(), n);
  to[n] = '\0';
}

}  // namespace

Journal::Journal() {
  void* memory = ::mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  shared_ = static_cast<Shared*>(memory);  // zero-filled
}

Journal::~Journal() {
  ::munmap(shared_, sizeof(Shared));
}

void Journal::begin(const std::string& component, const std::string& step) {
  copy_text(shared_->component, component);
  copy_text(shared_->step, step);
}

void Journal::add(const CheckFinding& finding) {
  const nlohmann::json entry = {static_cast<int>(finding.level), finding.component, finding.check,
                                finding.detail.substr(0, 4000)};
  const std::string line = entry.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
  if (line.size() > shared_->lines.size() - shared_->used) return;
  std::memcpy(shared_->lines.data() + shared_->used, line.data(), line.size());
  shared_->used += line.size();
}

std::vector<CheckFinding> Journal::findings() const {
  std::vector<CheckFinding> all;
  const std::string text(shared_->lines.data(), std::min(shared_->used, shared_->lines.size()));
  for (const std::string& line : support::split(text, '\n')) {
    // A plugin that wrote over the child's memory may have damaged it.
    const nlohmann::json entry = nlohmann::json::parse(line, nullptr, false);
    if (!entry.is_array() || entry.size() != 4 || !entry[0].is_number_integer()) continue;
    all.push_back({static_cast<CheckFinding::Level>(entry[0].get<int>()), entry[1], entry[2], entry[3]});
  }
  return all;
}

CheckFinding Journal::under_way() const {
  const auto text = [](const auto& chars) {
    return std::string(chars.data(), strnlen(chars.data(), chars.size()));
  };
  return {CheckFinding::Level::kFail, text(shared_->component), text(shared_->step), {}};
}

// ---- CheckContext ----------------------------------------------------------------------------------------------------

CheckContext::CheckContext(const Component& tested, const graft_host* the_host,
                           const CheckOptions& the_options, Journal& journal)
    : component(tested), host(the_host), options(the_options), journal_(journal) {}

void CheckContext::finish(const std::string& name, CheckFinding::Level level_if_any,
                          const std::string& detail) {
  journal_.add({detail.empty() ? CheckFinding::Level::kPass : level_if_any, component.label(), name, detail});
}

support::KeyedRandom CheckContext::random(std::string_view purpose) const {
  return {options.seed, {support::hash_string(component.label()), support::hash_string(purpose)}};
}

// ---- create ----------------------------------------------------------------------------------------------------------

Creation try_create(const CheckContext& context, std::string_view params_json) {
  constexpr char kWatch = '\x5a';
  constexpr std::size_t kMargin = 16;
  constexpr std::uint32_t kCapacity = 200;
  std::array<char, kMargin + kCapacity + kMargin> buffer;
  buffer.fill(kWatch);
  graft_error error{buffer.data() + kMargin, kCapacity, 0};

  Creation made;
  // A copy that ends where the text ends, so that a sanitizer sees a read past it.
  const std::vector<char> text(params_json.begin(), params_json.end());
  made.status = context.component.table->create(context.component.self, context.host,
                                                {text.data(), text.size()}, &made.raw, &error);

  const bool is_watch_intact =
      std::all_of(buffer.begin(), buffer.begin() + kMargin, [](char c) { return c == kWatch; }) &&
      std::all_of(buffer.end() - kMargin, buffer.end(), [](char c) { return c == kWatch; });
  if (!is_watch_intact || error.length >= kCapacity) {
    made.problem = "wrote an error message past the buffer's capacity";
    return made;
  }
  if (made.status == GRAFT_OK) {
    if (made.raw == nullptr) made.problem = "returned success but made no instance";
    return made;
  }
  made.message.assign(error.text, error.length);
  if (made.status > 0) {
    made.problem = cat("returned the status ", made.status, ", expected 0 or a negative one");
  } else if (made.raw != nullptr) {
    made.problem = "failed but wrote an instance; outputs must stay untouched on failure";
  } else if (made.message.empty() || buffer[kMargin + error.length] != '\0') {
    made.problem = "failed without a terminated message that says why";
  } else if (!support::is_utf8(made.message)) {
    made.problem = "failed with a message that is not UTF-8";
  }
  return made;
}

nlohmann::json default_params(const Component& component) {
  const std::string_view schema = view(component.table->params_schema);
  return config::resolve_params(schema.empty() ? nlohmann::json::object() : nlohmann::json::parse(schema),
                                nlohmann::json::object(), component.label());
}

std::shared_ptr<Instance> default_instance(CheckContext& context) {
  const Creation made = try_create(context, default_params(context.component).dump());
  if (made.status == GRAFT_OK && made.raw != nullptr)
    return std::make_shared<Instance>(context.component, made.raw);
  context.warn("defaults",
               cat("refuses its default parameters (", made.message, "), so nothing more is checked"));
  return nullptr;
}

// ---- texts -----------------------------------------------------------------------------------------------------------

std::vector<std::string> hostile_texts(support::KeyedRandom random) {
  using namespace std::string_literals;
  std::vector<std::string> texts = {
      "",
      " ",
      "\0"s,
      "\xff\xfe\x80",
      "\xe2\x82",
      "{",
      "[1, 2, 3",
      "[1e999, -1e999, NaN, Infinity]",
      "[99999999999999999999, -9223372036854775808, 0, 0]",
      "{\"bbox_2d\": [0, 0, 10, 10], \"bbox_2d\": null}",
      "<think></think><answer></answer>",
      "<think>a</think><answer>[1, 2, 3, 4]</answer>",
      "<think>a</think>\n<answer>{\"bbox_2d\": [10, 20, 5, 6]}</answer>",
      "<answer><answer>[1,2,3,4]</answer></answer>",
      "</answer>[1,2,3,4]<answer>",
      "<answer>[1,2,3,4]",
      "<answer>\xf0\x9f\x90\x88 [١, ٢, ٣, ٤]</answer>",
      std::string(20'000, '<'),
      std::string(20'000, '['),
      "<think>"s + std::string(20'000, ' ') + "</think>",
      "<answer>"s + std::string(20'000, '9') + "</answer>",
  };
  std::string tags;
  for (int i = 0; i < 2000; ++i) tags += i % 2 == 0 ? "<think>" : "</think>";
  texts.push_back(tags);
  constexpr std::array kPieces = {"<think>",       "</think>", "<answer>", "</answer>", "[", "]",  "{", "}",
                                  "\"bbox_2d\": ", "12",       "-3.5",     ", ",        " ", "\n", "a", "é",
                                  "\\u0041",       "\""};
  for (int i = 0; i < 30; ++i) {
    std::string text;
    for (std::int64_t n = random.between(1, 40); n > 0; --n) text += kPieces[random.below(kPieces.size())];
    texts.push_back(std::move(text));
  }
  return texts;
}

}  // namespace graft::plugin
