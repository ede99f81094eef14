#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# tests/adapt/README.md is true: each test of graft that it names exists, and each test of PEFT that has one is named in its file.
set -euo pipefail
cd "$1"
table=tests/adapt/README.md
failures=0
complain() {
  echo "$table: $*" >&2
  failures=$((failures + 1))
}

# The file that holds a test of ours.
file_of() {
  local name=$1 suite=${1%%.*} test=${1#*.}
  case $name in
    embed.*) [ -f "tests/embed/$test.py" ] && grep -q "$test" tests/embed/CMakeLists.txt && echo "tests/embed/$test.py" ;;
    "peft_methods: "*) grep -q "Method(\"${name#peft_methods: }\"" tests/embed/peft_methods.py && echo tests/embed/peft_methods.py ;;
    ConversionTest.test_*_conversion_*) # made by a macro
      local start=${test%%_conversion_*} rest=${test#*_conversion_}
      grep -lq "GRAFT_CONVERSION(.*, $start)" tests/adapt/lora_counterparts_test.cpp &&
        grep -l "ConversionTest, name##_conversion_$rest)" tests/adapt/lora_counterparts_test.cpp ;;
    *) grep -lE "^TEST(_F|_P)?\($suite, $test\)" tests/*/*.cpp ;;
  esac
}

rows=0
while IFS='|' read -r _ theirs ours _; do
  [[ $theirs == *'`'* ]] || continue
  rows=$((rows + 1))
  mapfile -t named < <(grep -oE '`[^`]+`' <<< "$ours" | tr -d '`' | grep -E '^(embed\.|peft_methods: |[A-Z][A-Za-z]+\.[A-Za-z])' || true)
  if [[ $ours == ' none: '* ]]; then
    [ ${#ours} -gt 30 ] || complain "no reason for$theirs"
    continue
  fi
  [ ${#named[@]} -gt 0 ] || complain "no test for$theirs"
  files=()
  for name in "${named[@]}"; do
    file=$(file_of "$name") || { complain "there is no test $name"; continue; }
    files+=("$file")
  done
  [ ${#files[@]} -gt 0 ] || continue
  while read -r test; do
    case $test in   # made by a macro, which has the rest of the name
      test_lora_pissa_conversion_* | test_olora_conversion_*) continue ;;
      test_pissa_*_raises | test_olora_*_raises) test=_pattern_and_rslora_raises ;;
    esac
    grep -qE "${test#_}" "${files[@]}" || complain "$test is not named in ${files[*]}"
  done < <(grep -oE '`[^`]+`' <<< "$theirs" | tr -d '`')
done < "$table"
[ $rows -ge 70 ] || complain "only $rows rows were read"
[ $failures -eq 0 ] || exit 1
echo "$rows rows"
