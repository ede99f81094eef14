#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Compiles every C header of plugin_api alone, as each language version a plugin may be written in, with padding an error
# and with compiler options that a plugin's author may have chosen.
#   bash headers.sh <include folder> <folder of layout.c>
set -euo pipefail
include=$1 here=$2

strict='-fsyntax-only -pedantic -Wall -Wextra -Wpadded -Werror'
checked=0
offences=0
compile() {
  if ! "$@"; then
    echo "failed: $*"
    offences=$((offences + 1))
  fi
  checked=$((checked + 1))
}

for compiler in gcc clang; do
  command -v $compiler > /dev/null || { echo "$compiler is not installed, left out"; continue; }
  for header in "$include"/graft/*.h; do
    for std in c99 c11 c17; do
      compile $compiler -x c -std=$std $strict -I "$include" "$header"
    done
    for std in c++11 c++14 c++17 c++20; do
      compile $compiler -x c++ -std=$std $strict -I "$include" "$header"
    done
  done
  for options in '' -fshort-enums -fpack-struct=8 -m32; do
    # -m32 needs headers that a 64-bit system often lacks.
    if [ "$options" = -m32 ] && ! echo '#include <stdint.h>' | $compiler -m32 -fsyntax-only -x c - 2> /dev/null; then
      continue
    fi
    compile $compiler -x c -std=c11 -fsyntax-only -pedantic -Wall -Wextra -Werror $options -I "$include" "$here/layout.c"
  done
done

# Nothing but fixed-width types: the words that bring in anything else, comments aside.
for header in "$include"/graft/*.h; do
  if gcc -fpreprocessed -dD -E -P -x c "$header" 2> /dev/null |
    grep -nE '\b(enum|bool|_Bool|size_t|ptrdiff_t|long|wchar_t|FILE|va_list)\b'; then
    echo "$header: a type of varying size, above"
    offences=$((offences + 1))
  fi
done
# Nothing but the standard's two headers and graft's own.
if grep -nE '#include' "$include"/graft/*.h | grep -vE '<(stddef|stdint)\.h>|<graft/[a-z_]+\.h>'; then
  echo "a header that a C plugin may not have, above"
  offences=$((offences + 1))
fi
echo "$checked compilations, $offences offences"
[ $checked -gt 0 ] && [ $offences = 0 ]
