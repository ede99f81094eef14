#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Sets up, builds and runs every test; a second run reuses what is there. Last line: "N passed, N failed".

usage() {
  cat << 'TEXT'
usage: bash tests/run.sh [--no-python] [--no-asan] [--full]
  --no-python  leave out the tests against live transformers, PEFT and TRL (a 3 GB virtual environment in build/venv)
  --no-asan    leave out the second build with AddressSanitizer and UBSan (core, plugins, ABI)
  --full       clang-tidy over every source, and tests labelled `slow`
TEXT
}

source "$(dirname "${BASH_SOURCE[0]}")/../host/cmake/setup.sh"
cd "$graft_root"

python=yes asan=yes full=no
for argument in "$@"; do
  case $argument in
    --no-python) python=no ;;
    --no-asan) asan=no ;;
    --full) full=yes ;;
    -h | --help) usage; exit 0 ;;
    *) echo "unknown option $argument" >&2; usage >&2; exit 2 ;;
  esac
done

passed=0 failed=0 skipped=0
finish() {   # also when set-up or a compilation failed, which counts as one failure
  local status=$?
  if [ $status != 0 ] && [ $failed = 0 ]; then failed=1; fi
  if [ $skipped -gt 0 ]; then echo "$skipped skipped"; fi
  echo "$passed passed, $failed failed"
  if [ $failed -gt 0 ] && [ $status = 0 ]; then exit 1; fi
}
trap finish EXIT
export HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false

# The Python that tests/embed compares with. A stamp holds the list it was made from, written after the last install.
setup_python() {
  local list=tests/embed/requirements.txt
  if cmp -s $list build/venv/graft-requirements.txt; then
    say "Python environment: build/venv is there"
    return
  fi
  say "Python environment: creating build/venv (torch, transformers, peft, trl; about 3 GB)"
  python3 -m venv build/venv
  build/venv/bin/python -m pip install --quiet --disable-pip-version-check --requirement $list
  cp $list build/venv/graft-requirements.txt
}

# run_tests <preset> <ctest arguments>…: adds to the counts.
run_tests() {
  local preset=$1 report=$graft_root/build/$1/ctest.xml status=0 all bad left
  shift
  rm -f "$report"
  ctest --preset "$preset" -j "$(nproc)" --output-junit "$report" "$@" || status=$?
  if [ ! -f "$report" ]; then
    failed=$((failed + 1))
    return
  fi
  all=$(sed -n 's/^.*[ \t]tests="\([0-9]*\)".*$/\1/p' "$report" | head -1)
  bad=$(sed -n 's/^.*[ \t]failures="\([0-9]*\)".*$/\1/p' "$report" | head -1)
  left=$(sed -n 's/^.*[ \t]skipped="\([0-9]*\)".*$/\1/p' "$report" | head -1)
  if [ $status != 0 ] && [ "$bad" = 0 ]; then bad=1 all=$((all + 1)); fi   # no tests, or one that could not start
  passed=$((passed + all - bad - left))
  failed=$((failed + bad))
  skipped=$((skipped + left))
}

setup_packages test
oracle=
if [ $python = yes ]; then
  setup_python
  oracle=$graft_root/build/venv/bin/python
else
  say "Python environment: left out (--no-python), so the tests labelled embed are left out"
fi

exclude=() slow=
if [ $full = no ]; then exclude=(-LE slow) slow='slow|'; fi

setup_build dev -DGRAFT_ORACLE_PYTHON="$oracle" -DGRAFT_TIDY_ALL=$([ $full = yes ] && echo ON || echo OFF)
say "tests of build/dev"
run_tests dev "${exclude[@]}"

if [ $asan = yes ]; then
  setup_build asan
  say "tests of build/asan"
  run_tests asan -LE "${slow}style|structure"
fi

say "done"
