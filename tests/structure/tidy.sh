#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# bash tests/structure/tidy.sh <clang-tidy> <build folder> <path expression>…: clang-tidy over the files of the compile
# database whose path from the root matches one of the expressions.
set -euo pipefail
cd "$(dirname "$0")/../.."

tidy=$1 build=$2
shift 2
expression=$(IFS='|'; echo "$*")
sed -n 's/^ *"file": "\(.*\)",\{0,1\}$/\1/p' "$build/compile_commands.json" | sed "s|^$PWD/||" |
  grep -E "^($expression)" | sort -u |
  xargs -r -P "$(nproc)" -n 1 "$tidy" -p "$build" --quiet --extra-arg=-Wno-unknown-warning-option
