#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Throughput of format + IoU through the plugin ABI against the Python pair, one thread each, and the longest hostile call.

    python rewards.py --tool reward_bench [--count N]

100,000 completions of 189 characters in the mean: half well formed, the others without </think>, with round brackets, cut, or noise;
batches of 16; best of 3 (Python) and of 5 rounds, by CPU time. The pair does what VLM-R1's rewards for Qwen2.5-VL do: the format
expression, and the IoU of the first box with the solution parsed for each completion; once with the image's size at hand, once as
VLM-R1 has it, opening the image. Prints speedup_vs_python and speedup_vs_vlm_r1 (of the slower of graft's two modes) and hostile_ms.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import string
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from PIL import Image

ANSWER = r"<answer>(.*?)</answer>"
BOX = r"\[(\d+),\s*(\d+),\s*(\d+),\s*(\d+)]"
FORMAT = r"<think>.*?</think>\s*<answer>.*?\{.*\[\d+,\s*\d+,\s*\d+,\s*\d+\].*\}.*?</answer>"
LENGTH = 200


def completions(count: int, seed: int) -> list[dict]:
    rng = random.Random(seed)
    out = []
    for _ in range(count):
        truth = [rng.randint(0, 100) for _ in range(2)]
        truth += [truth[0] + rng.randint(20, 100), truth[1] + rng.randint(20, 100)]
        guess = [max(0, value + rng.randint(-15, 15)) for value in truth]
        filler = "".join(rng.choices(string.ascii_lowercase + "   .,", k=LENGTH - 110))
        good = (
            f"<think>{filler} I look for the red circle and read its corners.</think>"
            f'<answer>{{"bbox_2d": [{guess[0]}, {guess[1]}, {guess[2]}, {guess[3]}]}}</answer>'
        )
        kind = rng.random()
        if kind < 0.5:
            text = good
        elif kind < 0.65:
            text = good.replace("</think>", "")
        elif kind < 0.8:
            text = good.replace("{", "(").replace("}", ")")
        elif kind < 0.9:
            text = good[: rng.randint(0, len(good))]
        else:
            text = "".join(rng.choices(string.printable, k=LENGTH))
        out.append(
            {
                "completion": text,
                "solution": f"<answer>{json.dumps(truth)}</answer>",
                "sizes": [224, 224, 224, 224],
            }
        )
    return out


def overlap(a: list, b: list) -> float:
    x1, y1 = max(a[0], b[0]), max(a[1], b[1])
    x2, y2 = min(a[2] - 1, b[2] - 1), min(a[3] - 1, b[3] - 1)
    both = (x2 - x1 + 1) * (y2 - y1 + 1) if x1 < x2 and y1 < y2 else 0
    return float(both) / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def iou_rewards(batch: list[dict], image_path: str | None) -> list[float]:
    rewards = []
    for item in batch:
        if image_path is None:
            width, height = item["sizes"][:2]
        else:
            width, height = Image.open(image_path).size
        input_width, input_height = item["sizes"][2:]
        truth = json.loads(re.findall(ANSWER, item["solution"], re.DOTALL)[-1].strip())
        reward = 0.0
        try:
            answer = re.search(ANSWER, item["completion"], re.DOTALL)
            if answer:
                found = re.search(BOX, answer.group(1).strip())
                if found:
                    box = [int(found.group(k)) for k in (1, 2, 3, 4)]
                    box = [
                        box[0] / input_width * width,
                        box[1] / input_height * height,
                        box[2] / input_width * width,
                        box[3] / input_height * height,
                    ]
                    reward = overlap(box, truth)
        except Exception:  # noqa: BLE001: as VLM-R1
            pass
        rewards.append(reward)
    return rewards


def format_rewards(batch: list[dict]) -> list[float]:
    return [1.0 if re.search(FORMAT, item["completion"], re.DOTALL) is not None else 0.0 for item in batch]


def rate(
    function: Callable[[list[dict]], tuple[float, float]], items: list[dict], rounds: int
) -> tuple[float, tuple[float, float]]:
    """Completions a CPU second, the best round's, and the sums of the scores."""
    best, sums = 0.0, (0.0, 0.0)
    for _ in range(rounds):
        begin, totals = time.process_time(), [0.0, 0.0]
        for start in range(0, len(items), 16):
            for k, value in enumerate(function(items[start : start + 16])):
                totals[k] += value
        best, sums = max(best, len(items) / (time.process_time() - begin)), (totals[0], totals[1])
    return best, sums


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tool", required=True)
    parser.add_argument("--count", type=int, default=100_000)
    args = parser.parse_args()
    items = completions(args.count, 0)
    print(f"characters={sum(len(item['completion']) for item in items) / len(items):.0f}")
    with tempfile.TemporaryDirectory() as folder:
        image = str(Path(folder, "image.png"))
        Image.new("RGB", (224, 224), (200, 30, 30)).save(image)
        path = Path(folder, "items.jsonl")
        path.write_text("".join(json.dumps(item) + "\n" for item in items))

        def pair(batch: list[dict], image_path: str | None = None) -> tuple[float, float]:
            return sum(format_rewards(batch)), sum(iou_rewards(batch, image_path))

        python, sums = rate(pair, items, 3)
        opening, _ = rate(lambda batch: pair(batch, image), items[: args.count // 4], 3)
        done = subprocess.run([args.tool, "rate", str(path)], capture_output=True, text=True, check=True)
    ours = dict(line.split("=") for line in done.stdout.splitlines())
    graft_sums = [float(value) for value in ours["parity_sums"].split(",")]
    if any(abs(a - b) > 1e-6 for a, b in zip(graft_sums, sums, strict=True)):
        print(f"the scores differ: graft {graft_sums}, Python {sums}", file=sys.stderr)
        return 1
    slower = min(float(ours["parity"]), float(ours["default"]))
    print(f"python_per_second={python:.0f}\nvlm_r1_per_second={opening:.0f}")
    print(f"parity_per_second={ours['parity']}\ndefault_per_second={ours['default']}")
    print(f"speedup_vs_python={slower / python:.1f}\nspeedup_vs_vlm_r1={slower / opening:.1f}", flush=True)
    return subprocess.run([args.tool, "hostile"], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
