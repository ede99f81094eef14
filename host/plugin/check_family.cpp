// SPDX-License-Identifier: Apache-2.0
#include <graft/model_family.h>

#include <string>
#include <vector>

#include "plugin/check_context.h"
#include "plugin/host_services.h"
#include "support/strings.h"

namespace graft::plugin {
namespace {

using support::cat;

// Whatever an unknown or broken config.json holds, the answer is no.
std::string check_probe(const CheckContext& context) {
  const auto& table = context.component.interface<graft_model_family>(GRAFT_INTERFACE_MODEL_FAMILY);
  std::vector<std::string> texts = hostile_texts(context.random("config.json"));
  texts.insert(texts.end(), {"{}", "[]", "null", R"({"model_type": 7})", R"({"model_type": "no_such_model"})",
                             R"({"architectures": [null], "model_type": null})"});
  for (const std::string& text : texts) {
    const std::int32_t answer = table.probe(view(text));
    if (answer != 0) return cat("probe(`", text.substr(0, 80), "`) is ", answer, ", expected 0");
  }
  return {};
}

// A directory whose files are broken is refused with a message.
std::string check_open(CheckContext& context) {
  const auto& table = context.component.interface<graft_model_family>(GRAFT_INTERFACE_MODEL_FAMILY);
  for (const std::string_view config : {"", "{", "{}", "[]", R"({"model_type": "no_such_model"})"}) {
    const std::shared_ptr<Instance> family = default_instance(context);
    if (family == nullptr) return {};
    graft_family_files files{};
    files.hdr = GRAFT_HDR(graft_family_files);
    constexpr std::string_view kDirectory = "a model directory";
    files.directory = view(kDirectory);
    files.config_json = view(config);
    files.token_id = [](void*, graft_str) -> std::int64_t { return -1; };
    std::array<char, 512> text{};
    graft_error error{text.data(), static_cast<std::uint32_t>(text.size()), 0};
    const graft_status status = table.open(family->raw(), &files, &error);
    if (status == GRAFT_OK)
      return cat("open() with the config.json `", config, "` succeeded, expected a refusal");
    if (text[0] == '\0') return cat("open() with the config.json `", config, "` failed without a message");
  }
  return {};
}

}  // namespace

void check_model_family(CheckContext& context) {
  context.check("probe", [&] { return check_probe(context); });
  context.check("open", [&] { return check_open(context); });
}

}  // namespace graft::plugin
