#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# --bf16 true: training in bfloat16 products over float32 masters learns, is reproducible, does not depend on checkpointing, and
# saves float32.
source "$(dirname "$0")/lib.sh"
make_shapes data 64 8

# dtypes FILE: the dtypes in the header of a safetensors file, each once.
dtypes() { head -c 20000 "$1" | grep -aoE '"dtype":"[A-Z0-9]+"' | sort -u | tr '\n' ' '; }
values() { sed -E "s/.*\"$2\":([^,}]*).*/\1/" "$1/metrics.jsonl"; }
# finite DIR NAME: the metric is a number in every line.
finite() { ! values "$1" "$2" | grep -qvE '^-?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?$' || fail "$1: $2 is not finite everywhere"; }

for strategy in lora full; do
  args=(peft.strategy=$strategy train.steps=4 train.save_steps=0 train.logging_steps=1 --bf16 true)
  model_dtype=bfloat16
  if [ $strategy = full ]; then
    args+=(peft.params={} optimizer.learning_rate=1e-4)
    model_dtype=float32
  fi
  for policy in none full; do
    grpo $strategy-$policy "${args[@]}" checkpoint_policy.name=$policy 2> log || { cat log >&2; fail "$strategy, $policy"; }
    if grep -q '\[W' log; then cat log >&2; fail "$strategy, $policy: LibTorch warns"; fi
  done
  cmp <(without_times $strategy-none/metrics.jsonl) <(without_times $strategy-full/metrics.jsonl) ||
    fail "checkpointing changed the metrics of $strategy"
  for name in loss reward grad_norm; do finite $strategy-none $name; done
  grep -q "\"dtype\": \"$model_dtype\"" $strategy-none/config.json || fail "$strategy: model.dtype is not $model_dtype"
  grep -q '"compute_dtype": "bfloat16"' $strategy-none/config.json || fail "$strategy: no autocast"
done
[ "$(dtypes lora-none/adapter/adapter_model.safetensors)" = '"dtype":"F32" ' ] || fail "the adapter is not float32"
[ "$(dtypes full-none/model/model.safetensors)" = '"dtype":"F32" ' ] || fail "the weights are not float32"

# Supervised training from scratch goes as it does in float32.
for bf16 in true false; do
  "$graft" sft --config "$source_dir/configs/demo/sft.json" "model.path=$source_dir/configs/demo/skeleton" \
    data.train=data/train.jsonl output_dir=sft-$bf16 train.steps=20 train.batch_size=16 train.save_steps=0 train.logging_steps=1 \
    optimizer.warmup_steps=2 train.threads=1 --bf16 $bf16 2> log || { cat log >&2; fail "sft, --bf16 $bf16"; }
done
echo "loss of sft: bfloat16 $(values sft-true loss | sed -n '1p;$p' | xargs), float32 $(values sft-false loss | sed -n '1p;$p' | xargs)"
paste <(values sft-true loss) <(values sft-false loss) | awk '
  NR == 1 { first = $1 }
  { difference = $1 / $2 - 1; if (difference < 0) difference = -difference; if (difference > worst) worst = difference; last = $1 }
  END { print "worst difference of the losses: " worst; exit !(NR == 20 && worst < 0.01 && last < first / 2) }' ||
  fail "supervised training in bfloat16 does not learn as float32 does"

expect_exit 2 'model.compute_dtype=bfloat16' grpo out peft.strategy=full peft.params={} train.steps=1 --torch_dtype bfloat16 --bf16 true
expect_exit 2 'model.compute_dtype is float32' grpo out train.steps=1 model.dtype=bfloat16 model.compute_dtype=float32
[ ! -e out ] || fail "a refused run left an output directory behind"
