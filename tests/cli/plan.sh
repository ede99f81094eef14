#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# graft plan and graft doctor grads: what they print, their exit codes, and that a run logs predictions beside its peaks.
source "$(dirname "$0")/lib.sh"
make_shapes data 16 5

with_config() {   # with_config COMMAND… -- ARGUMENTS…: on the demo's configuration
  local command=()
  while [ "$1" != -- ]; do command+=("$1"); shift; done
  shift
  "$graft" "${command[@]}" --config "$source_dir/configs/demo/grpo.json" "model.path=$demo_model" data.train=data/train.jsonl \
    train.prompts_per_step=2 rollout.num_generations=4 objective.beta=0.04 "$@"
}
number() { grep -oE "\"$2\": [0-9]+" "$1" | tail -1 | grep -oE '[0-9]+'; }   # number FILE KEY: the last one

# --- plan
with_config plan -- > plan.txt || fail "graft plan"
for part in weights adapters gradients 'optimizer state' 'KV cache' head 'language.layers.\*' rollout reference update; do
  grep -qE "^ +$part" plan.txt || { cat plan.txt >&2; fail "graft plan does not print $part"; }
done
with_config plan -- --json > plan.json || fail "graft plan --json"
with_config plan -- --json checkpoint_policy.name=full > full.json || fail "graft plan with a policy"
[ "$(number full.json peak)" -lt "$(number plan.json peak)" ] || fail "checkpointing does not lower the peak"
with_config plan -- --json --all > all.json || fail "graft plan --all"
[ "$(grep -c '"strategy"' all.json)" -ge 7 ] || fail "graft plan --all compares too little"
with_config plan -- --memory 24GiB | grep -qE 'fits into 24.0 GiB; the largest pass that fits has [0-9]+ prompts' || fail "--memory"
expect_exit 6 'does not fit into 100MiB' with_config plan -- --memory 100MiB
expect_exit 2 'expected a size such as 24GiB' with_config plan -- --memory lots
expect_exit 3 'no peft is named' with_config plan -- peft.strategy=none_such

# --- a run logs both
grpo run train.steps=1 objective.beta=0.04 2> run.log || { cat run.log >&2; fail "train"; }
for phase in rollout reference update; do
  grep -q "\"memory/${phase}_predicted_gib\":" run/metrics.jsonl || fail "no prediction of the phase $phase"
done

# --- doctor
with_config doctor grads -- > doctor.txt || { cat doctor.txt >&2; fail "graft doctor grads"; }
grep -q 'trained tensors have a gradient in both' doctor.txt || fail "doctor grads does not compare"
grep -q ': good$' doctor.txt || { cat doctor.txt >&2; fail "checkpointing changes gradients"; }
grep -q 'element 0 of tensors does not require grad' doctor.txt || fail "doctor grads does not explain the historical error"
with_config doctor grads -- --json 'peft.components=["language", "vision"]' > doctor.json || fail "doctor grads --json"
grep -q '"good": true' doctor.json || fail "vision layers: gradients differ"
expect_exit 2 'subcommand is required' "$graft" doctor
