// SPDX-License-Identifier: Apache-2.0
#include "plugin/interfaces.h"

#include <graft/checkpoint_policy.h>
#include <graft/model_family.h>
#include <graft/peft.h>
#include <graft/plugin.h>
#include <graft/reward.h>

#include <algorithm>
#include <cstring>

namespace graft::plugin {
namespace {

// `last` is the last member that ABI 1.0 had: it stays when members are appended.
#define GRAFT_LEAST_SIZE(type, last) (offsetof(type, last) + sizeof(((const type*)nullptr)->last))
#define GRAFT_SLOT(type, member)    \
  Slot {                            \
#member, offsetof(type, member) \
  }

// NOLINTBEGIN(google-readability-casting): offsetof-style arithmetic on a null pointer that is never read
Interface model_family() {
  using T = graft_model_family;
  return {GRAFT_KIND_MODEL_FAMILY,
          GRAFT_INTERFACE_MODEL_FAMILY,
          sizeof(T),
          GRAFT_LEAST_SIZE(T, decode),
          {GRAFT_SLOT(T, probe), GRAFT_SLOT(T, open), GRAFT_SLOT(T, describe), GRAFT_SLOT(T, render),
           GRAFT_SLOT(T, preprocess), GRAFT_SLOT(T, expand), GRAFT_SLOT(T, positions),
           GRAFT_SLOT(T, encode_images), GRAFT_SLOT(T, decode)},
          nullptr};
}

std::string peft_rule(const void* table) {
  const auto* peft = static_cast<const graft_peft*>(table);
  if (peft->plan_site == nullptr && peft->plan_base == nullptr) {
    return "plan_site and plan_base are both null, so it would train nothing; expected one of them";
  }
  if (peft->plan_site != nullptr && peft->linear == nullptr) {
    return "linear is null, expected a function since plan_site adds parameters to sites";
  }
  if (peft->calibrate != nullptr && (peft->observe == nullptr || peft->allot == nullptr)) {
    return "observe or allot is null, expected functions since calibrate asks for what they take";
  }
  return {};
}

Interface peft() {
  using T = graft_peft;
  return {GRAFT_KIND_PEFT, GRAFT_INTERFACE_PEFT, sizeof(T), GRAFT_LEAST_SIZE(T, import_config), {},
          &peft_rule};
}

Interface checkpoint_policy() {
  using T = graft_checkpoint_policy;
  return {GRAFT_KIND_CHECKPOINT_POLICY,
          GRAFT_INTERFACE_CHECKPOINT_POLICY,
          sizeof(T),
          GRAFT_LEAST_SIZE(T, plan),
          {GRAFT_SLOT(T, plan)},
          nullptr};
}

Interface reward() {
  using T = graft_reward;
  return {GRAFT_KIND_REWARD,
          GRAFT_INTERFACE_REWARD,
          sizeof(T),
          GRAFT_LEAST_SIZE(T, score),
          {GRAFT_SLOT(T, describe), GRAFT_SLOT(T, score)},
          nullptr};
}
// NOLINTEND(google-readability-casting)

#undef GRAFT_SLOT
#undef GRAFT_LEAST_SIZE

}  // namespace

const std::vector<Interface>& interfaces() {
  static const auto* const all =
      new std::vector<Interface>{model_family(), peft(), checkpoint_policy(), reward()};
  return *all;
}

const Interface* interface_of(std::string_view kind) {
  const std::vector<Interface>& all = interfaces();
  const auto found = std::ranges::find(all, kind, &Interface::kind);
  return found == all.end() ? nullptr : &*found;
}

bool slot_is_null(const void* table, std::size_t offset) {
  const void* slot = nullptr;
  std::memcpy(&slot, static_cast<const std::byte*>(table) + offset, sizeof(slot));
  return slot == nullptr;
}

}  // namespace graft::plugin
