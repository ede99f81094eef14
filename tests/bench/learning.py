#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Learning curves of PEFT strategies on the demo: GRPO from its supervised checkpoint, held-out mean IoU every few steps.

    learning.py strategies   LoRA (r 8, alpha 32) against full fine-tuning. Every learning rate of its grid with seed 0,
                             the two best of each with seeds 0, 1, 2; each then stands with the rate whose mean held-out IoU
                             at the end is highest
    learning.py ranks        LoRA with r in RANKS at alpha = 4 r and at alpha = 32, and alpha in ALPHAS at r = 8, seed 0

A run is one `graft train` in a directory of its own under --out, and is not repeated if it is complete there. Figures are
printed as name=value; curves are drawn as PNG where matplotlib is at hand. Everything is counted in optimizer steps, so
a busy machine changes nothing but the wait.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

ROOT = Path(__file__).resolve().parents[2]
FULL_GRID = (1e-4, 2e-4, 5e-4, 1e-3)  # at 2e-3 the first updates ruin the model: IoU 0.46 -> 0.17 in four steps
LORA_GRID = (5e-4, 1e-3, 2e-3, 5e-3)
SEEDS = (0, 1, 2)
RANKS = (1, 2, 4, 8, 16, 32)
ALPHAS = (8, 16, 32, 64, 128)
RANK_LEARNING_RATE = 2e-3
TOLERATED = 0.02  # mean IoU below full fine-tuning's that still counts as having reached it


@dataclass(frozen=True)
class Run:
    """One training: `rank` 0 is full fine-tuning."""

    rank: int
    alpha: float
    learning_rate: float
    seed: int

    @property
    def name(self) -> str:
        method = f"lora_r{self.rank}_alpha{self.alpha:g}" if self.rank else "full"
        return f"{method}_lr{self.learning_rate:g}_seed{self.seed}"

    def peft(self) -> dict[str, object]:
        if not self.rank:
            return {"strategy": "full"}
        return {"strategy": "lora", "params": {"r": self.rank, "alpha": self.alpha}, "target_modules": "all-linear"}


Curve = list[tuple[int, float]]  # (optimizer step, held-out mean IoU)


class Laboratory:
    """Runs trainings and remembers their curves."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options

    def command(self, run: Run, directory: Path) -> list[str]:
        data = self.options.data
        return [
            self.options.tool, "train", "--config", "configs/demo/grpo.json", f"seed={run.seed}", f"output_dir={directory}",
            f"peft={json.dumps(run.peft())}", f"optimizer.learning_rate={run.learning_rate:g}",
            f"data.train={json.dumps([f'{data}/train/train.jsonl'])}",
            f"data.eval={json.dumps([f'{data}/heldout/train.jsonl'])}",
            f"train.steps={self.options.steps}", f"train.eval_steps={self.options.eval_steps}", "train.save_steps=0",
            "eval.batch_size=64", "rewards=" + json.dumps([{"name": "iou"}, {"name": "format", "weight": 0.5}]),
        ]

    def curve(self, run: Run) -> Curve:
        """Trains unless that was done before. Raises RuntimeError if the training fails."""
        directory = Path(self.options.out) / run.name
        if not (directory / "done").exists():
            shutil.rmtree(directory, ignore_errors=True)
            environment = {**os.environ, "OMP_NUM_THREADS": str(self.options.threads)}
            result = subprocess.run(self.command(run, directory), cwd=ROOT, env=environment, capture_output=True, text=True,
                                    check=False)
            if result.returncode not in (0, 5):  # 5: diverged, which is a result
                raise RuntimeError(f"{run.name}: exit code {result.returncode}\n{result.stderr[-2000:]}")
            for large in ("model", "adapter"):
                shutil.rmtree(directory / large, ignore_errors=True)
            (directory / "done").write_text(f"{result.returncode}\n")
        lines = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
        points = [(line["step"], line["eval_iou"]) for line in lines if "eval_iou" in line]
        print(f"{run.name}: " + " ".join(f"{iou:.3f}" for _, iou in points), file=sys.stderr, flush=True)
        return points

    def curves(self, runs: list[Run]) -> dict[Run, Curve]:
        with ThreadPoolExecutor(self.options.jobs) as pool:
            return dict(zip(runs, pool.map(self.curve, runs)))


def final(curve: Curve) -> float:
    """A run that diverged ends with nothing."""
    return curve[-1][1] if curve else 0.0


def mean_curve(curves: list[Curve]) -> Curve:
    return [(points[0][0], fmean(iou for _, iou in points)) for points in zip(*curves)]


def steps_to(curve: Curve, iou: float) -> int | None:
    return next((step for step, value in curve if value >= iou), None)


def best_rate(lab: Laboratory, rank: int, alpha: float) -> tuple[float, dict[Run, Curve]]:
    grid = lab.curves([Run(rank, alpha, rate, 0) for rate in (LORA_GRID if rank else FULL_GRID)])
    two_best = sorted(grid, key=lambda run: final(grid[run]), reverse=True)[:2]
    repeated = {run.learning_rate: lab.curves([Run(rank, alpha, run.learning_rate, seed) for seed in SEEDS])
                for run in two_best}
    rate = max(repeated, key=lambda rate: fmean(map(final, repeated[rate].values())))
    name = f"lora_r{rank}" if rank else "full"
    for run, curve in grid.items():
        print(f"{name}_lr{run.learning_rate:g}={final(curve):.4f}")
    print(f"{name}_learning_rate={rate:g}")
    return rate, repeated[rate]


def strategies(lab: Laboratory) -> None:
    full_rate, full = best_rate(lab, 0, 0)
    lora_rate, lora = best_rate(lab, 8, 32)
    for name, curves in (("full", full), ("lora_r8", lora)):
        for run, curve in curves.items():
            print(f"{name}_iou_seed{run.seed}={final(curve):.4f}")
        print(f"{name}_iou={fmean(map(final, curves.values())):.4f}")
    bar = fmean(map(final, full.values())) - TOLERATED
    print(f"full_steps={steps_to(mean_curve(list(full.values())), bar)}  # first evaluation at or above {bar:.4f}")
    print(f"lora_steps={steps_to(mean_curve(list(lora.values())), bar)}")
    groups = {f"full fine-tuning, learning rate {full_rate:g}": list(full.values()),
              f"LoRA r = 8, alpha = 32, learning rate {lora_rate:g}": list(lora.values())}
    draw(lab, "lora_and_full.png", groups, "GRPO on the demo: three seeds each, and their mean")


def ranks(lab: Laboratory) -> None:
    rate = RANK_LEARNING_RATE
    same_scale = lab.curves([Run(rank, 4 * rank, rate, 0) for rank in RANKS])
    alphas = lab.curves([Run(8, alpha, rate, 0) for alpha in ALPHAS])
    same_alpha = lab.curves([Run(rank, 32, rate, 0) for rank in RANKS])
    print(f"learning_rate={rate:g}")
    for title, curves in (("scale4", same_scale), ("alpha32", same_alpha), ("r8", alphas)):
        for run, curve in curves.items():
            print(f"{title}_r{run.rank}_alpha{run.alpha:g}={final(curve):.4f}")
    draw(lab, "ranks.png", {f"r = {run.rank}": [curve] for run, curve in same_scale.items()},
         f"LoRA on the demo, alpha = 4 r, learning rate {rate:g}")
    draw(lab, "alphas.png", {f"alpha = {run.alpha:g}": [curve] for run, curve in alphas.items()},
         f"LoRA on the demo, r = 8, learning rate {rate:g}")


def draw(lab: Laboratory, name: str, groups: dict[str, list[Curve]], title: str) -> None:
    """One colour a group: thin lines for its runs, a thick one for their mean."""
    try:
        import matplotlib
    except ImportError:
        print(f"no matplotlib: {name} is not drawn", file=sys.stderr)
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4), dpi=110, layout="constrained")
    for index, (label, curves) in enumerate(groups.items()):
        colour = f"C{index}"
        if len(curves) > 1:
            for curve in curves:
                axes.plot(*zip(*curve), color=colour, linewidth=0.7, alpha=0.6)
        axes.plot(*zip(*mean_curve(curves)), color=colour, linewidth=2, label=label)
    axes.set(xlabel="optimizer steps", ylabel="held-out mean IoU", title=title)
    axes.grid(alpha=0.3)
    axes.legend()
    path = Path(lab.options.out) / name
    figure.savefig(path)
    pyplot.close(figure)
    print(f"drawn: {path}", file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    experiments = {"strategies": strategies, "ranks": ranks}
    parser.add_argument("experiment", choices=sorted(experiments))
    parser.add_argument("--tool", default="build/release/bin/graft", help="the graft command")
    parser.add_argument("--data", default="build/demo", help="directory with the demo's train/ and heldout/ (made if absent)")
    parser.add_argument("--out", default="build/learning")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--eval-steps", type=int, default=10)
    parser.add_argument("--jobs", type=int, default=2, help="trainings at a time")
    parser.add_argument("--threads", type=int, default=1, help="of each training")
    options = parser.parse_args()
    os.chdir(ROOT)
    for name, n, seed in (("train", 4000, 100), ("heldout", 512, 200)):
        if not Path(options.data, name).exists():
            subprocess.run([options.tool, "data", "shapes", "--out", f"{options.data}/{name}", "--n", str(n), "--seed",
                            str(seed)], check=True)
    experiments[options.experiment](Laboratory(options))


if __name__ == "__main__":
    main()
