#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The course of a run: its length in epochs, windows of metrics, evaluations, the best model, early stopping, validation loss; and
# settings that are refused by name before anything is loaded.
source "$(dirname "$0")/lib.sh"
make_shapes data 32 5

metric() { grep -o "\"$2\":[^,}]*" <<< "$1" | head -1 | cut -d: -f2; }   # metric ROW NAME

# --- epochs: 32 samples, 2 prompts a step; a quarter of them is 4 steps, logged as means of 2
grpo epochs train.steps=0 train.epochs=0.25 train.logging_steps=2 2> epochs.log || { cat epochs.log >&2; fail "train.epochs"; }
[ "$(wc -l < epochs/metrics.jsonl)" = 2 ] || fail "expected 2 logged rows"
grep -q '"steps": 4' epochs/config.json || fail "config.json lacks the steps of the epochs"
grpo steps train.steps=4 train.logging_steps=1 2> steps.log || { cat steps.log >&2; fail "train.steps"; }
first=$(metric "$(sed -n 1p steps/metrics.jsonl)" reward) second=$(metric "$(sed -n 2p steps/metrics.jsonl)" reward)
mean=$(metric "$(sed -n 1p epochs/metrics.jsonl)" reward)
awk -v a="$first" -v b="$second" -v m="$mean" 'BEGIN { d = (a + b) / 2 - m; exit !(d < 1e-12 && d > -1e-12) }' ||
  fail "a logged row is the mean of its steps: ($first + $second) / 2 is not $mean"
[ "$(wc -l < epochs/completions.jsonl)" = 16 ] || fail "expected the completions of the logged steps, 2 x 2 x 4"

# --- the best model, and early stopping: no improvement can exceed the threshold
best_settings=(train.steps=20 data.eval=data/train.jsonl train.eval_steps=2 eval.samples=4 train.metric_for_best_model=eval_reward
  train.early_stopping_patience=2 train.early_stopping_threshold=100 train.load_best_model_at_end=true train.save_steps=1
  train.max_saved=1 train.logging_steps=4)
grpo best "${best_settings[@]}" 2> best.log || { cat best.log >&2; fail "best model"; }
grep -q 'stopping early: eval_reward did not improve in 2 evaluations' best.log || fail "early stopping was not said"
[ "$(tail -1 best/metrics.jsonl | grep -o '"step":[0-9]*')" = '"step":6' ] || fail "expected the end at step 6"
[ "$(grep -c '"loss"' best/metrics.jsonl)" = 2 ] || fail "expected logged rows at step 4 and at the early end"
best=$(grep -o '"checkpoint": "[^"]*"' best/best.json | cut -d'"' -f4)
cmp "best/$best/adapter/adapter_model.safetensors" best/adapter/adapter_model.safetensors || fail "the result is not the best"
[ "$(find best -maxdepth 1 -name 'checkpoint-*' | wc -l)" -le 2 ] || fail "more than the newest and the best checkpoint"
grep -q '"eval_completions/mean_length"' best/metrics.jsonl || fail "evaluations lack completions/mean_length"
cp -r best before
grpo best "${best_settings[@]}" train.resume=auto 2> best.log || { cat best.log >&2; fail "resuming a run that stopped early"; }
cmp before/metrics.jsonl best/metrics.jsonl || fail "a run that stopped early went on when it was resumed"
cmp before/adapter/adapter_model.safetensors best/adapter/adapter_model.safetensors || fail "resuming changed the result"
cmp before/best.json best/best.json || fail "resuming changed the best model"
cp -r best moved
rm -r "moved/$best" && grpo moved "${best_settings[@]}" train.early_stopping_patience=9 train.steps=8 \
  "train.resume=best/checkpoint-6" 2> moved.log || { cat moved.log >&2; fail "resuming without the best checkpoint"; }
grep -q 'the best is searched anew' moved.log || fail "a missing best checkpoint was not said"

# --- supervised: validation loss, no sampling unless there are rewards
sft() {
  "$graft" sft --config "$source_dir/configs/demo/sft.json" "model.path=$demo_model" model.init=pretrained data.train=data/train.jsonl \
    optimizer.warmup_steps=0 train.threads=1 train.batch_size=4 "$@"
}
sft output_dir=sft train.steps=4 data.eval=data/train.jsonl train.eval_steps=2 eval.samples=8 --metric_for_best_model eval_loss \
  train.micro_batch_tokens=200 2> sft.log || { cat sft.log >&2; fail "sft"; }
grep -q '"eval_loss":[0-9.e-]*,"eval_mean_token_accuracy":[0-9.e-]*' sft/metrics.jsonl || fail "sft lacks the validation loss"
grep -q '"mean_token_accuracy"' sft/metrics.jsonl || fail "sft lacks mean_token_accuracy"
grep -q '"metric": "eval_loss"' sft/best.json || fail "sft kept no best model"
if grep -q eval_iou sft/metrics.jsonl; then fail "sft sampled without rewards"; fi
sft output_dir=scored train.steps=2 data.eval=data/train.jsonl train.eval_steps=2 eval.samples=4 --reward_funcs iou 2> scored.log ||
  { cat scored.log >&2; fail "sft with rewards"; }
grep -q '"eval_loss".*"eval_iou"' scored/metrics.jsonl || fail "sft with rewards does not score"

# --- refused by name, before the model (there is none) or the data are looked at
refused() {   # refused TEXT ARGUMENTS…
  local text=$1
  shift
  expect_exit 2 "$text" "$graft" train --config "$source_dir/configs/demo/grpo.json" model.path=nowhere data.train=nowhere.jsonl \
    output_dir=never "$@"
}
refused 'must be a multiple of rollout.num_generations (8)' --per_device_train_batch_size 12
refused 'objective.reference is "base" with peft.strategy "full"' objective.beta=0.1 objective.reference=base peft.strategy=full
refused 'objective.beta is 0.1, but model.init is "random"' objective.beta=0.1 model.init=random peft.strategy=full
refused 'objective.old_logprobs is "none" with objective.num_iterations 2' objective.old_logprobs=none --num_iterations 2
refused 'objective.epsilon is 0.2, but cispo has no lower clip' --loss_type cispo --epsilon 0.2
refused 'objective.delta has no effect on cispo' --loss_type cispo --delta 4
refused 'objective.loss_type is "ppo"' --loss_type ppo
refused 'train.early_stopping_patience has no effect without train.metric_for_best_model' train.early_stopping_patience=2
refused 'train.metric_for_best_model is "eval_iou", but nothing is evaluated' --metric_for_best_model eval_iou
refused 'one of them is the length of the run' train.epochs=1
expect_exit 2 'rewards have no effect on graft sft without evaluations' sft output_dir=never train.steps=2 --reward_funcs iou
expect_exit 2 'which the evaluation does not give; it gives eval_loss' sft output_dir=never train.steps=2 data.eval=data/train.jsonl \
  train.eval_steps=1 --metric_for_best_model eval_bleu
[ ! -e never ] || fail "a refused run left an output directory behind"
