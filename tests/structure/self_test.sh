#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Each check of check.sh passes on a small good tree and fails on the same tree with one offence in it.
set -euo pipefail

check=$(cd "$(dirname "$0")" && pwd)/check.sh
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
failures=0

good_tree() {
  rm -rf "${tree:?}"/*
  mkdir -p "$tree"/host/{support,text,model} "$tree"/plugin_api/include/graft "$tree"/plugins/rewards "$tree"/tests
  local licence='// SPDX-License-Identifier: Apache-2.0'
  printf '%s\n#include <string>\n' "$licence" > "$tree/host/support/log.h"
  printf '%s\n#include "support/log.h"\n#include <spdlog/spdlog.h>\n' "$licence" > "$tree/host/support/log.cpp"
  printf '%s\n#include "support/log.h"\n' "$licence" > "$tree/host/text/bpe.h"
  printf '%s\n#include "text/bpe.h"\n#include <ATen/ops/cat.h>\n' "$licence" > "$tree/host/model/model.cpp"
  printf '%s\n#include <graft/abi.h>\n' "$licence" > "$tree/plugins/rewards/iou.c"
}

expect() {   # check, file, line that offends
  good_tree
  if ! bash "$check" "$tree" "$1" > /dev/null; then
    echo "$1: refuses a good tree"
    failures=$((failures + 1))
  fi
  echo "$3" >> "$tree/$2"
  if bash "$check" "$tree" "$1" > /dev/null; then
    echo "$1: accepts $2 with: $3"
    failures=$((failures + 1))
  fi
}

expect folder_order host/text/bpe.h '#include "model/model.h"'
expect folder_order host/text/bpe.h '#include "bpe_tables.h"'
expect folder_order host/text/bpe.h '#include "elsewhere/x.h"'
expect torch_door host/text/bpe.h '#include <ATen/core/Tensor.h>'
expect torch_door plugins/rewards/iou.c '#include <c10/core/ScalarType.h>'
expect torch_door host/model/model.cpp '#include <torch/torch.h>'
expect plugin_world plugins/rewards/iou.c '#include "support/log.h"'
expect plugin_world plugins/rewards/iou.c '#include "../../host/support/log.h"'
expect log_door host/model/model.cpp '  #  include <fmt/format.h>'
expect top_level notes.txt 'x'
expect spdx host/text/new.h '#pragma once'

[ $failures = 0 ]
