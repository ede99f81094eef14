#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Every case of tests/oracle/trl_grpo.py, run by the real TRL, against graft: trl_grpo.sh PYTHON PARITY_TESTS OUT
set -euo pipefail
python=$1 parity_tests=$2 out=$3
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

rm -rf "$out"
"$python" "$here/../oracle/trl_grpo.py" --model "$here/../parity/data/qwen2_5_vl_tiny" --out "$out" 2> "$out.log" || {
  tail -30 "$out.log" >&2
  exit 1
}
GRAFT_TRL_GOLDENS=$out "$parity_tests" --gtest_filter='*TrlGrpo*' --gtest_brief=1
rm -rf "$out"
