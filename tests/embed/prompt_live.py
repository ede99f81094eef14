#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compare the prompts of random conversations with transformers' processor.

    python prompt_live.py --tool build/…/image_probe --model DIR …

Records of VLM-R1's JSONL with several rounds, system turns, several images between words, before all text or
without placeholders, and none at all, under both values of data.image_position: text and token ids equal to
those of `AutoProcessor.apply_chat_template`, which gets the same conversation in transformers' form.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import warnings
from pathlib import Path

from PIL import Image
from transformers import AutoProcessor

from image_live import ask
from pictures import picture

WORDS = [
    "Where",
    "is",
    "the",
    "red\ncircle",
    "in",
    "[12, 34]",
    '{"a": 1}',
    "你好",
    "é",
    "?",
    "Compare",
    "<b>",
    "\n\n",
]


def words(rng: random.Random) -> str:
    return " ".join(rng.choices(WORDS, k=rng.randint(1, 6)))


def question(rng: random.Random, n_images: int, style: str) -> str:
    """Words with `n_images` placeholders between them, or before them with white space, or without."""
    if style == "none":
        return words(rng)
    if style == "leading":
        return "".join(rng.choice(["<image>", "<image>\n", " <image>"]) for _ in range(n_images)) + words(rng)
    parts = [
        words(rng),
        *(rng.choice(["<image>", " <image> ", f"<image>{words(rng)}"]) for _ in range(n_images)),
    ]
    return "".join(parts) + rng.choice(["", words(rng)])


def random_record(rng: random.Random, names: list[str]) -> tuple[dict, list[list[str]], str]:
    """A record, the images of each question, and the style of its placeholders."""
    style = rng.choice(["none", "leading", "between", "between"])
    rounds = rng.randint(1, 3)
    images = [rng.choices(names, k=rng.choice([0, 1, 1, 2, 3])) for _ in range(rounds)]
    if style == "none":  # then all belong to the first question
        images = [sum(images, [])] + [[] for _ in range(rounds - 1)]
    turns = [{"from": "system", "value": words(rng)}] if rng.random() < 0.3 else []
    for i in range(rounds):
        turns.append({"from": "human", "value": question(rng, len(images[i]), style)})
        if i + 1 < rounds or rng.random() < 0.5:
            turns.append({"from": "gpt", "value": words(rng)})
    files = sum(images, [])
    record = {"conversations": turns}
    if files or rng.random() < 0.5:
        record["image"] = files[0] if len(files) == 1 else files
    return record, images, style


def content(text: str, images: list[Image.Image], first: bool) -> list[dict]:
    """A user's turn in transformers' form."""
    pictures = [{"type": "image", "image": image} for image in images]
    if first or "<image>" not in text:
        rest = text.replace("<image>", "")
        return pictures + ([{"type": "text", "text": rest}] if rest else [])
    parts: list[dict] = []
    for piece in text.split("<image>"):
        if piece:
            parts.append({"type": "text", "text": piece})
        if pictures:
            parts.append(pictures.pop(0))
    return parts


def conversation(
    record: dict, images: list[list[Image.Image]], first: bool, system: str | None, template: str
) -> list[dict]:
    turns = record["conversations"]
    if turns[-1]["from"] == "gpt":
        turns = turns[:-1]
    messages = []
    if system is not None and turns[0]["from"] != "system":
        messages.append({"role": "system", "content": [{"type": "text", "text": system}]})
    left = list(images)
    for number, turn in enumerate(turns):
        role = {"human": "user", "gpt": "assistant", "system": "system"}[turn["from"]]
        text = turn["value"]
        if role == "user":
            own = left.pop(0)
            if number + 1 == len(turns):
                before, after = template.split("{question}")
                # Images before all text come before the template's words too.
                text = before + (text.replace("<image>", "") if first else text) + after
            messages.append({"role": role, "content": content(text, own, first)})
        else:
            messages.append({"role": role, "content": [{"type": "text", "text": text}]})
    return messages


def compare(args: argparse.Namespace, model: Path) -> int:
    """Compare the prompts of one model's directory; return how many differ."""
    rng = random.Random(args.seed)
    processor = AutoProcessor.from_pretrained(model)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        pictures = {}
        for i, size in enumerate([(56, 56), (60, 90), (140, 28), (33, 71)]):
            pictures[f"{i}.png"] = picture(rng, "RGB", size)
            pictures[f"{i}.png"].save(folder / f"{i}.png")
        requests, expected = [], []
        for _ in range(args.count):
            record, names, style = random_record(rng, list(pictures))
            system = rng.choice([None, None, "Answer in {braces}."])
            template = rng.choice(["{question}", "{question} Think first.", "Task: {question}"])
            position = rng.choice(["interleaved", "first"])
            request = {
                "do": "prompt",
                "record": record,
                "image_root": str(folder),
                "image_position": position,
                "question_template": template,
            }
            requests.append(request | ({} if system is None else {"system_prompt": system}))
            first = position == "first" or style != "between"
            messages = conversation(
                record, [[pictures[name] for name in some] for some in names], first, system, template
            )
            result = processor.apply_chat_template(
                messages, add_generation_prompt=True, tokenize=True, return_dict=True
            )
            text = processor.apply_chat_template(messages, add_generation_prompt=True)
            expected.append((text, result["input_ids"][0]))
        wrong = []
        for request, answer, (text, ids) in zip(
            requests, ask(args.tool, model, requests), expected, strict=True
        ):
            if answer.get("text") != text or answer.get("ids") != list(ids):
                wrong.append(
                    f"  {json.dumps(request)}\n    transformers {text!r}\n"
                    f"    graft        {answer.get('text', answer)!r}"
                )
        several = sum(
            isinstance(r["record"].get("image"), list) and len(r["record"]["image"]) > 1 for r in requests
        )
        without = sum(not r["record"].get("image") for r in requests)
        print(
            f"{model.name}: {len(requests)} prompts, {several} with several images, {without} without, "
            f"{len(wrong)} differ"
        )
        print("".join(f"{line}\n" for line in wrong[:5]), end="")
    return len(wrong)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tool", type=Path, required=True)
    parser.add_argument("--model", type=Path, nargs="+", required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=400)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    return 1 if sum(compare(args, model) for model in args.model) else 0


if __name__ == "__main__":
    sys.exit(main())
