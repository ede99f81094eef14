# SPDX-License-Identifier: Apache-2.0
"""The sizes in which fixtures are made."""

from __future__ import annotations

#: Dimensions for each ``--size``.  ``vocab`` is the trained BPE size without special tokens.
SIZES = {
    # As small as a committed fixture can be: heads of several sizes, grouped queries, two layers.
    "mini": {
        "vocab": 400,
        "hidden": 64,
        "layers": 2,
        "heads": 4,
        "kv_heads": 2,
        "intermediate": 128,
        "mrope_section": [2, 3, 3],
        "vision_dim": 32,
        "vision_depth": 2,
        "vision_heads": 2,
        "vision_intermediate": 80,
        "window_size": 56,
        "fullatt": [1],
        "min_pixels": 28 * 28,
        "max_pixels": 28 * 28 * 8,
    },
    "tiny": {
        "vocab": 1000,
        "hidden": 128,
        "layers": 4,
        "heads": 4,
        "kv_heads": 2,
        "intermediate": 256,
        "mrope_section": [4, 6, 6],
        "vision_dim": 64,
        "vision_depth": 4,
        "vision_heads": 4,
        "vision_intermediate": 160,
        "window_size": 56,
        "fullatt": [1, 3],
        "min_pixels": 56 * 56,
        "max_pixels": 28 * 28 * 24,
    },
    "small": {
        "vocab": 4000,
        "hidden": 768,
        "layers": 12,
        "heads": 12,
        "kv_heads": 4,
        "intermediate": 2048,
        "mrope_section": [8, 12, 12],
        "vision_dim": 384,
        "vision_depth": 6,
        "vision_heads": 6,
        "vision_intermediate": 1024,
        "window_size": 112,
        "fullatt": [2, 5],
        "min_pixels": 56 * 56,
        "max_pixels": 28 * 28 * 64,
    },
}
