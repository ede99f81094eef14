# SPDX-License-Identifier: Apache-2.0
"""COCO's average precision of one image and category, stated again for vlm_r1_rewards.py."""

from __future__ import annotations

import numpy as np


def coco_overlap(a: list[float], b: list[float]) -> float:
    width = min(a[2] + a[0], b[2] + b[0]) - max(a[0], b[0])
    height = min(a[3] + a[1], b[3] + b[1]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    return width * height / (a[2] * a[3] + b[2] * b[3] - width * height)


def is_ignored(box: list[float]) -> bool:
    return not 0 <= box[2] * box[3] <= 1e10


def coco_precision(
    detections: list[list[float]], truths: list[list[float]], threshold: float
) -> np.ndarray | None:
    """Interpolated precision at 101 recall points for one category; boxes are x, y, width, height."""
    truths = sorted(truths, key=is_ignored)
    wanted = sum(not is_ignored(box) for box in truths)
    if wanted == 0:
        return None
    taken: set[int] = set()
    hits, misses = [], []
    for detection in detections[:100]:
        best, match = min(threshold, 1 - 1e-10), None
        for g, truth in enumerate(truths):
            if g in taken:
                continue
            if match is not None and not is_ignored(truths[match]) and is_ignored(truth):
                break
            overlap = coco_overlap(detection, truth)
            if overlap >= best:
                best, match = overlap, g
        ignored = is_ignored(detection if match is None else truths[match])
        if match is not None:
            taken.add(match)
        hits.append(match is not None and not ignored)
        misses.append(match is None and not ignored)
    true, false = np.cumsum(hits, dtype=float), np.cumsum(misses, dtype=float)
    recall, precision = true / wanted, true / (false + true + np.spacing(1))
    for i in range(len(precision) - 1, 0, -1):
        precision[i - 1] = max(precision[i - 1], precision[i])
    points = np.zeros(101)
    for i, at in enumerate(np.searchsorted(recall, np.linspace(0, 1, 101), side="left")):
        points[i] = precision[at] if at < len(precision) else 0.0
    return points
