# SPDX-License-Identifier: Apache-2.0
"""What VLM-R1's rewards compute, stated again from a description of their behaviour (om-ai-lab/VLM-R1 at 90052f4).

Written plainly, with Python's own `re`, `json` and `str` and with numpy, so that it shares nothing with the C++ under
plugins/rewards. `Raised` stands where VLM-R1 lets an exception through. A solution has its <answer> tags.

Where the description leaves something open, this is our reading, and so is the C++:
  * coordinates that are not finite, and labels that are lists or objects, are malformed detections;
  * a broken ```json block in a completion counts, for repetition, as the flat objects in it that are whole (VLM-R1: json_repair);
  * math_verify is not restated: `same_number` stands for it.
"""

from __future__ import annotations

import bisect
import json
import math
import re

import numpy as np
from vlm_r1_coco import coco_precision
from vlm_r1_math import last_boxed, normalised, same_number

BOX = re.compile(r"\[(\d+),\s*(\d+),\s*(\d+),\s*(\d+)\]")
ANSWER = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)
ANSWER_ON_A_LINE = re.compile(r"<answer>(.*?)</answer>")
FORMATS = {
    "qwen": r"<think>.*?</think>\s*<answer>.*?\{.*\[\d+,\s*\d+,\s*\d+,\s*\d+\].*\}.*?</answer>",
    "internvl": r"<think>.*?</think>\s*<answer>.*?\[\d+,\s*\d+,\s*\d+,\s*\d+\].*?</answer>",
    "glm": r"<think>(.*?)<answer>(.*?)</answer>",
}
REGISTRY_FORMAT = r"<think>.*?</think>\s*<answer>.*?</answer>"
JSON_BLOCK = re.compile(r"```json(.*?)```", re.DOTALL)
ANY_BLOCK = re.compile(r"```(.*?)```", re.DOTALL)
BARE_BOXES = re.compile(r'\[\s*{.*?"bbox_2d".*?"label".*?}\s*\]', re.DOTALL)
KEYWORDS = (
    "答案 选择 正确 是 对 ANSWER CORRECT CHOOSE SELECT RIGHT 认为 应该 觉得 THINK BELIEVE SHOULD".split()
)


class Raised(Exception):
    """VLM-R1 would end here."""


# ---- texts ----


def student_of(text: str) -> str:
    found = ANSWER.findall(text)
    return found[-1] if found else text


def first_student_of(text: str) -> str:
    found = ANSWER.search(text)
    return found.group(1) if found else text


def reference_of(solution: str) -> str:
    found = ANSWER_ON_A_LINE.search(solution)
    return found.group(1) if found else solution


def clean_text(text: str) -> str:
    text = student_of(text)
    for char in "\n\r":
        text = re.sub(rf"(?<=\s){char}", "", text)
        text = re.sub(rf"(?<!\s){char}", " ", text)
    return text.strip().rstrip(".").lower()


def ratio(a: str, b: str) -> float:
    """2 LCS / (|a| + |b|)."""
    if not a and not b:
        return 1.0
    places: dict[str, list[int]] = {}
    for j, y in enumerate(b):
        places.setdefault(y, []).append(j)
    ends: list[int] = (
        []
    )  # ends[k]: the smallest place in b where a common subsequence of k + 1 characters ends
    for x in a:
        for j in reversed(places.get(x, [])):
            k = bisect.bisect_left(ends, j)
            ends[k : k + 1] = [j]
    return 2.0 * len(ends) / (len(a) + len(b))


def extract_choice(text: str) -> str | None:
    text = " ".join(text.upper().split())
    found = re.findall(r"(?<![A-Z])([A-Z])(?=[\.\,\?\!\:\;]|$)", text)
    if len(found) <= 1:
        return found[0] if found else None
    scores: dict[str, float] = {}
    for letter in found:
        at = text.find(letter)
        context = text[max(0, at - 20) : at + 20]
        score = sum(word in context for word in KEYWORDS)
        score += 2 if at > len(text) * 0.7 else 0
        score += 1 if at < len(text) - 1 and text[at + 1] in "。.!！,，" else 0
        scores.setdefault(letter, score)
    return max(scores, key=lambda letter: scores[letter])


def multiple_choice(completion: str, solution: str) -> float:
    expected = extract_choice(reference_of(solution)) or solution
    chosen = extract_choice(first_student_of(completion))
    return 1.0 if chosen and chosen == expected else 0.0


def yes_no(completion: str, solution: str) -> float:
    words = []
    for text in (reference_of(solution), first_student_of(completion)):
        found = re.search(r"(yes|no)", text.lower())
        words.append(found.group(1) if found else "")
    return 1.0 if words[0] == words[1] else 0.0


def all_match(completion: str, solution: str) -> float:
    return 1.0 if clean_text(completion) == clean_text(solution) else 0.0


def numeric(completion: str, solution: str) -> float:
    student, truth = clean_text(student_of(completion)), clean_text(reference_of(solution))
    try:
        return 1.0 if float(student) == float(truth) else 0.0
    except ValueError:
        return ratio(student, truth)


def text_ratio(completion: str, solution: str) -> float:
    return ratio(clean_text(student_of(completion)), clean_text(reference_of(solution)))


def cosine_length(tokens: int) -> float:
    return 1.0 - (1.0 - 0.5) * (1.0 - math.cos(tokens * math.pi / 1024)) / 2


def whole_objects(text: str) -> list:
    """The flat objects of a broken list that can be read, left to right."""
    objects = []
    for found in re.finditer(r"\{[^{}]*\}", text):
        try:
            objects.append(json.loads(found.group(0)))
        except ValueError:
            pass
    return objects


def repetition(completion: str) -> float:
    if completion == "":
        return 0.0
    found = JSON_BLOCK.search(completion) or ANY_BLOCK.search(completion)
    block = found.group(1) if found else None
    if block is None and (found := BARE_BOXES.search(completion)):
        block = found.group(0)
    if block is not None:
        try:
            entries = json.loads(block)
        except (ValueError, RecursionError):
            entries = None
            start = min((i for i in (block.find("["), block.find("{")) if i >= 0), default=-1)
            if start >= 0:
                try:
                    entries = json.JSONDecoder().raw_decode(block, start)[0]
                except (ValueError, RecursionError):
                    entries = whole_objects(block[start:])
        if isinstance(entries, list) and entries:
            items = [
                f"{e['bbox_2d']}_{e['label']}"
                for e in entries
                if isinstance(e, dict) and "bbox_2d" in e and "label" in e
            ]
            return -(1 - len(set(items)) / len(items)) if items else 0.0
    words = completion.lower().split()
    if len(words) < 6:
        return 0.0
    grams = [tuple(words[i : i + 6]) for i in range(len(words) - 5)]
    return -(1 - len(set(grams)) / len(grams))


# ---- boxes ----


def format_reward(completion: str, module: str) -> float:
    if module == "registry":
        return 1.0 if re.fullmatch(REGISTRY_FORMAT, completion, re.DOTALL) else 0.0
    return 1.0 if re.search(FORMATS[module], completion, re.DOTALL) else 0.0


def pixel_iou(a: list, b: list) -> float:
    x1, y1 = max(a[0], b[0]), max(a[1], b[1])
    x2, y2 = min(a[2] - 1, b[2] - 1), min(a[3] - 1, b[3] - 1)
    both = (x2 - x1 + 1) * (y2 - y1 + 1) if x1 < x2 and y1 < y2 else 0
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def plain_iou(a: list, b: list) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    both = width * height if width > 0 and height > 0 else 0
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def iou(completion: str, solution: str, module: str, size: tuple[int, int, int, int]) -> float:
    """`size`: width and height of the file, then of the processed image."""
    try:
        truth = json.loads(ANSWER.findall(solution)[-1].strip())
    except (ValueError, IndexError, RecursionError) as error:
        raise Raised from error
    try:
        box = [int(group) for group in BOX.search(first_student_of_tag(completion)).groups()]
        if module == "qwen":
            width, height, processed_width, processed_height = size
            box = [
                box[0] / processed_width * width,
                box[1] / processed_height * height,
                box[2] / processed_width * width,
                box[3] / processed_height * height,
            ]
        return plain_iou(box, truth) if module == "glm" else pixel_iou(box, truth)
    except Exception:  # noqa: BLE001: VLM-R1 catches everything
        return 0.0


def first_student_of_tag(text: str) -> str:
    return ANSWER.search(text).group(1).strip()


# ---- detection ----


def good_box(entry: object) -> list[float] | None:
    box = entry.get("bbox_2d") if isinstance(entry, dict) else None
    if not isinstance(box, list) or len(box) < 4 or not all(isinstance(v, (int, float)) for v in box[:4]):
        return None
    try:
        numbers = [float(v) for v in box[:4]]
    except OverflowError:
        return None
    return numbers if all(map(math.isfinite, numbers)) else None


def good_label(entry: dict) -> bool:
    return "label" in entry and not isinstance(entry["label"], (list, dict))


def read_truths(block: str) -> list[dict]:
    try:
        entries = json.loads(block.strip())
    except (ValueError, RecursionError) as error:
        raise Raised from error
    if not isinstance(entries, list) or not all(good_box(e) and good_label(e) for e in entries):
        raise Raised
    return entries


def map_reward(student: str, reference: str, method: str) -> float:
    blocks, truth_blocks = JSON_BLOCK.findall(student), JSON_BLOCK.findall(reference)
    truths = read_truths(truth_blocks[-1]) if truth_blocks else []
    try:
        entries = json.loads(blocks[-1].strip())
    except (ValueError, IndexError, RecursionError):
        entries = []
    if not truths and not entries:
        return 1.0
    if not truths or not entries or not isinstance(entries, list):
        return 0.0
    labels: list = []
    for truth in truths:
        if truth["label"] not in labels:
            labels.append(truth["label"])
    known = [e for e in entries if good_box(e) and good_label(e) and e["label"] in labels]
    if not known:
        return 0.0

    def boxes(items: list[dict], label: object) -> list[list[float]]:
        out = []
        for item in items:
            if item["label"] == label:
                x1, y1, x2, y2 = good_box(item)
                out.append([x1, y1, x2 - x1, y2 - y1])
        return out

    thresholds = [0.5] if method == "ap50" else np.linspace(0.5, 0.95, 10)
    points = []
    for label in labels:
        for threshold in thresholds:
            found = coco_precision(boxes(known, label), boxes(truths, label), threshold)
            if found is not None:
                points.append(found)
    score = float(np.mean(points)) if points else -1.0
    if method == "od_length" and len(truths) < len(entries):
        score *= len(truths) / len(entries)
    return score


def weighted_sum(student: str, reference: str) -> float:
    block, truth_block = JSON_BLOCK.search(student), JSON_BLOCK.search(reference)
    truths = read_truths(truth_block.group(1)) if truth_block else []
    try:
        entries = json.loads(block.group(1).strip()) if block else []
    except (ValueError, RecursionError):
        entries = []
    entries = entries if isinstance(entries, list) else []
    if not truths:
        return 0.0 if entries else 1.0
    if not entries:
        return 0.0
    overlaps = {}
    for p, entry in enumerate(entries):
        for g, truth in enumerate(truths):
            try:
                overlaps[p, g] = pixel_iou(good_box(entry), good_box(truth))
            except (TypeError, ZeroDivisionError):
                overlaps[p, g] = 0.0
    matched, position, label = 0, 0.0, None
    while overlaps:
        (p, g), best = max(overlaps.items(), key=lambda item: item[1])
        if best < 0.5:
            break
        if "label" in entries[p]:
            label = [entries[p]["label"]]
        if label is None:
            raise Raised  # NameError
        position += best if label[0] == truths[g]["label"] else 0.0
        overlaps = {pair: overlap for pair, overlap in overlaps.items() if pair[0] != p and pair[1] != g}
        matched += 1
    missed, extra = len(truths) - matched, len(entries) - matched
    completeness = 1 - (missed / len(truths) + extra / len(entries)) / 2
    return 0.7 * (position / len(truths)) + 0.3 * completeness


def detection(completion: str, solution: str, method: str) -> float:
    if method == "weighted_sum":
        student, reference = clean_text(completion), clean_text(solution)
        if reference == "none":
            return 1.0 if student == "none" else 0.0
        return weighted_sum(student, reference)
    if method == "map":
        return map_reward(completion, solution, method)
    found = ANSWER.findall(completion)
    if not found:
        return 0.0
    reference = reference_of(solution)
    if reference.strip() == "None" and found[-1].strip() == "None":
        return 1.0
    return map_reward(found[-1], reference, method)


# ---- mathematics ----


def math_reward(completion: str, solution: str) -> float:
    student, truth = clean_text(completion), clean_text(solution)
    if student == truth or same_number(student, truth):
        return 1.0
    boxed, boxed_truth = last_boxed(student), last_boxed(truth)
    if boxed is None:
        return 0.0
    return 1.0 if normalised(boxed) == normalised(truth if boxed_truth is None else boxed_truth) else 0.0


def default_accuracy(completion: str, solution: str) -> float:
    student, truth = student_of(completion), reference_of(solution)
    if same_number(student, truth):
        return 1.0
    if re.search(r"\d", truth):
        return numeric(student, truth)
    if expected := extract_choice(truth):
        return 1.0 if extract_choice(student) == expected else 0.0
    return text_ratio(student, truth)
