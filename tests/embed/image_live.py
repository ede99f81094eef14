#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compare graft's images with PIL's and with transformers' image processor.

    python image_live.py --tool build/…/image_probe --model DIR …

1. Hundreds of files of every format (image_files.py): pixels equal to `Image.open(f).convert("RGB")`.
2. Some of them cut short: where PIL raises, graft refuses the file by its name; where it does not, pixels are
   equal, but graft may refuse a PNG that is cut within the checksums of its pixels, which PIL does not check.
3. smart_resize of each model's image processor: 20,000 sizes, errors included.
4. Resized and normalised pixel values of images of random sizes, within 1/255 of the processor's.
5. With --tiles, an internvl directory: the arrangement of tiles of as many sizes, and the pixel values of tiles
   of 448 pixels a side, again within 1/255.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import random
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image
from transformers import AutoImageProcessor
from transformers.models.glm4v.image_processing_glm4v import smart_resize as glm4v_resize
from transformers.models.qwen2_vl.image_processing_qwen2_vl import smart_resize as qwen2_vl_resize

import image_files
from pictures import File, picture

LIMITS = [(3136, 200704), (784, 12845056), (30000, 40000), (1, 3000), (28 * 28 * 16, 28 * 28 * 16)]


class Processor:
    """The image processor of a model's directory."""

    def __init__(self, model: Path) -> None:
        self.model = model
        config = json.loads((model / "preprocessor_config.json").read_text(encoding="utf-8"))
        self.is_glm4v = config["image_processor_type"] == "Glm4vImageProcessor"

    def open(self, least: int, most: int):
        """The processor with other limits."""
        if self.is_glm4v:
            limits = {"size": {"shortest_edge": least, "longest_edge": most}}
        else:
            limits = {"min_pixels": least, "max_pixels": most}
        return AutoImageProcessor.from_pretrained(self.model, **limits)

    def resized(self, height: int, width: int, least: int, most: int) -> tuple[int, int]:
        """The size to which it resizes; raises ValueError."""
        if self.is_glm4v:
            return glm4v_resize(2, height, width, 2, 28, least, most)
        return qwen2_vl_resize(height, width, 28, least, most)


def ask(tool: Path, model: Path, requests: list[dict]) -> list[dict]:
    """The answers of image_probe."""
    lines = "".join(json.dumps(request) + "\n" for request in requests)
    done = subprocess.run([tool, model], input=lines, capture_output=True, text=True, check=False)
    answers = [json.loads(line) for line in done.stdout.split("\n") if line]
    if done.returncode != 0 or len(answers) != len(requests):
        sys.exit(
            f"{tool} ended with {done.returncode}, {len(answers)} answers of {len(requests)}: {done.stderr}"
        )
    return answers


def pil_pixels(content: bytes) -> np.ndarray | None:
    """[height, width, 3], or None where PIL raises."""
    try:
        return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
    except Exception:  # noqa: BLE001 - PIL raises many kinds
        return None


def cut_short(rng: random.Random, files: list[File]) -> list[File]:
    """Six beginnings of every fourth file."""
    made = []
    for name, content in files[::4]:
        for length in sorted(rng.sample(range(12, len(content)), min(6, len(content) - 12))):
            stem, _, suffix = name.rpartition(".")
            made.append((f"{stem}_cut_{length}.{suffix}", content[:length]))
    return made


def compare_files(args: argparse.Namespace, folder: Path, files: list[File], whole: bool) -> int:
    requests = []
    for name, content in files:
        (folder / name).write_bytes(content)
        requests.append({"do": "decode", "file": str(folder / name), "out": str(folder / f"{name}.rgb")})
    problems = []
    refused = unchecked = 0
    for (name, content), request, answer in zip(
        files, requests, ask(args.tool, args.model[0], requests), strict=True
    ):
        expected = pil_pixels(content)
        if "error" in answer:
            refused += 1
            if expected is not None and not whole and name.endswith(".png"):
                unchecked += 1
            elif expected is not None:
                problems.append(f"{name}: graft refuses what PIL reads: {answer['error']}")
            elif name not in answer["error"]:
                problems.append(f"{name}: the message does not name the file: {answer['error']}")
        elif expected is None:
            problems.append(f"{name}: PIL raises, graft reads it")
        else:
            found = np.fromfile(request["out"], np.uint8).reshape(answer["height"], answer["width"], 3)
            if found.shape != expected.shape or not np.array_equal(found, expected):
                problems.append(
                    f"{name}: {found.shape} for {expected.shape}, {(found != expected).mean():.3%} differ"
                    if found.shape == expected.shape
                    else f"{name}: {found.shape} for {expected.shape}"
                )
    if whole and refused:
        problems.append(f"{refused} whole files refused")
    counts = Counter(name.rpartition(".")[2] for name, _ in files)
    print(
        f"{'whole' if whole else 'cut'} files: {len(files)} {dict(counts)}, {refused} refused "
        f"({unchecked} of them PNG without a checksum), {len(problems)} problems"
    )
    print("".join(f"  {problem}\n" for problem in problems[:40]), end="")
    return len(problems)


def random_size(rng: random.Random) -> tuple[int, int]:
    """Mostly photographs, also strips up to twice too long, sides under the factor, and halves of it."""
    kind = rng.randrange(10)
    if kind == 0:
        short = rng.randint(1, 12)
        sides = [short, rng.randint(1, 400 * short)]
    elif kind == 1:
        sides = [rng.randint(1, 28), rng.randint(1, 600)]
    elif kind == 2:
        sides = [14 * rng.randint(1, 40), 14 * rng.randint(1, 40)]  # between two multiples of 28
    elif kind == 3:
        short = rng.randint(1, 8)
        sides = [short, 200 * short + rng.randint(-1, 1)]  # at the limit
    else:
        sides = [round(math.exp(rng.uniform(math.log(20), math.log(800)))) for _ in range(2)]
    rng.shuffle(sides)
    return max(sides[0], 1), max(sides[1], 1)


def compare_sizes(args: argparse.Namespace, own: Processor, rng: random.Random) -> int:
    requests, expected = [], []
    for _ in range(args.sizes):
        height, width = random_size(rng)
        least, most = rng.choice(LIMITS)
        requests.append(
            {"do": "size", "height": height, "width": width, "min_pixels": least, "max_pixels": most}
        )
        try:
            new_height, new_width = own.resized(height, width, least, most)
            expected.append({"height": new_height, "width": new_width})
        except ValueError as error:
            expected.append(str(error))
    wrong, errors = [], Counter()
    for request, found, want in zip(requests, ask(args.tool, own.model, requests), expected, strict=True):
        if isinstance(want, str):
            errors[want.split(",")[0]] += 1
        if (want not in found.get("error", "")) if isinstance(want, str) else found != want:
            wrong.append(f"  {request}\n    transformers {want}\n    graft        {found}")
    print(f"{own.model.name}: smart_resize: {len(requests)} sizes, errors {dict(errors)}, {len(wrong)} differ")
    print("".join(f"{line}\n" for line in wrong[:10]), end="")
    if not errors:
        sys.exit("no size was refused: the sizes do not test that")
    return len(wrong)


def compare_pixels(args: argparse.Namespace, own: Processor, folder: Path, rng: random.Random) -> int:
    worst, wrong = 0.0, 0
    cases = []
    for number in range(args.images):
        path = folder / f"pixels_{number}.png"
        picture(rng, "RGB", (rng.randint(8, 700), rng.randint(8, 500))).save(path)
        least, most = rng.choice(LIMITS)
        cases.append(
            {"do": "pixels", "file": str(path), "out": f"{path}.f32", "min_pixels": least, "max_pixels": most}
        )
    for case, answer in zip(cases, ask(args.tool, own.model, cases), strict=True):
        processor = own.open(case["min_pixels"], case["max_pixels"])
        result = processor(images=[Image.open(case["file"]).convert("RGB")], return_tensors="pt")
        grid = result["image_grid_thw"][0].tolist()
        if answer.get("grid") != grid:
            print(f"  {case}: grid {answer} for {grid}")
            wrong += 1
            continue
        expected = result["pixel_values"].numpy()
        found = np.fromfile(case["out"], np.float32).reshape(expected.shape)
        # In the units of a picture whose values are 0 to 1: the largest of three standard deviations undone.
        difference = float(np.abs(found - expected).max()) * max(processor.image_std)
        worst = max(worst, difference)
        wrong += difference > 1 / 255
    print(
        f"{own.model.name}: pixel values: {len(cases)} images by {type(processor).__name__}, largest difference {worst:.2e} "
        f"({worst * 255:.4f} of a level), {wrong} over 1/255"
    )
    return wrong


def compare_tilings(args: argparse.Namespace, rng: random.Random) -> int:
    from transformers.models.got_ocr2.image_processing_got_ocr2 import get_optimal_tiled_canvas

    side = json.loads((args.tiles / "preprocessor_config.json").read_text(encoding="utf-8"))["size"]["height"]
    requests, expected = [], []
    for _ in range(args.sizes):
        height, width = random_size(rng)
        if rng.random() < 0.3:  # as good a fit for two arrangements, or nearly
            width = round(height * rng.choice([1, 2, 1 / 2, 2 / 3, 3 / 4, 5 / 2])) + rng.choice([0, 0, 1])
        least, most = rng.choice([(1, 12), (1, 12), (1, 6), (2, 9), (1, 1), (12, 12)])
        columns, rows = get_optimal_tiled_canvas((height, max(width, 1)), (side, side), least, most)
        limits = {"min_pixels": least * side**2, "max_pixels": most * side**2}
        requests.append({"do": "size", "height": height, "width": max(width, 1), **limits})
        expected.append({"height": rows * side, "width": columns * side})
    answers = ask(args.tool, args.tiles, requests)
    wrong = [each for each in zip(requests, answers, expected, strict=True) if each[1] != each[2]]
    print(f"arrangements of tiles: {len(requests)} sizes, {len(wrong)} differ")
    print("".join(f"  {request}: {found} for {want}\n" for request, found, want in wrong[:10]), end="")
    return len(wrong)


def compare_tiles(args: argparse.Namespace, folder: Path, rng: random.Random) -> int:
    """Pixel values of tiles of the published size; graft has them patch by patch, four patches to a token."""
    model = folder / "tiles"
    shutil.copytree(args.tiles, model, ignore=shutil.ignore_patterns("golden"))
    config = json.loads((model / "preprocessor_config.json").read_text(encoding="utf-8"))
    config["size"] = {"height": 448, "width": 448}
    (model / "preprocessor_config.json").write_text(json.dumps(config), encoding="utf-8")
    processor = AutoImageProcessor.from_pretrained(model)
    cases = []
    for number in range(args.images // 2):
        path = folder / f"tiles_{number}.png"
        picture(rng, "RGB", (rng.randint(8, 1600), rng.randint(8, 1200))).save(path)
        limits = {"min_pixels": 1, "max_pixels": 12 * 448**2}
        cases.append({"do": "pixels", "file": str(path), "out": f"{path}.f32", **limits})
    worst, wrong, tiles = 0.0, 0, 0
    for case, answer in zip(cases, ask(args.tool, model, cases), strict=True):
        image = Image.open(case["file"]).convert("RGB")
        expected = processor(images=[image], crop_to_patches=True, return_tensors="np")["pixel_values"]
        tiles += len(expected)
        found = np.fromfile(case["out"], np.float32)
        if answer.get("grid") != [len(expected), 32, 32] or found.size != expected.size:
            print(f"  {case}: {answer} for {expected.shape}")
            wrong += 1
            continue
        cut = found.reshape(len(expected), 16, 16, 2, 2, 3, 14, 14)  # token row and column, patch row and column
        planes = cut.transpose(0, 5, 1, 3, 6, 2, 4, 7).reshape(expected.shape)
        difference = float(np.abs(planes - expected).max()) * max(processor.image_std)
        worst = max(worst, difference)
        wrong += difference > 1 / 255
    print(
        f"pixel values: {tiles} tiles of {len(cases)} images by {type(processor).__name__}, largest difference "
        f"{worst:.2e} ({worst * 255:.4f} of a level), {wrong} images over 1/255"
    )
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tool", type=Path, required=True)
    parser.add_argument(
        "--model", type=Path, nargs="+", required=True, help="directories of models with patches of 14 pixels"
    )
    parser.add_argument("--tiles", type=Path, help="an internvl directory")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sizes", type=int, default=20000)
    parser.add_argument("--images", type=int, default=40)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    rng = random.Random(args.seed)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        files = image_files.all_files(rng)
        problems = compare_files(args, folder, files, True)
        problems += compare_files(args, folder, cut_short(rng, files), False)
        for model in args.model:
            problems += compare_pixels(args, Processor(model), folder, rng)
        if args.tiles:
            problems += compare_tiles(args, folder, rng)
    for model in args.model:
        problems += compare_sizes(args, Processor(model), rng)
    if args.tiles:
        problems += compare_tilings(args, rng)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
