// SPDX-License-Identifier: Apache-2.0
// What tokenizer.json says, checked: a description from which Tokenizer builds its parts.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "text/added_tokens.h"
#include "text/bpe.h"
#include "text/split_regex.h"

namespace graft::text {

struct TokenizerDescription {
  Bpe model;
  std::vector<AddedToken> added_tokens = {};  // contents and ids are distinct
  bool nfc = false;
  std::vector<SplitRegex> splits = {};  // applied one after the other, each on the pieces of the one before
  bool add_prefix_space =
      false;  // a space before each piece that does not begin with one, ahead of the last split
  bool byte_level_split = false;                      // the last of `splits` is ByteLevel's own
  std::vector<std::int64_t> before = {}, after = {};  // ids that the post-processor puts around a text
};

// Throws support::UserError naming file and key for anything malformed, or that would change ids or texts and
// is not supported.
TokenizerDescription read_tokenizer_json(const std::filesystem::path& file);

}  // namespace graft::text
