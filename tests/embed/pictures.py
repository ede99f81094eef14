# SPDX-License-Identifier: Apache-2.0
"""Random pictures, and their files as PIL writes them."""

from __future__ import annotations

import io
import random

import numpy as np
from PIL import Image

File = tuple[str, bytes]  # name with the format's extension, content


def picture(rng: random.Random, mode: str, size: tuple[int, int] | None = None) -> Image.Image:
    """Waves, a rectangle and noise in `mode`."""
    width, height = size or (rng.randint(1, 70), rng.randint(1, 70))
    noise = np.random.default_rng(rng.getrandbits(32))
    y, x = np.mgrid[0:height, 0:width]
    bands = {"1": 1, "L": 1, "P": 3, "LA": 2, "RGB": 3, "RGBA": 4, "CMYK": 4}[mode]
    planes = []
    for _ in range(bands):
        wave = np.sin(x * rng.uniform(0.02, 0.6) + y * rng.uniform(0.02, 0.6) + rng.uniform(0, 6))
        plane = 128 + 100 * wave + noise.normal(0, rng.choice([0, 4, 40]), (height, width))
        plane[height // 4 : height // 2, width // 3 :] = rng.randrange(256)
        planes.append(np.clip(plane, 0, 255).astype(np.uint8))
    if bands == 1:
        return Image.fromarray(planes[0], "L").convert(mode)
    if mode == "P":
        return Image.fromarray(np.stack(planes, -1), "RGB").quantize(rng.choice([2, 3, 16, 40, 256]))
    return Image.merge(mode, [Image.fromarray(plane, "L") for plane in planes])


def saved(image: Image.Image, file_format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def exif(orientation: int) -> bytes:
    """Metadata that asks viewers to turn or mirror the picture."""
    data = Image.Exif()
    data[0x0112] = orientation
    return data.tobytes()
