// SPDX-License-Identifier: Apache-2.0
#include "model/tensor_services.h"

#include <mutex>

#include "plugin/host_services.h"

namespace graft::model {

void register_tensor_services() {
  static std::once_flag once;
  std::call_once(once, [] {
    plugin::register_service(GRAFT_SERVICE_OPS, ops_service());
    plugin::register_service(GRAFT_SERVICE_AUTOGRAD, autograd_service());
    plugin::register_service(GRAFT_SERVICE_TENSOR_DATA, tensor_data_service());
  });
}

}  // namespace graft::model
