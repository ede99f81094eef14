#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Cost of PEFT strategies against full fine-tuning, and PEFT's beside it.

    python peft_cost.py --tool peft_cost [--rounds N] [--only NAME …] [--no-peft]

Forward and backward of the language model of the `small` fixture (96 million parameters), 4 sequences of 300 tokens, each side
in processes of its own that take turns, so that a noisy machine hits all alike. Times are medians over all rounds. Prints
name=value lines: lora_time_ratio (LoRA r=8 over full), lora_memory_ratio_POLICY (peak memory beyond the weights, activations and
gradients), METHOD_time_ratio (over LoRA), peft_lora_time_ratio (the same of transformers + PEFT), and graft_over_peft for both.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ORACLE = Path(__file__).resolve().parents[1] / "oracle/make_fixture.py"
SEQUENCES, LENGTH = 4, 300
#: METHOD -> (strategy, parameters)
METHODS = {
    "full": ("full", {}),
    "lora": ("lora", {"r": 8}),
    "dora": ("lora", {"r": 8, "use_dora": True}),
    "pissa": ("lora", {"r": 8, "init": "pissa", "pissa_iterations": 2}),
    "lora_fa": ("lora", {"r": 8, "freeze_a": True}),
    "ia3": ("ia3", {"feedforward_modules": ["down_proj"]}),
    "vera": ("vera", {"r": 48}),  # as 256 is to the width of a 7B model
    "hira": ("hira", {"r": 8}),
    "miss": ("miss", {"r": 8}),
    "adalora": ("adalora", {"init_r": 8}),
    "randlora": ("randlora", {"r": 32}),
    "loha": ("loha", {"r": 8}),
    "lokr": ("lokr", {"r": 8}),
    "oft": ("oft", {}),
}
SEVEN = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def measure_graft(tool: Path, model: Path, method: str, policy: str, rounds: int) -> dict:
    strategy, params = METHODS[method]
    options = {"strategy": strategy, "params": params, "policy": policy, "sequences": SEQUENCES, "length": LENGTH,
               "rounds": rounds}
    done = subprocess.run([str(tool), str(model), json.dumps(options)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{method}: {done.stderr}")
    return json.loads(done.stdout)


def measure_peft(model: Path, method: str, rounds: int) -> dict:
    done = subprocess.run([sys.executable, __file__, "--peft-child", method, "--model", str(model), "--rounds", str(rounds)],
                          capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"PEFT, {method}: {done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def peft_child(model_directory: Path, method: str, rounds: int) -> None:
    """Forward and backward in transformers, with PEFT's LoRA or without."""
    import time

    import peft
    import torch
    from transformers import AutoModelForImageTextToText

    model = AutoModelForImageTextToText.from_pretrained(model_directory, dtype=torch.float32)
    model.requires_grad_(False)
    if method == "lora":
        targets = r"model\.language_model\..*\.(" + "|".join(SEVEN) + ")"
        model = peft.get_peft_model(model, peft.LoraConfig(r=8, lora_alpha=16, target_modules=targets))
    else:
        for name, parameter in model.named_parameters():
            parameter.requires_grad_("language_model" in name)
    model.train()
    ids = torch.tensor([[(k * 31 + i * 7) % 1000 for k in range(LENGTH)] for i in range(SEQUENCES)])
    seconds = []
    for round_number in range(rounds + 1):
        model.zero_grad(set_to_none=True)
        begin = time.perf_counter()
        logits = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
        loss = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
        loss.backward()
        if round_number > 0:
            seconds.append(time.perf_counter() - begin)
    print(json.dumps({"seconds": seconds}))


def report(times: dict[str, list[float]], memory: dict[tuple[str, str], list[int]]) -> None:
    median = {name: statistics.median(values) for name, values in times.items()}
    for name, seconds in median.items():
        print(f"{name}_seconds={seconds:.3f}")
    print(f"lora_time_ratio={median['lora'] / median['full']:.3f}")
    for policy in ("none", "full"):
        lora, full = (max(memory[name, policy]) for name in ("lora", "full"))
        print(f"lora_memory_ratio_{policy}={lora / full:.3f}  # {lora / 2**20:.0f} MiB of {full / 2**20:.0f} MiB")
    for name in METHODS:
        if name in median and name not in ("full", "lora"):
            print(f"{name}_time_ratio={median[name] / median['lora']:.3f}")
    if "peft_lora" in median:
        print(f"peft_lora_time_ratio={median['peft_lora'] / median['peft_full']:.3f}")
        for name in ("lora", "full"):
            print(f"graft_over_peft_{name}={median[name] / median['peft_' + name]:.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tool", type=Path, help="the program peft_cost")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each side")
    parser.add_argument("--only", nargs="*", help="methods beside full and lora")
    parser.add_argument("--no-peft", action="store_true", help="leave transformers + PEFT out")
    parser.add_argument("--model", type=Path, help="a directory of the small fixture; made if absent")
    parser.add_argument("--peft-child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peft_child:
        peft_child(arguments.model, arguments.peft_child, arguments.rounds)
        return
    if arguments.tool is None:
        parser.error("--tool is missing")
    methods = ["full", "lora"] + [
        name for name in METHODS if name not in ("full", "lora") and (arguments.only is None or name in arguments.only)
    ]
    times: dict[str, list[float]] = {}
    memory: dict[tuple[str, str], list[int]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        model = arguments.model
        if model is None:
            model = Path(scratch) / "small"
            subprocess.run([sys.executable, str(ORACLE), "--size", "small", "--out", str(model)], check=True,
                           capture_output=True, env={**os.environ, "HF_HUB_OFFLINE": "1"})
        for _ in range(arguments.rounds):
            for name in methods:
                found = measure_graft(arguments.tool, model, name, "none", 1)
                times.setdefault(name, []).extend(found["seconds"])
                memory.setdefault((name, "none"), []).append(found["bytes"])
            if not arguments.no_peft:
                for name in ("full", "lora"):
                    times.setdefault("peft_" + name, []).extend(measure_peft(model, name, 1)["seconds"])
        for name in ("full", "lora"):
            memory["" + name, "full"] = [measure_graft(arguments.tool, model, name, "full", 1)["bytes"]]
    report(times, memory)


if __name__ == "__main__":
    main()
