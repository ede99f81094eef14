#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What the monitor says during a run, graft doctor run says of its metrics afterwards, and of a log that TRL wrote.
source "$(dirname "$0")/lib.sh"
make_shapes data 64 5

# A learning rate for full fine-tuning, a reward that every completion earns: the usual ways to waste a run.
grpo run rewards=format train.steps=6 optimizer.learning_rate=1e-7 monitor.constant_steps=4 monitor.adapter_steps=3 \
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
