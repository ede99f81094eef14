# SPDX-License-Identifier: Apache-2.0
"""JPEG files for image_live.py: written by PIL, and by hand for what PIL does not write."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator

from pictures import File, exif, picture, saved

SAMPLINGS = [
    [(1, 1)] * 3,
    [(2, 1), (1, 1), (1, 1)],
    [(2, 2), (1, 1), (1, 1)],
    [(1, 2), (1, 1), (1, 1)],
    [(4, 1), (1, 1), (1, 1)],
    [(1, 4), (1, 1), (1, 1)],
    [(4, 2), (1, 1), (1, 1)],
    [(2, 2), (2, 1), (1, 2)],
    [(2, 2), (1, 2), (1, 2)],
    [(2, 2), (2, 1), (2, 1)],
    [(1, 1), (2, 2), (1, 1)],
    [(3, 1), (1, 1), (1, 1)],
]


class Bits:
    """Entropy-coded data: bits from the highest on, a zero byte after each 0xFF."""

    def __init__(self) -> None:
        self.text = ""

    def add(self, value: int, count: int) -> None:
        self.text += format(value, f"0{count}b") if count else ""

    def take(self) -> bytes:
        text = self.text + "1" * (-len(self.text) % 8)
        self.text = ""
        return bytes(int(text[i : i + 8], 2) for i in range(0, len(text), 8)).replace(b"\xff", b"\xff\x00")


def segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def random_block(rng: random.Random, bits: Bits) -> None:
    """A block of coefficients, coded with the tables of jpeg_by_hand(): DC codes have 4 bits, AC codes 8."""

    def number(category: int) -> None:
        bits.add(rng.getrandbits(category) if category else 0, category)

    category = rng.choice([0, 2, 4, 5])
    bits.add(category, 4)
    number(category)
    place = 1
    while place < 64 and rng.random() < 0.7:
        run, category = rng.randint(0, 5), rng.randint(1, 5)
        if place + run >= 64:
            break
        bits.add(1 + run * 10 + category - 1, 8)
        number(category)
        place += run + 1
    if place < 64:
        bits.add(0, 8)  # the rest is zero


def jpeg_by_hand(
    rng: random.Random, sampling: list[tuple[int, int]], adobe: int | None, ids: bytes, restart: int = 0
) -> bytes:
    """A baseline file of random coefficients; `adobe` is the transform of an Adobe segment."""
    width, height = rng.randint(1, 90), rng.randint(1, 90)
    most_h, most_v = max(h for h, _ in sampling), max(v for _, v in sampling)
    ac_codes = [0] + [run * 16 + category for run in range(16) for category in range(1, 11)]
    out = b"\xff\xd8"
    if adobe is not None:
        out += segment(0xEE, b"Adobe" + struct.pack(">HHHB", 100, 0, 0, adobe))
    out += segment(0xDB, b"\0" + bytes(rng.randint(1, 12) for _ in range(64)))
    out += segment(
        0xC0,
        struct.pack(">BHHB", 8, height, width, len(sampling))
        + b"".join(bytes([ids[i], h * 16 + v, 0]) for i, (h, v) in enumerate(sampling)),
    )
    out += segment(0xC4, b"\0" + bytes([0, 0, 0, 12] + [0] * 12) + bytes(range(12)))
    out += segment(0xC4, b"\x10" + bytes([0] * 7 + [len(ac_codes)] + [0] * 8) + bytes(ac_codes))
    if restart:
        out += segment(0xDD, struct.pack(">H", restart))
    out += segment(
        0xDA,
        bytes([len(sampling)]) + b"".join(bytes([ids[i], 0]) for i in range(len(sampling))) + b"\0\x3f\0",
    )
    bits = Bits()
    if len(sampling) == 1:  # a lone component is not interleaved: its units are single blocks
        sampling, most_h, most_v = [(1, 1)], 1, 1
    units = -(-width // (8 * most_h)) * -(-height // (8 * most_v))
    for unit in range(units):
        for h, v in sampling:
            for _ in range(h * v):
                random_block(rng, bits)
        if restart and (unit + 1) % restart == 0 and unit + 1 < units:
            out += bits.take() + bytes([0xFF, 0xD0 + unit // restart % 8])
    return out + bits.take() + b"\xff\xd9"


def jpeg_files(rng: random.Random) -> Iterator[File]:
    for mode in ("L", "RGB", "CMYK"):
        for options in (
            {},
            {"progressive": True},
            {"restart_marker_blocks": 3},
            {"restart_marker_rows": 1},
            {"optimize": True},
            {"progressive": True, "restart_marker_rows": 1},
        ):
            quality = rng.randint(5, 99)
            yield (
                f"{mode}_{'_'.join(options) or 'plain'}.jpg",
                saved(picture(rng, mode), "JPEG", quality=quality, **options),
            )
    for sampling in ("4:4:4", "4:2:2", "4:2:0"):
        for progressive in (False, True):
            for i in range(4):
                yield (
                    f"chroma_{sampling.replace(':', '')}_{progressive}_{i}.jpg",
                    saved(
                        picture(rng, "RGB"),
                        "JPEG",
                        quality=rng.randint(5, 99),
                        subsampling=sampling,
                        progressive=progressive,
                    ),
                )
    yield "keep_rgb.jpg", saved(picture(rng, "RGB"), "JPEG", keep_rgb=True)
    for orientation in range(1, 9):
        yield f"orientation_{orientation}.jpg", saved(picture(rng, "RGB"), "JPEG", exif=exif(orientation))
    for number, sampling in enumerate(SAMPLINGS):
        for i in range(3):
            yield (
                f"by_hand_{number}_{i}.jpg",
                jpeg_by_hand(rng, sampling, None, b"\1\2\3", rng.choice([0, 2])),
            )
    for transform in (0, 1):
        yield f"adobe_{transform}.jpg", jpeg_by_hand(rng, SAMPLINGS[1], transform, b"\1\2\3")
    for i in range(3):
        yield f"ids_rgb_{i}.jpg", jpeg_by_hand(rng, SAMPLINGS[0], None, b"RGB")
        yield f"ycck_{i}.jpg", jpeg_by_hand(rng, [(2, 2), (1, 1), (1, 1), (2, 2)], 2, b"\1\2\3\4")
        yield f"cmyk_{i}.jpg", jpeg_by_hand(rng, [(1, 1)] * 4, 0, b"CMYK")
        yield f"cmyk_unmarked_{i}.jpg", jpeg_by_hand(rng, [(1, 1)] * 4, None, b"\1\2\3\4")
        yield f"grey_sampled_{i}.jpg", jpeg_by_hand(rng, [(2, 2)], None, b"\1")
