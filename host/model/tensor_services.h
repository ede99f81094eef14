// SPDX-License-Identifier: Apache-2.0
// The services through which plugins compute on tensors: graft.ops/1, graft.autograd/1 and
// graft.tensor_data/1. Contracts are in <graft/tensor.h>. The tables live as long as the process; their slots
// run on any thread.
#pragma once

#include <graft/tensor.h>

namespace graft::model {

// Operators of ATen by name, through the dispatcher.
[[nodiscard]] const graft_ops* ops_service();
// Backward functions of the plugins' own.
[[nodiscard]] const graft_autograd* autograd_service();
// Reading and making tensors.
[[nodiscard]] const graft_tensor_data* tensor_data_service();

// Offers the three to plugins (plugin::register_service). Harmless when called again.
void register_tensor_services();

}  // namespace graft::model
