// SPDX-License-Identifier: Apache-2.0
#include "text/stream_decoder.h"

#include "text/tokenizer.h"
#include "text/utf8.h"

namespace graft::text {

std::string StreamDecoder::push(std::int64_t id) {
  if (skip_special_ && tokenizer_->is_special(id)) return {};
  held_.append(tokenizer_->token_bytes(id));
  return take_certain(held_);
}

std::string StreamDecoder::finish() {
  std::string rest = to_well_formed(held_);
  held_.clear();
  return rest;
}

}  // namespace graft::text
