#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How well `graft plan` predicts the peak memory of a step.

    python plan.py --graft build/dev/bin/graft [--model DIR] [--policies none full …] [--only TEXT]

24 cells: two batches, three checkpoint policies, four strategies, on the `small` fixture (96 million parameters). Each cell is one GRPO
step in a process of its own, whose completions cannot end early; what is measured is the peak of resident memory by phase that the
run logs, with every allocation above 64 KiB in a mapping of its own: glibc's heap keeps what it once had, and fragmentation is
nobody's plan. Peaks are taken beyond the program and its libraries. Prints a line a cell, then worst_error.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ORACLE = Path(__file__).resolve().parents[1] / "oracle/make_fixture.py"
GIB = 2.0**30
#: name -> prompts, prompts in a pass, completions of a prompt, their tokens
BATCHES = {"1x8x64": (1, 1, 8, 64), "4x8x64": (4, 2, 8, 64)}
#: name -> settings
STRATEGIES = {
    "lora": ["peft.strategy=lora", 'peft.params={"r": 8}', 'peft.components=["language"]'],
    "lora+vision": ["peft.strategy=lora", 'peft.params={"r": 8}', 'peft.components=["language", "vision"]'],
    "dora": ["peft.strategy=lora", 'peft.params={"r": 8, "use_dora": true}', 'peft.components=["language"]'],
    "full": ["peft.strategy=full"],
}
MAPPED = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_MMAP_MAX_": "60000", "MALLOC_TRIM_THRESHOLD_": "65536"}


def run(command: list[str], env: dict[str, str] | None = None) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **(env or {})})
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}\n{done.stderr}")
    return done.stdout


def endless(model: Path, out: Path) -> Path:
    """The model with a stop token that is never sampled: the one that stands for images."""
    out.mkdir()
    for file in model.iterdir():
        (out / file.name).symlink_to(file.resolve())
    config = json.loads((model / "config.json").read_text())
    generation = json.loads((model / "generation_config.json").read_text())
    generation["eos_token_id"] = config["image_token_id"]
    (out / "generation_config.json").unlink()
    (out / "generation_config.json").write_text(json.dumps(generation))
    return out


def settings(model: Path, data: Path, batch: str, policy: str, strategy: str) -> list[str]:
    prompts, in_pass, generations, length = BATCHES[batch]
    return [
        f"model.path={model}", f"data.train={data / 'train.jsonl'}", 'rewards=[{"name": "format"}]', "objective.beta=0.04",
        "preflight.enabled=false",
        f"train.prompts_per_step={prompts}", f"train.micro_prompts={in_pass}", f"rollout.num_generations={generations}",
        f"rollout.max_completion_length={length}", f"checkpoint_policy.name={policy}", *STRATEGIES[strategy],
    ]  # fmt: skip


def measure(graft: Path, scratch: Path, arguments: list[str]) -> tuple[dict, dict]:
    """The logged row of one step, and the plan."""
    plan = json.loads(run([str(graft), "plan", *arguments, "train.steps=1", "output_dir=unused", "--json"]))
    out = scratch / "run"
    run([str(graft), "--log", "warn", "train", *arguments, "train.steps=1", "train.save_steps=0", f"output_dir={out}"], MAPPED)
    row = json.loads((out / "metrics.jsonl").read_text().splitlines()[0])
    run(["rm", "-r", str(out)])
    return row, plan


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--graft", type=Path, required=True)
    parser.add_argument("--model", type=Path, help="a directory of the small fixture; made if absent")
    parser.add_argument("--policies", nargs="+", default=["none", "full", "selective"])
    parser.add_argument("--only", default="", help="cells whose name contains this")
    arguments = parser.parse_args()
    worst = 0.0
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        model = arguments.model
        if model is None:
            model = scratch / "small"
            run([sys.executable, str(ORACLE), "--size", "small", "--out", str(model)], {"HF_HUB_OFFLINE": "1"})
        model = endless(model, scratch / "endless")
        data = scratch / "data"
        run([str(arguments.graft), "--log", "warn", "data", "shapes", "--out", str(data), "--n", "16", "--seed", "0"])
        for batch in BATCHES:
            for policy in arguments.policies:
                for strategy in STRATEGIES:
                    name = f"{batch}_{policy}_{strategy}"
                    if arguments.only not in name:
                        continue
                    row, plan = measure(arguments.graft, scratch, settings(model, data, batch, policy, strategy))
                    phases = plan["cells"][0]["phases"]
                    measured = {phase: row[f"memory/{phase}_gib"] * GIB for phase in phases}
                    # The run's own prediction begins from the memory that this process had before.
                    process = row["memory/update_predicted_gib"] * GIB - (phases["update"]["peak"] - plan["process"])
                    peak = max(measured.values()) - process
                    predicted = plan["cells"][0]["peak"] - plan["process"]
                    error = abs(predicted - peak) / peak
                    worst = max(worst, error)
                    by_phase = " ".join(
                        f"{phase} {(phases[phase]['peak'] - plan['process']) / 2**20:.0f}/{(measured[phase] - process) / 2**20:.0f}"
                        for phase in phases
                    )
                    print(f"{name}={error:.4f}  # predicted/measured MiB: {by_phase}", flush=True)
    print(f"worst_error={worst:.4f}")


if __name__ == "__main__":
    main()
