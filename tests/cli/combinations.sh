#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# 2 strategies x 2 checkpoint policies x 3 reward sets from one build. Checkpointing changes nothing but memory and time: the
# metrics of `none` and `full` are equal to the last digit shown. With a file name as third argument the table of README.md is
# written there.
table=${3:+$(realpath -m "$3")}
source "$(dirname "$0")/lib.sh"
make_shapes data 64 6

rows=("| strategy | checkpoint policy | rewards | reward after 3 steps | loss | grad_norm |" "|---|---|---|---|---|---|")
last() { tail -1 "$1/metrics.jsonl" | sed -E "s/.*\"$2\":([^,}]*).*/\1/" | xargs printf "%.$3f"; }
for strategy in lora full; do
  strategy_args=(peft.strategy=$strategy)
  if [ $strategy = full ]; then strategy_args+=(peft.params={} optimizer.learning_rate=1e-4); fi
  for rewards in iou format iou+format; do
    for policy in none full; do
      out=$strategy-$policy-$rewards
      grpo "$out" train.steps=3 train.save_steps=0 "${strategy_args[@]}" checkpoint_policy.name=$policy \
        --reward_funcs ${rewards//+/ } preflight.enabled=false 2> "$out.log" || { cat "$out.log" >&2; fail "$out"; }
      rows+=("| $strategy | $policy | ${rewards/+/, } | $(last "$out" reward 4) | $(last "$out" loss 6) | $(last "$out" grad_norm 4) |")
    done
    cmp <(without_times $strategy-none-$rewards/metrics.jsonl) <(without_times $strategy-full-$rewards/metrics.jsonl) ||
      fail "checkpointing changed the metrics of $strategy with $rewards"
  done
done
printf '%s\n' "${rows[@]}"
if [ -n "$table" ]; then printf '%s\n' "${rows[@]}" > "$table"; fi
