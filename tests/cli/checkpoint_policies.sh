#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Every checkpoint policy gives the metrics of `none` to the last digit, with a trained vision tower and dropout; the tower may have a
# policy of its own; keys without effect and limits that are no limits are errors.
source "$(dirname "$0")/lib.sh"
make_shapes data 8 6

run() {   # run OUTPUT ARGUMENTS…
  local out=$1
  shift
  grpo "$out" train.steps=2 train.save_steps=0 peft.components='["language", "vision"]' peft.params='{"r": 4, "dropout": 0.1}' \
    peft.target_modules=all-linear "$@"
}
run none 2> log || { cat log >&2; fail "none"; }
same() {   # same OUTPUT ARGUMENTS…
  run "$@" 2> log || { cat log >&2; fail "$*"; }
  cmp <(without_times none/metrics.jsonl) <(without_times "$1/metrics.jsonl") || fail "the metrics of $* are not those of none"
}
same full checkpoint_policy.name=full
same every_nth checkpoint_policy.name=every_nth checkpoint_policy.params='{"n": 2}'
same selective checkpoint_policy.name=selective checkpoint_policy.params='{"part": "attention"}'
same offload checkpoint_policy.name=offload
same budget checkpoint_policy.name=budget checkpoint_policy.params='{"fraction": 0.4}'
same vision checkpoint_policy.name=none checkpoint_policy.vision=full

grep -q '"vision": *"full"' vision/config.json || fail "the vision tower's policy is not recorded"
expect_exit 2 "would have no effect" run frozen peft.components='["language"]' checkpoint_policy.vision=full
expect_exit 2 "checkpoint_policy.vision_params" run params checkpoint_policy.vision_params='{"n": 2}'
expect_exit 2 "no amount of bytes" run amount checkpoint_policy.name=budget checkpoint_policy.params='{"memory": "much"}'
