#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# bash tests/structure/format.sh <clang-format> [--fix]: every C and C++ source has the format of .clang-format.
# Version 14 decides: others differ in details.
set -euo pipefail
cd "$(dirname "$0")/../.."

mode=(--dry-run -Werror)
if [ "${2:-}" = --fix ]; then mode=(-i); fi
find host plugin_api plugins tests -type f \( -name '*.h' -o -name '*.hpp' -o -name '*.c' -o -name '*.cpp' -o -name '*.cu' \) -print0 |
  xargs -0 -r "$1" "${mode[@]}" --style=file
