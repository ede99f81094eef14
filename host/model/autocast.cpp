// SPDX-License-Identifier: Apache-2.0
#include "model/autocast.h"

#include <ATen/autocast_mode.h>

namespace graft::model {

namespace {

// Autocast knows no tensors without values; they stand for those of the CPU.
c10::DeviceType known(c10::DeviceType device) {
  return device == c10::kMeta ? c10::kCPU : device;
}

void set(c10::DeviceType device, bool is_enabled, c10::ScalarType dtype, bool has_cache) {
  at::autocast::set_autocast_enabled(device, is_enabled);
  at::autocast::set_autocast_dtype(device, dtype);
  at::autocast::set_autocast_cache_enabled(has_cache);
}

}  // namespace

AutocastScope::AutocastScope(c10::DeviceType device, std::optional<c10::ScalarType> dtype)
    : device_(known(device)),
      was_enabled_(at::autocast::is_autocast_enabled(device_)),
      had_cache_(at::autocast::is_autocast_cache_enabled()),
      former_dtype_(at::autocast::get_autocast_dtype(device_)) {
  set(device_, dtype.has_value(), dtype.value_or(former_dtype_), /*has_cache=*/false);
}

AutocastScope::~AutocastScope() {
  set(device_, was_enabled_, former_dtype_, had_cache_);
}

std::optional<c10::ScalarType> autocast_dtype(c10::DeviceType device) {
  if (!at::autocast::is_autocast_enabled(known(device))) return std::nullopt;
  return at::autocast::get_autocast_dtype(known(device));
}

}  // namespace graft::model
