#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What the monitor says during a run, graft doctor run says of its metrics afterwards, and of a log that TRL wrote.
source "$(dirname "$0")/lib.sh"
make_shapes data 64 5

# The output that started this project: boxes of Qwen2-VL before rewards that read VLM-R1's format.
for prompt in 1 2 3 4; do
  for _ in 1 2; do
    echo "{\"prompt\": \"$prompt\", \"completion\": \"the man with a yellow jacket and red visor of to the side(814,335),(977,996)\"," \
      "\"solution\": \"<answer>{\\\"bbox\\\": [521, 161, 625, 478]}</answer>\", \"image_size\": [640, 480], \"processed_size\": [644, 476]}"
  done
done > historical.jsonl
doctor_rewards() { "$graft" doctor rewards --config "$source_dir/configs/demo/grpo.json" "model.path=$demo_model" data.train=data/train.jsonl "$@"; }
expect_exit 4 "would be pointless" doctor_rewards --completions historical.jsonl
for text in "lack <answer>…</answer>" "read as 0 to 1000 they have a mean IoU of 1.00" "set space of reward iou to per_mille" "graft sft"; do
  grep -q "$text" stdout.txt || fail "graft doctor rewards does not say: $text"
done
doctor_rewards --completions historical.jsonl --json 'rewards=[{"name":"iou","params":{"where":"anywhere","space":"per_mille"}}]' \
  > mended.json || true
grep -q '"mean": 0.99' mended.json || fail "the remedies do not mend it"
expect_exit 2 ":9: not a JSON object" doctor_rewards --completions <(cat historical.jsonl; echo 1)

# The model itself: the demo's learns; a reward that every completion earns would teach nothing, and training does not begin.
doctor_rewards preflight.prompts=2 > model.txt || fail "graft doctor rewards found fault with the demo"
grep -q "^16 completions of 2 prompts" model.txt || fail "did not sample two prompts"
expect_exit 4 "training would be pointless" grpo pointless rewards=format train.steps=2 rollout.temperature=0.01
[ ! -e pointless/metrics.jsonl ] || fail "a pointless run began"
grep -q "they all succeed" stderr.txt || fail "did not say why training is pointless"

# A learning rate for full fine-tuning, a reward that every completion earns: the usual ways to waste a run.
grpo run rewards=format preflight.enabled=false train.steps=6 optimizer.learning_rate=1e-7 monitor.constant_steps=4 monitor.adapter_steps=3 \
  monitor.window=3 2> run.log
grep -q "W .*low_learning_rate: .*about ten times" run.log || fail "the run did not warn of the learning rate"
grep -q "W .*still_adapter: .*hardly moves" run.log || fail "the run did not warn of the adapter that stands still"
"$graft" doctor run run > findings.txt
for rule in low_learning_rate constant_reward still_adapter zero_gradient; do
  grep -q "  $rule$" findings.txt || fail "graft doctor run does not name $rule"
  [ "$(grep -c " $rule: " run.log)" = "$(grep -c "  $rule$" findings.txt)" ] || fail "the run and the doctor differ on $rule"
done
"$graft" doctor run run --json > findings.json
grep -q '"rule": "constant_reward"' findings.json || fail "no findings as JSON"

# Thresholds and rules can be changed, for the run and afterwards.
"$graft" doctor run run monitor.adapter_learning_rate=0 'monitor.ignore=["still_adapter"]' > fewer.txt
if grep -q "low_learning_rate\|still_adapter" fewer.txt; then fail "changed thresholds had no effect"; fi
expect_exit 2 'did you mean "kl_spike"' "$graft" doctor run run 'monitor.ignore=["kl_spikes"]'
expect_exit 2 'did you mean "kl_spike"' grpo other 'monitor.ignore=["kl_spikes"]'
expect_exit 2 "monitor.enabled is false" grpo other monitor.enabled=false monitor.window=5
expect_exit 2 "is not there" "$graft" doctor run nowhere
[ "$("$graft" doctor rules | grep -c "^  source: ")" -ge 15 ] || fail "graft doctor rules does not list the rules"

# A quiet run says nothing and measures nothing.
grpo quiet train.steps=3 monitor.enabled=false optimizer.learning_rate=1e-7 2> quiet.log
if grep -q "low_learning_rate" quiet.log || [ -e quiet/layer_changes.jsonl ]; then fail "monitor.enabled=false had no effect"; fi

cat > trainer_state.json <<'END'
{"log_history": [
  {"step": 10, "loss": 0.0, "grad_norm": 0.0, "reward": 0.0, "reward_std": 0.0, "frac_reward_zero_std": 1.0,
   "rewards/format_reward/mean": 0.0, "rewards/format_reward/std": 0.0},
  {"step": 20, "loss": 0.0, "grad_norm": 0.0, "reward": 0.0, "reward_std": 0.0, "frac_reward_zero_std": 1.0,
   "rewards/format_reward/mean": 0.0, "rewards/format_reward/std": 0.0}]}
END
"$graft" doctor run trainer_state.json > trl.txt
grep -q "reward format_reward was 0.0000 for every completion of 20 steps" trl.txt || fail "did not read TRL's log"
