#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Bad input gives one paragraph that names the file and line or key, exit code 2 (3 for plugins), and leaves nothing behind.
source "$(dirname "$0")/lib.sh"
make_shapes data 8 7
run=(grpo out train.steps=2 train.save_steps=0)
record='{"id": 1, "image": "IMAGE", "conversations": [{"from": "human", "value": "QUESTION"}, {"from": "gpt", "value": "[1, 2, 3, 4]"}]}'
write_record() { sed -e "s#IMAGE#$1#" -e "s#QUESTION#$2#" <<< "$record" > "$3"; }
copy_model() { rm -rf model; cp -r "$demo_model" model; }

# --- configuration
expect_exit 2 'optimizer.learning_rate' "${run[@]}" optimizer.learning_rat=1
expect_exit 2 'train.steps' "${run[@]}" train.steps=many
expect_exit 2 'num_generations' "${run[@]}" rollout.num_generations=1
expect_exit 2 'lora_r' "${run[@]}" peft.strategy=full peft.params={} --lora_r 8
expect_exit 2 'lora_r' "$graft" train "model.path=$demo_model" data.train=data/train.jsonl output_dir=out train.steps=1 \
  --reward_funcs iou --lora_r 8
echo '{"seed": 0, }' > broken.json
expect_exit 2 'broken.json:1' "$graft" train --config broken.json
expect_exit 2 'missing.json' "$graft" train --config missing.json
expect_exit 2 'target_modules' "${run[@]}" 'peft.target_modules=["q_prj"]'
expect_exit 2 'peft.components' "${run[@]}" 'peft.components=["langage"]'

# --- plugins
expect_exit 3 'iou' "${run[@]}" --reward_funcs iuo
expect_exit 3 'lora' "${run[@]}" peft.strategy=lroa
expect_exit 3 'nowhere.so' "${run[@]}" plugins=nowhere.so
expect_exit 2 'space' "${run[@]}" 'rewards=[{"name": "iou", "params": {"space": "inches"}}]'

# --- data
: > empty.jsonl
expect_exit 2 'empty.jsonl' "${run[@]}" data.train=empty.jsonl
expect_exit 2 'nowhere.jsonl' "${run[@]}" data.train=nowhere.jsonl
echo '{"id": 1' > cut.jsonl
expect_exit 2 'cut.jsonl:1' "${run[@]}" data.train=cut.jsonl data.strict=true
write_record nowhere.png '<image>Where?' missing.jsonl
expect_exit 2 'nowhere.png' "${run[@]}" data.train=missing.jsonl data.strict=true
write_record images/000000.png '<image><image>Where?' data/placeholders.jsonl
expect_exit 2 'placeholders.jsonl:1' "${run[@]}" data.train=data/placeholders.jsonl data.strict=true
head -c 200 data/images/000000.png > data/images/cut.png
write_record images/cut.png '<image>Where?' data/corrupt.jsonl
expect_exit 2 'cut.png' "${run[@]}" data.train=data/corrupt.jsonl data.strict=true
expect_exit 2 'no sample' "${run[@]}" data.train=data/corrupt.jsonl
expect_exit 2 'no sample of data.eval' "${run[@]}" data.eval=data/corrupt.jsonl train.eval_steps=1
expect_exit 2 'max_prompt_length' "${run[@]}" data.max_prompt_length=5 data.strict=true
[ ! -e out ] || fail "bad input left an output directory behind"

# --- model directories
expect_exit 2 'config.json' "${run[@]}" model.path=data
copy_model && head -c 100000 model/model.safetensors > cut && mv cut model/model.safetensors
expect_exit 2 'model.safetensors' "${run[@]}" model.path=model
copy_model && sed -i 's/"intermediate_size": 384/"intermediate_size": 400/' model/config.json
expect_exit 2 'gate_proj' "${run[@]}" model.path=model
copy_model && sed -i 's/"num_hidden_layers": 4/"num_hidden_layers": 5/' model/config.json
expect_exit 2 'layers.4' "${run[@]}" model.path=model
copy_model && rm model/tokenizer.json
expect_exit 2 'tokenizer.json' "${run[@]}" model.path=model
copy_model && sed -i 's/qwen2_5_vl/llava_9000/' model/config.json
expect_exit 2 'llava_9000' "${run[@]}" model.path=model
expect_exit 2 'adapter_config.json' "${run[@]}" peft.adapter=data
[ ! -e out ] || fail "bad input left an output directory behind"

# --- a bad sample among good ones is skipped, said and counted
sed -n 1,3p data/train.jsonl > data/mixed.jsonl
cat data/corrupt.jsonl >> data/mixed.jsonl
grpo mixed train.steps=3 train.save_steps=0 data.train=data/mixed.jsonl 2> mixed.log || { cat mixed.log; fail "mixed data"; }
grep -q 'cut.png' mixed.log || fail "the skipped sample was not named"
tail -1 mixed/metrics.jsonl | grep -q '"samples_skipped":[1-9]' || fail "the skipped sample was not counted"
