#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# tokenize, logprobs, score, generate, eval: what a script sees.
source "$(dirname "$0")/lib.sh"
make_shapes data 8 8

ids=$(echo '{"text": "<think>hi</think><|im_end|>"}' | "$graft" tokenize --model "$demo_model")
text=$(echo "$ids" | "$graft" tokenize --model "$demo_model")
[ "$text" = '{"text":"<think>hi</think><|im_end|>"}' ] || fail "tokenize does not round-trip: $text"
text=$(echo "$ids" | "$graft" tokenize --model "$demo_model" --skip-special-tokens)
[ "$text" = '{"text":"<think>hi</think>"}' ] || fail "tokenize keeps special tokens: $text"
[ "$(echo '{"text": "hi"}' | "$graft" tokenize --model "$demo_model" --add-special-tokens)" = \
  "$(echo '{"text": "hi"}' | "$graft" tokenize --model "$demo_model")" ] || fail "tokenize adds tokens without a template"

scores=$("$graft" score --reward iou format 'iou:{"space": "unit"}' << 'JSON'
{"completion": "<think>a</think><answer>[0, 0, 56, 112]</answer>", "solution": "[0, 0, 112, 112]", "image_size": [112, 112], "processed_size": [112, 112]}
{"completion": "the man (814,335),(977,996)", "solution": "[0, 0, 112, 112]", "image_size": [112, 112], "processed_size": [112, 112]}
JSON
)
expected='{"scores":{"iou":0.5,"format":1.0,"iou_2":0.00015943877551020407},"status":{"iou":"ok","format":"ok","iou_2":"ok"},"reason":{"iou":"","format":"","iou_2":""}}
{"scores":{"iou":0.0,"format":0.0,"iou_2":0.0},"status":{"iou":"unparsable","format":"ok","iou_2":"unparsable"},"reason":{"iou":"no <answer>…</answer>","format":"does not begin with <think>","iou_2":"no <answer>…</answer>"}}'
[ "$scores" = "$expected" ] || fail "score wrote: $scores"

logprobs=$(echo '{"image": "data/images/000000.png", "prompt": "Where is the red circle?", "completion": "<think>the"}' |
  "$graft" logprobs --model "$demo_model")
[[ $logprobs =~ \"token_ids\":\[[0-9]+,[0-9]+\],\"logprobs\":\[-[0-9.e-]+,-[0-9.e-]+\] ]] || fail "logprobs wrote: $logprobs"

"$graft" generate "model.path=$demo_model" --image data/images/000000.png --prompt "Where is the red circle?" \
  --num_generations 2 --max_completion_length 8 --temperature 1 > completions.jsonl
[ "$(wc -l < completions.jsonl)" = 2 ] || fail "generate wrote $(wc -l < completions.jsonl) completions instead of 2"
"$graft" generate "model.path=$demo_model" --image data/images/000000.png --prompt "Where is the red circle?" \
  --num_generations 2 --max_completion_length 8 --temperature 1 | cmp - completions.jsonl || fail "generate is not repeatable"

"$graft" eval "model.path=$demo_model" data.eval=data/train.jsonl output_dir=evaluation --reward_funcs iou format > summary.json
cmp summary.json evaluation/summary.json || fail "eval printed another summary than it saved"
grep -q '"iou_accuracy"' summary.json || fail "no accuracy in the summary"
[ "$(wc -l < evaluation/samples.jsonl)" = 8 ] || fail "eval did not write a line for each sample"
"$graft" report compare evaluation evaluation | grep -q '^iou .* +0.0000$' || fail "report compare"
"$graft" report boxes evaluation evaluation --out boxes.png --count 2
[ "$(head -c 4 boxes.png | tail -c 3)" = PNG ] || fail "report boxes wrote no PNG"

expect_exit 2 'stdin:1' bash -c "echo '[1]' | '$graft' score --reward iou"
expect_exit 2 'completion' bash -c "echo '{}' | '$graft' score --reward iou"
