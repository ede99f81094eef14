// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "model/tensor_services.h"
#include "plugin/host_services.h"
#include "plugin/registry.h"

namespace graft::test {

// A registry with the tensor services and the plugins of one file; lives as long as the process, as plugins do.
inline plugin::Registry* new_registry(const char* file) {
  model::register_tensor_services();
  auto* made = new plugin::Registry(plugin::host_table());
  made->load(file);
  return made;
}

}  // namespace graft::test
