#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Memory and time of checkpoint policies.

    python checkpoint.py --tool checkpoint [--rounds N] [--sequences N] [--memory-only]

Forward and backward under LoRA of the language model of the `small` fixture (96 million parameters), 16 sequences of 300 tokens,
each policy in processes of its own that take turns, so that a noisy machine hits all alike. Prints name=value lines:
POLICY_memory_ratio (peak of tensors beyond the weights, over that of none), budget_N_memory_ratio for a limit of N % of none's
peak, given in bytes, and POLICY_time_ratio (medians of wall time over none's; POLICY_cpu_ratio beside it).
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
LENGTH = 300
LIMITS = (0.3, 0.5, 0.7)
#: NAME -> (policy, parameters)
POLICIES = {
    "full": ("full", {}),
    "selective": ("selective", {"part": "mlp"}),
    "selective_attention": ("selective", {"part": "attention"}),
    "every_2nd": ("every_nth", {"n": 2}),
    "offload": ("offload", {}),
}


class Bench:
    """What is measured: a program, a model and a batch."""

    def __init__(self, tool: Path, model: Path, sequences: int) -> None:
        self.tool, self.model, self.sequences = tool, model, sequences

    def measure(self, policy: str, params: dict, rounds: int) -> dict:
        options = {"policy": policy, "params": params, "sequences": self.sequences, "length": LENGTH, "rounds": rounds}
        command = [str(self.tool), str(self.model), json.dumps(options)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            sys.exit(f"{policy}: {done.stderr}")
        return json.loads(done.stdout)


def report_memory(bench: Bench) -> int:
    """Prints the ratios; gives the peak of none in bytes."""
    peak = bench.measure("none", {}, 0)["bytes"]
    print(f"none_peak_mib={peak / 2**20:.1f}")
    for name, (policy, params) in POLICIES.items():
        print(f"{name}_memory_ratio={bench.measure(policy, params, 0)['bytes'] / peak:.4f}", flush=True)
    for limit in LIMITS:
        found = bench.measure("budget", {"memory": str(int(limit * peak))}, 0)["bytes"] / peak
        print(f"budget_{limit * 100:.0f}_memory_ratio={found:.4f}  # {found / limit:.3f} of the limit", flush=True)
    return peak


def report_times(bench: Bench, rounds: int, peak: int) -> None:
    sides = {"none": ("none", {}), "full": POLICIES["full"], "budget": ("budget", {"memory": str(int(0.5 * peak))})}
    wall: dict[str, list[float]] = {name: [] for name in sides}
    cpu: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, (policy, params) in sides.items():
            found = bench.measure(policy, params, 1)
            wall[name].extend(found["seconds"])
            cpu[name].extend(found["cpu_seconds"])
    for name in sides:
        print(f"{name}_seconds={statistics.median(wall[name]):.2f}")
        if name != "none":
            print(f"{name}_time_ratio={statistics.median(wall[name]) / statistics.median(wall['none']):.3f}")
            print(f"{name}_cpu_ratio={statistics.median(cpu[name]) / statistics.median(cpu['none']):.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tool", type=Path, required=True, help="the program checkpoint")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each side")
    parser.add_argument("--sequences", type=int, default=16, help="of 300 tokens, in the batch")
    parser.add_argument("--memory-only", action="store_true", help="leave times out")
    parser.add_argument("--model", type=Path, help="a directory of the small fixture; made if absent")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        model = arguments.model
        if model is None:
            model = Path(scratch) / "small"
            subprocess.run([sys.executable, str(ORACLE), "--size", "small", "--out", str(model)], check=True,
                           capture_output=True, env={**os.environ, "HF_HUB_OFFLINE": "1"})
        bench = Bench(arguments.tool, model, arguments.sequences)
        peak = report_memory(bench)
        if not arguments.memory_only:
            report_times(bench, arguments.rounds, peak)


if __name__ == "__main__":
    main()
