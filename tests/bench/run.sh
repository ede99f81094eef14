#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Named benchmarks; each prints its figures as name=value lines.
#
#   bash tests/bench/run.sh demo      host/demo.sh with seeds 0, 1, 2: gain_seedN is the rise of mean IoU on 512 held-out
#                                     images over the supervised checkpoint, grpo_seconds the longest of the three trainings
#   bash tests/bench/run.sh peft_cost time and memory of PEFT strategies (tests/bench/peft_cost.py says of what); after
#                                     tests/run.sh, whose build and Python environment it uses. GRAFT_BUILD and GRAFT_PYTHON name
#                                     others. Further arguments go to the script
#   bash tests/bench/run.sh checkpoint memory and time of checkpoint policies (tests/bench/checkpoint.py), in the same way
#   bash tests/bench/run.sh rewards   throughput of format + IoU through the ABI against the same in Python (speedup_vs_python), and
#                                     against VLM-R1's form that opens the image (speedup_vs_vlm_r1); the longest call for 1 MB of
#                                     hostile text over all rewards and modes (hostile_ms)
#   bash tests/bench/run.sh learning  strategies | ranks: learning curves on the demo's data (tests/bench/learning.py);
#                                     after host/demo.sh, which it takes the build and the images from
#   bash tests/bench/run.sh plan      how well graft plan predicts peak memory (tests/bench/plan.py says how); build and Python as
#                                     above. worst_error is the largest relative error of 24 cells
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

mean_iou() { sed -nE 's/^ *"iou": ([-0-9.e]+),?$/\1/p' "$1/summary.json"; }

bench_demo() {
  local seed out longest=0 seconds
  for seed in 0 1 2; do
    bash host/demo.sh "$seed" >&2
    out=build/demo/seed-$seed
    awk -v seed="$seed" -v before="$(mean_iou "$out/before")" -v after="$(mean_iou "$out/after")" \
      'BEGIN { printf "iou_before_seed%d=%.4f\niou_after_seed%d=%.4f\ngain_seed%d=%.4f\n", seed, before, seed, after, seed, after - before }'
    seconds=$(cat "$out/grpo_seconds")
    if [ "$seconds" -gt "$longest" ]; then longest=$seconds; fi
  done
  echo "grpo_seconds=$longest"
}

bench_peft_cost() {
  "${GRAFT_PYTHON:-build/venv/bin/python}" tests/bench/peft_cost.py --tool "${GRAFT_BUILD:-build/dev}/bin/peft_cost" "$@"
}

bench_checkpoint() {
  "${GRAFT_PYTHON:-build/venv/bin/python}" tests/bench/checkpoint.py --tool "${GRAFT_BUILD:-build/dev}/bin/checkpoint" "$@"
}

bench_rewards() {
  "${GRAFT_PYTHON:-build/venv/bin/python}" tests/bench/rewards.py --tool "${GRAFT_BUILD:-build/dev}/bin/reward_bench" "$@"
}

bench_learning() {
  "${GRAFT_PYTHON:-build/venv/bin/python}" tests/bench/learning.py "$@"
}

bench_plan() {
  "${GRAFT_PYTHON:-build/venv/bin/python}" tests/bench/plan.py --graft "${GRAFT_BUILD:-build/dev}/bin/graft" "$@"
}

case ${1:-} in
  demo) bench_demo ;;
  plan) shift; bench_plan "$@" ;;
  peft_cost) shift; bench_peft_cost "$@" ;;
  checkpoint) shift; bench_checkpoint "$@" ;;
  rewards) shift; bench_rewards "$@" ;;
  learning) shift; bench_learning "$@" ;;
  *)
    echo "usage: bash tests/bench/run.sh demo | peft_cost | checkpoint | rewards | plan | learning EXPERIMENT [OPTION …]" >&2
    exit 2
    ;;
esac
