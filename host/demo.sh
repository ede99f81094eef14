#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The main job on a fresh Debian or Ubuntu machine: sets graft up (packages, LibTorch, build), then trains a model with 1.2
# million parameters by GRPO + LoRA on image files that it has not seen, and shows what it answers before and after.
# A second run reuses everything but the training itself.
#
#   bash host/demo.sh [SEED]        results in build/demo/seed-SEED

source "$(dirname "${BASH_SOURCE[0]}")/cmake/setup.sh"
cd "$graft_root"
seed=${1:-0}

setup_packages build
setup_build release

graft=build/release/bin/graft
out=build/demo/seed-$seed
rm -rf "$out"
mkdir -p "$out"

if [ ! -d build/demo/heldout ]; then
  say "drawing images: coloured shapes, each with a question and the box that answers it"
  $graft data shapes --out build/demo/train --n 4000 --seed 100
  $graft data shapes --out build/demo/heldout --n 512 --seed 200
fi

evaluate() { $graft eval --config configs/demo/eval.json "output_dir=$1" "${@:2}" > /dev/null; }

say "before: the supervised checkpoint answers 512 held-out questions"
evaluate "$out/before"

say "GRPO + LoRA, seed $seed: sample completions, score them with the rewards iou and format, improve"
begin=$(date +%s)
$graft train --config configs/demo/grpo.json "seed=$seed" "output_dir=$out/run"
echo $(($(date +%s) - begin)) > "$out/grpo_seconds"

say "after: the same questions with the adapter"
evaluate "$out/after" "peft.adapter=$out/run/adapter"
$graft report compare "$out/before" "$out/after" --titles before after
$graft report boxes "$out/before" "$out/after" --out "$out/boxes.png"
say "done: adapter in $out/run/adapter (PEFT's format), metrics in $out/run/metrics.jsonl, picture in $out/boxes.png"
