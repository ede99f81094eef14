#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A strategy that looks at training data before it starts (lora with init=eva): in train and sft, over a resume, and settings without effect.
source "$(dirname "$0")/lib.sh"
make_shapes data 16 5
eva='{"r": 2, "alpha": 4, "init": "eva"}'

run=(train.save_steps=2 peft.strategy=lora "peft.params=$eva" peft.calibration_samples=6 peft.calibration_batch_size=2)
grpo whole train.steps=4 "${run[@]}" 2> whole.log || { cat whole.log >&2; fail "train with init=eva"; }
grep -q 'calibration: [0-9]* passes over training data, ranks from' whole.log || { cat whole.log >&2; fail "no calibration"; }
grep -q '"rank_pattern": {$' whole/adapter/adapter_config.json || fail "the adapter has no ranks of its own"
grpo resumed train.steps=4 "${run[@]}" train.resume=whole/checkpoint-2 2> resumed.log || { cat resumed.log >&2; fail "resume"; }
if grep -q 'calibration: ' resumed.log; then fail "a resumed run looked at the data again"; fi
for file in adapter_config.json adapter_model.safetensors; do
  cmp "whole/adapter/$file" "resumed/adapter/$file" || fail "resumed is not uninterrupted: $file"
done

"$graft" sft --config "$source_dir/configs/demo/sft.json" "model.path=$demo_model" model.init=pretrained data.train=data/train.jsonl \
  optimizer.warmup_steps=0 train.threads=1 train.batch_size=4 train.steps=2 output_dir=sft peft.strategy=lora "peft.params=$eva" 2> sft.log ||
  { cat sft.log >&2; fail "sft with init=eva"; }
grep -q 'calibration: [0-9]* passes' sft.log || { cat sft.log >&2; fail "sft did not look at the data"; }

if grpo none train.steps=1 peft.strategy=lora peft.params='{"r": 2}' peft.calibration_samples=4 2> none.log; then
  fail "calibration_samples without a calibration was taken"
fi
grep -q 'looks at no data before it starts' none.log || { cat none.log >&2; fail "the wrong message"; }
if grpo warm train.steps=1 peft.strategy=lora peft.params={} --adapter whole/adapter peft.calibration_samples=4 2> warm.log; then
  fail "calibration_samples with an adapter to start from was taken"
fi
grep -q 'peft.calibration_samples has no effect with peft.adapter' warm.log || { cat warm.log >&2; fail "the wrong message"; }
