#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A run stopped by SIGTERM and resumed gives the metrics and the adapter of an undisturbed one, bit for bit; so does the same
# run again.
source "$(dirname "$0")/lib.sh"
make_shapes data 64 5

settings=(train.steps=8 train.save_steps=3 train.logging_steps=1 peft.params.dropout=0.1 objective.beta=0.04
  objective.num_iterations=2 data.eval=data/train.jsonl train.eval_steps=3 eval.samples=4 train.metric_for_best_model=eval_reward monitor.adapter_steps=2)
grpo whole "${settings[@]}" 2> whole.log
grpo again "${settings[@]}" 2> again.log
cmp <(without_times whole/metrics.jsonl) <(without_times again/metrics.jsonl) || fail "two equal runs differ in metrics"
cmp whole/completions.jsonl again/completions.jsonl || fail "two equal runs differ in completions"
cmp whole/adapter/adapter_model.safetensors again/adapter/adapter_model.safetensors || fail "two equal runs differ"
[ "$(wc -l < whole/metrics.jsonl)" = 11 ] || fail "expected 8 lines of metrics and 3 of evaluations (steps 4, 6 and 8)"

# Stopped when its log says that step 4 is done.
mkfifo log
as_process=exec grpo cut "${settings[@]}" 2> log &
pid=$!
told=
while read -r line; do
  if [ -z "$told" ] && [[ $line == *"4/8"* ]]; then
    kill -TERM $pid   # once: a second signal ends the process without saving
    told=yes
  fi
done < log
status=0
wait $pid || status=$?
[ $status = 75 ] || fail "exit code $status instead of 75 after SIGTERM"
[ ! -e cut/adapter ] || fail "an interrupted run left a finished adapter"
grpo cut "${settings[@]}" train.resume=auto 2> resumed.log || { cat resumed.log >&2; fail "could not resume"; }
grep -q "continuing from" resumed.log || fail "did not say what it continues from"
cmp <(without_times whole/metrics.jsonl) <(without_times cut/metrics.jsonl) || fail "metrics differ after resuming"
cmp whole/completions.jsonl cut/completions.jsonl || fail "completions differ after resuming"
cmp whole/adapter/adapter_model.safetensors cut/adapter/adapter_model.safetensors || fail "adapter differs after resuming"
cmp whole/layer_changes.jsonl cut/layer_changes.jsonl || fail "changes of the layers differ after resuming"
[ "$(wc -l < whole/layer_changes.jsonl)" = 4 ] || fail "expected the changes of the layers at steps 2, 4, 6 and 8"
cmp whole/best.json cut/best.json || fail "the best model differs after resuming"
cmp whole/checkpoint-8/optimizer.safetensors cut/checkpoint-8/optimizer.safetensors || fail "optimizer differs"

expect_exit 2 "already holds a run" grpo whole "${settings[@]}"
expect_exit 2 "seed" grpo whole "${settings[@]}" seed=1 train.resume=auto
