#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""AdaLoRA's allocation of ranks against PEFT's RankAllocator, step by step.

    python peft_adalora.py --model DIR --image FILE --tool peft_methods

From one start both sides train for as many steps as the schedule has, PEFT with update_and_allocate() after each step: the same
triplets remain and every tensor is the same (1e-3 of its largest change, since differences grow from step to step). The file that
PEFT writes then, without the dropped triplets, gives the same logits in graft.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

import peft
import torch
import transformers
from peft_methods import LANGUAGE, Report, base_model, logits_of, loss_of, randomize, run_tool
from safetensors.torch import load_file

STEPS = 12
SCHEDULE = {"init_r": 6, "target_r": 2, "tinit": 2, "tfinal": 3, "deltaT": 2, "total_step": STEPS, "lora_alpha": 8}
TRAINING = {"learning_rate": 5e-3, "eps": 1e-4}
GROWN = 1e-3


def train(adapted, inputs: dict[str, torch.Tensor]) -> None:
    trained = [p for p in adapted.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=TRAINING["learning_rate"], eps=TRAINING["eps"], weight_decay=0.0)
    for step in range(1, STEPS + 1):
        loss_of(adapted, inputs).backward()
        optimizer.step()
        adapted.base_model.update_and_allocate(step)
        optimizer.zero_grad()


def compare(arguments, scratch: Path, report: Report) -> None:
    torch.manual_seed(3)
    config = peft.AdaLoraConfig(target_modules=LANGUAGE, task_type="CAUSAL_LM", **SCHEDULE)
    adapted = peft.get_peft_model(base_model(arguments.model), config).eval()
    randomize(adapted, 0.03)
    adapted.save_pretrained(scratch / "start")
    start = load_file(scratch / "start" / "adapter_model.safetensors")
    options = {"adapter": str(scratch / "start"), "steps": STEPS, "merges": False, **TRAINING}
    out = run_tool(arguments.tool, "load", arguments, scratch, options)
    if "error" in out:
        report.say("training", False, out["error"])
        return
    train(adapted, out)
    adapted.save_pretrained(scratch / "theirs")

    ours = json.loads((scratch / "stepped" / "adapter_config.json").read_text())["rank_pattern"] or {}
    theirs = json.loads((scratch / "theirs" / "adapter_config.json").read_text())["rank_pattern"]
    left = sorted(sum(kept) for kept in theirs.values())
    report.say("ranks", ours == theirs, f"{left} are left in PEFT, {sorted(sum(kept) for kept in ours.values())} in graft")
    report.say("budget", sum(left) == SCHEDULE["target_r"] * len(left), f"{sum(left)} of {len(left)} layers")
    files = [load_file(scratch / side / "adapter_model.safetensors") for side in ("theirs", "stepped")]
    worst, where = 0.0, "no tensor"
    for name, tensor in files[0].items():
        if tensor.shape != files[1][name].shape:
            worst, where = float("inf"), name
        elif tensor.numel() > 0:
            scale = float(start[name].abs().max())
            difference = float((tensor - files[1][name]).abs().max()) / scale
            worst, where = max((worst, where), (difference, name))
    report.say("tensors", worst <= GROWN, f"differ by up to {worst:.2e} of the start's values in {where}")

    pruned = run_tool(arguments.tool, "load", arguments, scratch / "again",
                      {"adapter": str(scratch / "theirs"), "params": {"total_step": 0, "tinit": 0, "tfinal": 0}, **TRAINING})
    if "error" in pruned:
        report.say("PEFT's file", False, pruned["error"])
        return
    with torch.no_grad():
        report.close("PEFT's file, logits", pruned["trained"], logits_of(adapted, out))
    report.close("PEFT's file, merged", pruned["merged"], pruned["trained"])
    files = [load_file(path / "adapter_model.safetensors") for path in (scratch / "theirs", scratch / "again" / "adapter")]
    same = files[0].keys() == files[1].keys() and all(torch.equal(files[0][name], files[1][name]) for name in files[0])
    report.say("PEFT's file, written again", same, "to the bit")


def main() -> None:
    transformers.utils.logging.disable_progress_bar()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True, help="checkpoint directory")
    parser.add_argument("--image", type=Path, required=True, help="image of the prompt")
    parser.add_argument("--tool", type=Path, required=True, help="the program peft_methods")
    arguments = parser.parse_args()
    report = Report()
    with tempfile.TemporaryDirectory() as scratch:
        compare(arguments, Path(scratch), report)
    print(f"{report.failures} failures")
    sys.exit(1 if report.failures else 0)


if __name__ == "__main__":
    main()
