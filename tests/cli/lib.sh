# SPDX-License-Identifier: Apache-2.0
# Shared by the command-line tests; sourced. $1: the graft command, $2: the source tree. Each test works in a folder of its own
# that is removed at the end.
set -euo pipefail

graft=$(realpath "$1")
source_dir=$(realpath "$2")
demo_model=$source_dir/configs/demo/checkpoint
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

fail() {
  echo "FAILED: $*" >&2
  exit 1
}

# expect_exit CODE TEXT COMMAND…: the command ends with that code and says TEXT on stderr, in one piece.
expect_exit() {
  local code=$1 text=$2 status=0
  shift 2
  "$@" > stdout.txt 2> stderr.txt < /dev/null || status=$?
  if [ "$status" != "$code" ]; then
    cat stderr.txt >&2
    fail "exit code $status instead of $code: $*"
  fi
  if ! tr '\n' ' ' < stderr.txt | grep -qF -- "$text"; then
    cat stderr.txt >&2
    fail "stderr lacks \"$text\": $*"
  fi
}

# make_shapes DIR N SEED
make_shapes() { "$graft" --log warn data shapes --out "$1" --n "$2" --seed "$3"; }

# Metrics without measured times and memory, which differ between equal runs.
without_times() { sed -E 's/,?"(step_time|(time|speed|memory)\/[a-z0-9_]+)":[^,}]*//g' "$1"; }

# A short GRPO run: grpo OUTPUT_DIR ARGUMENTS…. With as_process=exec before it, in the background, $! is the run itself.
grpo() {
  local out=$1
  shift
  ${as_process:-} "$graft" train --config "$source_dir/configs/demo/grpo.json" "model.path=$demo_model" data.train=data/train.jsonl \
    "output_dir=$out" train.prompts_per_step=2 rollout.num_generations=4 train.threads=1 "$@"
}
