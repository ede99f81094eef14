// SPDX-License-Identifier: Apache-2.0
// What LibTorch allocates for tensors on the CPU, as its profiler is told.
#pragma once

#include <c10/core/Allocator.h>
#include <c10/util/ThreadLocalDebugInfo.h>

#include <algorithm>
#include <cstdint>
#include <memory>

namespace graft::tests {

// While it lives: bytes of tensors allocated on this thread (and by backward passes that it starts), less those released.
class AllocationPeak {
 public:
  AllocationPeak()
      : counter_(std::make_shared<Counter>()), guard_(c10::DebugInfoKind::PROFILER_STATE, counter_) {}
  [[nodiscard]] std::int64_t current() const { return counter_->current; }
  [[nodiscard]] std::int64_t peak() const { return counter_->peak; }

 private:
  struct Counter : c10::MemoryReportingInfoBase {
    void reportMemoryUsage(void*, std::int64_t bytes, std::size_t, std::size_t, c10::Device) override {
      current += bytes;
      peak = std::max(peak, current);
    }
    bool memoryProfilingEnabled() const override { return true; }
    std::int64_t current = 0, peak = 0;
  };
  std::shared_ptr<Counter> counter_;
  c10::DebugInfoGuard guard_;
};

}  // namespace graft::tests
