// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <graft/model_family.h>

#include <span>
#include <vector>

#include "model/model.h"

namespace graft::model {

// Prepared images as a family takes them; the images must outlive it.
class PixelsList {
 public:
  explicit PixelsList(std::span<const PreparedImage* const> images);
  PixelsList(const PixelsList&) = delete;
  PixelsList& operator=(const PixelsList&) = delete;

  [[nodiscard]] const graft_pixels* const* data() const { return pointers_.data(); }
  [[nodiscard]] std::uint32_t size() const { return static_cast<std::uint32_t>(pointers_.size()); }
  [[nodiscard]] std::int64_t tokens() const { return tokens_; }  // of all images

 private:
  std::vector<graft_pixels> pixels_;
  std::vector<const graft_pixels*> pointers_;
  std::int64_t tokens_ = 0;
};

}  // namespace graft::model
