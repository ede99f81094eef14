#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Rewards with parity=vlm_r1 against tests/oracle/vlm_r1_rewards.py on generated completions.

    python rewards_live.py --tool reward_scores [--count N] [--seed S] [--only NAME …]

Each reward and each of its VLM-R1 variants scores N completions (50,000): well formed ones, ones with parts cut, doubled and moved,
nested tags, every kind of Unicode, and repeated pieces that make regular expressions backtrack, as long as Python's bears it. Scores
are equal if they differ by at most 1e-12; where VLM-R1 raises, the reward must have no score.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "oracle"))
import vlm_r1_rewards as oracle  # noqa: E402
from reward_texts import cases  # noqa: E402


def tagged(solution: str) -> str:
    return f"<answer> {solution} </answer>"


@dataclass
class Variant:
    """One reward in one of its VLM-R1 forms, and the oracle's version."""

    reward: str
    params: dict
    expected: Callable[[dict], float]

    @property
    def name(self) -> str:
        return " ".join([self.reward, *map(str, self.params.values())])


def variants() -> list[Variant]:
    parity = {"parity": "vlm_r1"}
    out = []
    for module in ("qwen", "internvl", "glm"):
        out.append(
            Variant(
                "iou",
                {**parity, "module": module},
                lambda c, m=module: oracle.iou(c["completion"], tagged(c["solution"]), m, c["sizes"]),
            )
        )
    for module in ("registry", "qwen", "internvl", "glm"):
        out.append(
            Variant(
                "format",
                {**parity, "module": module},
                lambda c, m=module: oracle.format_reward(c["completion"], m),
            )
        )
    for metric in ("ap", "ap50", "od_length", "weighted_sum"):
        out.append(
            Variant(
                "detection",
                {**parity, "metric": metric},
                lambda c, m=metric: oracle.detection(c["completion"], tagged(c["solution"]), m),
            )
        )
    out.append(
        Variant(
            "accuracy",
            {"method": "map"},
            lambda c: oracle.detection(c["completion"], tagged(c["solution"]), "map"),
        )
    )
    out.append(Variant("repetition", parity, lambda c: oracle.repetition(c["completion"])))
    out.append(Variant("length", parity, lambda c: oracle.cosine_length(c["tokens"])))
    for reward, function in (
        ("multiple_choice", oracle.multiple_choice),
        ("yes_no", oracle.yes_no),
        ("exact_match", oracle.all_match),
        ("numeric", oracle.numeric),
        ("ratio", oracle.text_ratio),
        ("math", oracle.math_reward),
    ):
        out.append(Variant(reward, parity, lambda c, f=function: f(c["completion"], tagged(c["solution"]))))
    out.append(
        Variant("accuracy", {}, lambda c: oracle.default_accuracy(c["completion"], tagged(c["solution"])))
    )
    return out


def compare(tool: str, variant: Variant, items: list[dict]) -> tuple[list[str], int, float]:
    """Differences, how many scores are not 0, and the oracle's seconds."""
    lines = []
    for start in range(0, len(items), 5000):
        lines.append(
            json.dumps(
                {"reward": variant.reward, "params": variant.params, "items": items[start : start + 5000]}
            )
        )
    done = subprocess.run([tool], input="\n".join(lines) + "\n", capture_output=True, text=True, check=False)
    if done.returncode != 0:
        return [f"the tool failed: {done.stderr[-500:]}"], 0, 0.0
    outcomes = [outcome for line in done.stdout.splitlines() for outcome in json.loads(line)]
    begin = time.process_time()
    differences, n_scored = [], 0
    for item, (score, status) in zip(items, outcomes, strict=True):
        try:
            expected: float | None = variant.expected(item)
        except oracle.Raised:
            expected = None
        same = (
            (score is None and status == 3)
            if expected is None
            else score is not None and abs(score - expected) <= 1e-12
        )
        n_scored += expected not in (None, 0)
        if not same:
            differences.append(f"{json.dumps(item)}: graft {score} (status {status}), VLM-R1 {expected}")
    return differences, n_scored, time.process_time() - begin


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tool", required=True)
    parser.add_argument("--count", type=int, default=50_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", default=[])
    args = parser.parse_args()
    failed = 0
    for variant in variants():
        if args.only and variant.reward not in args.only:
            continue
        items = cases(
            random.Random(f"{args.seed} {variant.name}"),
            "detection" if variant.name == "accuracy map" else variant.reward,
            args.count,
        )
        differences, n_scored, seconds = compare(args.tool, variant, items)
        print(
            f"{variant.name}: {len(items)} completions, {n_scored} scores other than 0, {len(differences)} differences ({seconds:.1f} s of Python)",
            flush=True,
        )
        for difference in differences[:5]:
            print("  " + difference, flush=True)
        failed += len(differences)
        if n_scored < len(items) // 50:
            print(f"  only {n_scored} scores are not 0: the completions test too little")
            failed += 1
    print(f"{failed} differences")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
