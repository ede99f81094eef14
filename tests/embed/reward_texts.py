# SPDX-License-Identifier: Apache-2.0
"""Generated completions for rewards_live.py: well formed ones and what models and adversaries make of them."""

from __future__ import annotations

import json
import random
from collections.abc import Callable

SPACES = [" ", "", "  ", "\n", "\t", "\u00a0", "\u3000", "\u2028", "\x1c", "\r\n", "\u200b", "\u0085"]
DIGITS = ["0", "٠", "०", "０", "𝟎", "᱐"]
UNICODE = [
    "é",
    "ß",
    "İ",
    "ı",
    "Σ",
    "ς",
    "ΑΣ",
    "K",
    "ﬁ",
    "ǆ",
    "ŉ",
    "中",
    "答案",
    "是",
    "🐈",
    "\u0301",
    "ʰ",
    "\x00",
    "\ufeff",
    "Å",
    "Ა",
    "ᾳ",
]
LABELS = ["cat", "dog", "Cat", "a red car", "猫", "", "zebra", "none", "x.y"]
WORDS = "the man with a yellow jacket to left is not Yes no none Answer is A. B, C D. I think or (E) 3 cats 0.5 1/2".split()
SIZES = [(640, 480, 644, 476), (100, 50, 56, 28), (28, 28, 28, 28), (1333, 777, 1316, 784)]
HOSTILE = [
    "<think></think>",
    "<answer>",
    "</answer>",
    "{",
    "[1,2,3,4]",
    "{[1,2,3,4]}",
    "[1,",
    "</think> ",
    "```json",
    "```",
    "[{",
    '"label"',
    "<",
]


def number(rng: random.Random, top: int = 120) -> str:
    kind = rng.random()
    value = rng.randint(0, top)
    if kind < 0.8:
        return str(value)
    if kind < 0.88:
        zero = ord(rng.choice(DIGITS))
        return "".join(chr(zero + int(c)) for c in str(value))
    return rng.choice(
        [f"{value}.5", f"-{value}", f"{value}e1", "007", "1" * rng.choice([20, 400]), "", "x", f"+{value}"]
    )


def box(rng: random.Random) -> str:
    a, b = rng.randint(0, 60), rng.randint(0, 60)
    if rng.random() < 0.6:
        c, d = a + rng.randint(0, 70), b + rng.randint(0, 70)
        gap = rng.choice(["", " ", " ", "\n"])
        return f"[{a},{gap}{b},{gap}{c},{gap}{d}]"
    return (
        "["
        + ",".join(
            rng.choice(SPACES[:9] if rng.random() < 0.5 else [""]) + number(rng)
            for _ in range(rng.choice([4, 4, 4, 3, 5]))
        )
        + "]"
    )


def entry(rng: random.Random) -> str:
    kind = rng.random()
    label = json.dumps(rng.choice(LABELS[:3] if kind < 0.7 else LABELS), ensure_ascii=rng.random() < 0.5)
    if kind < 0.8:
        return f'{{"bbox_2d": {box(rng)}, "label": {label}}}'
    return rng.choice(
        [
            f'{{"bbox_2d": {box(rng)}}}',
            f'{{"label": {label}}}',
            f'{{"bbox_2d": {box(rng)}, "label": {rng.choice(["1", "1.0", "true", "null", "[1]", "{}", "NaN"])}}}',
            f'{{"bbox_2d": ["a", 1, 2, 3], "label": {label}}}',
            f'{{"bbox_2d": [1e999, 1, 2, 3], "label": {label}}}',
            f'{{"bbox_2d": [true, 1, 2.5, 3e1], "label": {label}, "label": "dog"}}',
            "3",
            "null",
            "{}",
            box(rng),
            '"cat"',
        ]
    )


def entries(rng: random.Random) -> str:
    items = [entry(rng) for _ in range(rng.choice([0, 1, 1, 2, 2, 3, 4, 6]))]
    if items and rng.random() < 0.3:
        items += [rng.choice(items)]
    text = "[" + rng.choice([", ", ",", ",\n"]).join(items) + "]"
    kind = rng.random()
    if kind < 0.75:
        return f"```json\n{text}\n```"
    return rng.choice(
        [
            text,
            f"```\n{text}```",
            f"```json{text}",
            "None",
            "none.",
            f"```json\n{text},\n```",
            "```json\n{}\n```",
            f"``` json {text} ```",
            "```json nan ```",
        ]
    )


def scalar(rng: random.Random) -> str:
    return rng.choice(
        [
            number(rng),
            f"{number(rng)}.",
            "yes",
            "No",
            "Yes, it is",
            "A",
            "(B)",
            "B.",
            "C",
            "I think a or C.",
            f"{number(rng)} cats",
            "\\boxed{\\frac{1}{2}}",
            "\\boxed{0.5}",
            "\\frac12",
            "1/2",
            "50%",
            "\\boxed{x=3}",
            "\\boxed{\\sqrt3}",
            "\\boxed{3\\text{ cm}}",
            "1,234",
            "-7",
            "−7",
            "inf",
            "nan",
            "1_000",
            ".5",
            "5.",
            "red car",
            "red cat",
            rng.choice(LABELS),
            " ".join(rng.choices(WORDS, k=rng.randint(1, 8))),
            rng.choice(UNICODE) + rng.choice(WORDS) + rng.choice(UNICODE),
            "\\fbox{2}",
            "$\\dfrac{3}{4}$",
            "2, 3",
            "1,2,3/4",
            "\\boxed 7$ .",
            "",
            "90^\\circ",
        ]
    )


def choice(rng: random.Random) -> str:
    letter, other = rng.choices("ABCDE", k=2)
    text = rng.choice(
        [
            "{0}",
            "{0}.",
            "({0})",
            "I think {0}.",
            "{0}; or {1}!",
            "The answer is {0}.",
            "答案是{0}。",
            "{0}, {1}, not C.",
            "it should be {1}? no: {0}",
        ]
    )
    text = text.format(letter, other)
    return (phrase(rng) + rng.choice([" ", ". "]) if rng.random() < 0.3 else "") + (
        text.lower() if rng.random() < 0.2 else text
    )


def phrase(rng: random.Random) -> str:
    words = rng.choices(WORDS, k=rng.choice([0, 1, 3, 7, 12, 20]))
    if rng.random() < 0.2:
        words = words * rng.randint(1, 3)
    if rng.random() < 0.3:
        words.insert(rng.randint(0, len(words)), rng.choice(UNICODE))
    return rng.choice([" ", " ", "\n", "  "]).join(words)


def mutated(rng: random.Random, text: str) -> str:
    """Cuts, doubles, moves and replaces parts."""
    for _ in range(rng.choice([0, 0, 1, 1, 2, 4])):
        a = rng.randint(0, len(text))
        b = min(len(text), a + rng.choice([1, 1, 3, 8, 30]))
        kind = rng.random()
        if kind < 0.25:
            text = text[:a] + text[b:]
        elif kind < 0.4:
            text = text[:b] + text[a:]
        elif kind < 0.5:
            text = text[:a]
        elif kind < 0.65:
            text = text[:a] + rng.choice(SPACES + UNICODE + HOSTILE) + text[a:]
        elif kind < 0.75:
            text = (
                text[:a]
                + rng.choice(["<think>", "</think>", "<answer>", "</answer>", "```", "```json"])
                + text[a:]
            )
        elif kind < 0.85:
            c = rng.randint(0, len(text))
            text = text[:a] + text[b:c] + text[a:b] + text[c:] if b <= c else text[:a] + text[b:]
        else:
            text = (
                text.swapcase()
                if rng.random() < 0.1
                else text[:a] + rng.choice("[]{}(),.:\"'<>/ \n\r") + text[b:]
            )
    return text


def hostile(rng: random.Random, repeats: int) -> str:
    parts = [rng.choice(HOSTILE) * rng.randint(1, repeats) for _ in range(rng.randint(1, 3))]
    return (
        rng.choice(["", "<think>", "<think></think><answer>"])
        + rng.choice(["", phrase(rng)]).join(parts)
        + rng.choice(["", "</answer>", "}", "x"])
    )


def completion(rng: random.Random, answer: Callable[[random.Random], str]) -> str:
    kind = rng.random()
    if kind < 0.06:
        return hostile(rng, 12)
    if kind < 0.10:
        return answer(rng)
    if kind < 0.13:
        return phrase(rng)
    inside = answer(rng)
    if rng.random() < 0.1:
        inside += rng.choice(["</answer><answer>", "<answer>", "</answer> ", "\n"]) + answer(rng)
    text = f"<think>{phrase(rng)}</think>{rng.choice(SPACES)}<answer>{rng.choice(SPACES[:4])}{inside}{rng.choice(SPACES[:4])}</answer>"
    return mutated(rng, text)


def json_box(rng: random.Random) -> str:
    return rng.choice(
        [
            "{}",
            '{{"bbox": {}}}',
            '{{"bbox_2d": {}, "label": "cat"}}',
            '```json\n[{{"bbox_2d": {}}}]\n```',
            "the box {}",
        ]
    ).format(box(rng))


def box_solution(rng: random.Random) -> str:
    a, b = rng.randint(0, 60), rng.randint(0, 60)
    good = f"[{a}, {b}, {a + rng.randint(0, 70)}, {b + rng.randint(0, 70)}]"
    return (
        good
        if rng.random() < 0.9
        else rng.choice(
            [
                box(rng),
                "[1, 2]",
                '[1, 2, 3, "4"]',
                "{}",
                "[0.5, 1.5, 30, 40, 50]",
                "none",
                "[[1,2,3,4]]",
                "[true, 0, 9, 9]",
                "null",
                "7",
            ]
        )
    )


def detection_solution(rng: random.Random) -> str:
    if rng.random() < 0.15:
        return rng.choice(["None", "none", entries(rng), "```json [] ```"])
    items = []
    for _ in range(rng.randint(1, 4)):
        a, b = rng.randint(0, 60), rng.randint(0, 60)
        c, d = a + rng.randint(-2, 70), b + rng.randint(0, 70)
        items.append({"bbox_2d": [a, b, c, d], "label": rng.choice(LABELS[:4])})
    return "```json\n" + json.dumps(items, ensure_ascii=False) + "\n```"


def near_detection(rng: random.Random, solution: str) -> str:
    """The solution's boxes, shaken."""
    try:
        items = json.loads(solution.removeprefix("```json").removesuffix("```"))
    except ValueError:
        return entries(rng)
    shaken = []
    for item in items if isinstance(items, list) else []:
        if isinstance(item, dict) and isinstance(item.get("bbox_2d"), list) and rng.random() < 0.9:
            shaken += [
                {
                    **item,
                    "bbox_2d": [
                        v + rng.choice([0, 0, 1, -3]) if isinstance(v, int) else v for v in item["bbox_2d"]
                    ],
                }
            ]
    if shaken and rng.random() < 0.3:
        shaken.append(dict(rng.choice(shaken), label=rng.choice(LABELS[:5])))
    rng.shuffle(shaken)
    if shaken and rng.random() < 0.1:
        shaken[0].pop("label", None)
    return "```json\n" + json.dumps(shaken) + "\n```"


def cases(rng: random.Random, name: str, count: int) -> list[dict]:
    items = []
    for i in range(count):
        item: dict = {"solution": ""}
        if name in ("iou", "format", "repetition"):
            item["solution"] = box_solution(rng)
            answer = entries if name == "repetition" or rng.random() < 0.2 else json_box
            if rng.random() < 0.1:
                item["completion"] = box(rng) if rng.random() < 0.5 else phrase(rng)
            else:
                item["completion"] = completion(rng, answer)
            item["sizes"] = rng.choice(SIZES)
        elif name == "detection":
            solution = detection_solution(rng)
            item["solution"] = solution
            item["completion"] = completion(
                rng, lambda r: near_detection(r, solution) if r.random() < 0.6 else entries(r)
            )
        elif name == "length":
            item |= {"completion": "", "tokens": i % 5000}
        else:
            answer = choice if name == "multiple_choice" and rng.random() < 0.8 else scalar
            item["solution"] = answer(rng).strip()
            same = item["solution"] if rng.random() < 0.3 else None
            item["completion"] = completion(rng, (lambda r, s=same: s) if same is not None else answer)
            if name != "ratio":
                item["solution"] = mutated(rng, item["solution"]) if rng.random() < 0.1 else item["solution"]
        item["solution"] = item["solution"].replace("<answer>", "").replace("</answer>", "").strip(" \t\n\r")
        items.append(item)
    return items
