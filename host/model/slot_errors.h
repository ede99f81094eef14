// SPDX-License-Identifier: Apache-2.0
// Exceptions end at the ABI: what the slots that the host offers to plugins do with them.
#pragma once

#include <graft/abi.h>

#include <string_view>

namespace graft::model {

// For the catch-all of a slot: writes the text of the exception in flight (LibTorch's without its backtrace)
// into `error` after "<who>: ", and returns the status that goes with its type. Must be called within a catch
// block.
graft_status report_exception(graft_error* error, std::string_view who) noexcept;

}  // namespace graft::model
