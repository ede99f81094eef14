// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace graft::memory {

// Registers shape-only kernels (LibTorch's "meta" device) for the operators that a training step needs and that LibTorch brings such
// kernels for in Python alone. Once a process; where one is there already (an embedding Python), it stays.
void register_meta_kernels();

}  // namespace graft::memory
