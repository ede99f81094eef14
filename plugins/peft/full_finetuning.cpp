// SPDX-License-Identifier: Apache-2.0
// Full fine-tuning: trains the base parameters that the user's selection covers and adds none. The host saves
// the whole model.
#include <graft/sdk/peft.hpp>

namespace {

struct Full : graft::Peft {
  static constexpr auto name = "full";
  static constexpr auto summary = "full fine-tuning: trains the selected base parameters themselves";

  bool trains(const graft::BaseParam& param) override { return param.is_selected(); }
};

}  // namespace

GRAFT_PLUGIN(Full);
