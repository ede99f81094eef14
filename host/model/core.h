// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "model/directory.h"
#include "model/family.h"
#include "model/model.h"

namespace graft::model {

// What a Model consists of. Passes and the graphs they leave behind keep it alive.
struct ModelCore {
  ModelDirectory directory;
  text::Tokenizer tokenizer;
  std::shared_ptr<const Family> family;
  Declarations declared;                   // the parameters hold their tensors here
  std::vector<std::string> file_names;     // of the parameters in the weights' file; empty for tied ones
  at::ScalarType dtype = at::kFloat;       // of the parameters
  std::optional<at::ScalarType> autocast;  // of the matrix products; none: that of their operands
  std::vector<std::int64_t> stop_ids;
  std::int64_t eos_id = -1;
  std::int64_t pad_id = 0;
  std::shared_ptr<LinearHook> linear_hook;
  std::shared_ptr<SegmentHook> segment_hook;
};

}  // namespace graft::model
