#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What is trained, and how a run says so: layers, ranks by pattern, modules_to_save, base layers, several adapters at once; names
# that fit nothing are refused with the nearest ones.
source "$(dirname "$0")/lib.sh"
make_shapes data 16 4

run() {   # run OUTPUT_DIR ARGUMENTS…: two steps, or the log
  local out=$1
  shift
  grpo "$out" preflight.enabled=false train.steps=2 train.save_steps=0 rollout.max_completion_length=12 peft.params.r=4 "$@" 2> "$out.log" ||
    { cat "$out.log" >&2; fail "$out"; }
}
table_row() { tr -s ' ' < "$1.log" | grep -qxF " $2" || { cat "$1.log" >&2; fail "$1: no row \"$2\""; }; }

# --- the table before training: ranks by pattern, whole copies, a total
run patterns --lora_target_modules q_proj up_proj --layers_to_transform 0 2 --lora_modules_to_save language_model.norm \
  --rank_pattern '[["layers.0.self_attn.q_proj", 2], ["q_proj", 6]]' --alpha_pattern '{"up_proj": 8}'
table_row patterns 'component layer count in -> out rank alpha trained'
table_row patterns 'language norm (whole copy) 1 128'
table_row patterns 'language q_proj 2 128 -> 128 2 - 6 32 2,048'
table_row patterns 'language up_proj 2 128 -> 384 4 8 4,096'
table_row patterns 'total 5 6,272'
grep -q '"^model\\\\.language_model\\\\.layers\\\\.0\\\\.self_attn\\\\.q_proj": 2' patterns/adapter/adapter_config.json ||
  fail "adapter_config.json lacks the rank of a layer"
grpo patterns train.steps=3 train.resume=auto 2> again.log && fail "other peft settings were resumed"

# --- base layers are saved as a model, with and without mixed precision
run base --peft.strategy layers 'peft.params={"last": 1, "modules": ["language_model.norm"]}' --bf16 true
[ -f base/model/config.json ] && [ ! -e base/adapter ] || fail "layers did not save a model"
[ -f base/checkpoint-2/model/config.json ] || fail "the checkpoint of layers holds no model"
table_row base 'language norm 1 128'

# --- a second adapter on a frozen first one, its reference policy included
run first optimizer.learning_rate=1e-2
cp -r first/adapter first_adapter
run second peft.base_adapters=first_adapter objective.beta=0.1 'peft.target_modules=["q_proj"]'
grep -q 'beneath it, frozen: lora from first_adapter, 28 linear layers' second.log || fail "the frozen adapter is not named"
[[ $(sed -n 1p second/metrics.jsonl) =~ \"kl\":0\.0[,}] ]] || fail "the reference is not the initial state: $(sed -n 1p second/metrics.jsonl)"
cmp first/adapter/adapter_model.safetensors first_adapter/adapter_model.safetensors || fail "the frozen adapter was written"
"$graft" merge --model "$demo_model" --adapter first_adapter --adapter second/adapter --output merged 2> merge.log ||
  { cat merge.log >&2; fail "merge of two adapters"; }
answer() { "$graft" generate --image data/images/000000.png --prompt "Where is the red circle?" --temperature 0 "$@"; }
answer model.path=merged > merged.jsonl
answer "model.path=$demo_model" peft.base_adapters=first_adapter --adapter second/adapter > chain.jsonl
cmp merged.jsonl chain.jsonl || fail "two adapters and the merged model answer differently"
answer "model.path=$demo_model" peft.base_adapters=first_adapter,second/adapter | cmp - chain.jsonl || fail "base_adapters alone"

# --- refused by name
refused() {   # refused TEXT ARGUMENTS…
  local text=$1
  shift
  expect_exit 2 "$text" grpo never "$@"
}
refused 'did you mean "q_proj"?' --lora_target_modules q_prj
refused 'peft.layers_to_transform: 4 is the number of no block that holds target modules; their numbers are: 0, 1, 2, 3' \
  --layers_to_transform 4
refused 'peft.layers_pattern: "layer" names no list of blocks of this model; did you mean "layers"?' --layers_to_transform 1 \
  --layers_pattern layer
refused 'did you mean "lm_head"?' --lora_modules_to_save lm_haed
refused '"q_prj" fits none of the adapted layers; did you mean "q_proj"?' peft.rank_pattern.q_prj=4
refused 'both fit model.language_model.layers.0.self_attn.q_proj, and an object has no order' \
  'peft.rank_pattern={"q_proj": 4, "layers.0.self_attn.q_proj": 2}'
refused 'the nearest is "q_proj"' peft.strategy=layers 'peft.params={"modules": ["q_prj"]}'
refused 'an adapter on random frozen weights cannot learn' model.init=random
refused 'is no adapter: it has no adapter_config.json' peft.base_adapters=data
[ ! -e never/metrics.jsonl ] || fail "a refused run left metrics behind"
