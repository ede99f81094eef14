#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write small image files of many kinds and cases.json: the pixels that PIL reads from each.

python make.py        # writes beside itself; made with Pillow 13
"""

import io
import json
import random
import struct
import sys
import warnings
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 17, 13
HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1] / "embed"))
import image_files  # noqa: E402 - the generator of the live comparison

# Of its files the first small one of each of these names.
GENERATED = [
    "by_hand_3_0.jpg",
    "by_hand_4_0.jpg",
    "by_hand_7_1.jpg",
    "ids_rgb_0.jpg",
    "ycck_0.jpg",
    "grey_sampled_0.jpg",
    "d1_c3_True_False_0.png",
    "d16_c0_True_False_0.png",
    "part_RGB_False.webp",
    "palette_1.gif",
    "transparent_1.gif",
    "part_1.gif",
    "b1_h40.bmp",
    "b4_h64.bmp",
    "b8_h12.bmp",
    "b16_h40.bmp",
    "fields16_40_0.bmp",
    "fields32_124_3.bmp",
    "rle4_1.bmp",
    "rle8_1.bmp",
    "greys_16.bmp",
    "b24_top_down.bmp",
]


def scene(rng) -> Image.Image:
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    ramps = np.stack([x * 15, y * 19, (x * y) % 256], -1)
    return Image.fromarray((ramps ^ rng.integers(0, 32, ramps.shape)).astype(np.uint8))


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def raw_png(depth: int, color: int, rows: list[bytes], extra: bytes = b"") -> bytes:
    """A PNG that PIL does not write: any depth and colour type, chunks as given. All rows unfiltered."""
    header = struct.pack(">IIBBBBB", WIDTH, len(rows), depth, color, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row for row in rows), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def random_rows(rng, row_bytes: int, count: int = HEIGHT) -> list[bytes]:
    return [rng.integers(0, 256, row_bytes).astype(np.uint8).tobytes() for _ in range(count)]


def png_files(image: Image.Image, with_alpha: Image.Image, rng) -> dict[str, bytes]:
    grey16 = rng.integers(0, 600, (HEIGHT, WIDTH)).astype(np.uint16)
    palette = chunk(b"PLTE", rng.integers(0, 256, 33).astype(np.uint8).tobytes())
    indices = [
        rng.integers(0, 14, WIDTH).astype(np.uint8).tobytes() for _ in range(HEIGHT)
    ]  # some beyond the palette
    return {
        "rgb.png": encoded(image, "PNG"),
        "alpha.png": encoded(with_alpha, "PNG"),
        "grey.png": encoded(image.convert("L"), "PNG"),
        "grey_alpha.png": encoded(with_alpha.convert("LA"), "PNG"),
        "bilevel.png": encoded(image.convert("1"), "PNG"),
        "palette.png": encoded(image.quantize(13), "PNG"),
        "palette_2bit.png": encoded(image.quantize(4), "PNG", bits=2),
        "palette_transparent.png": encoded(image.quantize(7), "PNG", transparency=bytes(range(0, 70, 10))),
        "palette_short.png": raw_png(8, 3, indices, palette),
        "grey_16.png": encoded(Image.fromarray(grey16), "PNG"),
        "grey_4bit.png": raw_png(4, 0, random_rows(rng, (WIDTH + 1) // 2)),
        "grey_alpha_16.png": raw_png(16, 4, random_rows(rng, WIDTH * 4)),
        "rgb_16.png": raw_png(16, 2, random_rows(rng, WIDTH * 6)),
        "alpha_16.png": raw_png(16, 6, random_rows(rng, WIDTH * 8)),
        "rgb_transparent_gamma.png": raw_png(
            8,
            2,
            random_rows(rng, WIDTH * 3),
            chunk(b"gAMA", struct.pack(">I", 100000)) + chunk(b"tRNS", b"\0\1\0\2\0\3"),
        ),
        "interlaced.png": interlaced(image),
    }


def interlaced(image: Image.Image) -> bytes:
    pixels = np.asarray(image)
    data = b""
    for x0, y0, dx, dy in (
        (0, 0, 8, 8),
        (4, 0, 8, 8),
        (0, 4, 4, 8),
        (2, 0, 4, 4),
        (0, 2, 2, 4),
        (1, 0, 2, 2),
        (0, 1, 1, 2),
    ):
        for row in pixels[y0::dy, x0::dx]:
            data += b"\0" + row.tobytes()
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 2, 0, 0, 1)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(data, 9))
        + chunk(b"IEND", b"")
    )


def jpeg_files(image: Image.Image, rng) -> dict[str, bytes]:
    ink = Image.frombytes(
        "CMYK", (WIDTH, HEIGHT), rng.integers(0, 256, WIDTH * HEIGHT * 4).astype(np.uint8).tobytes()
    )
    turned = Image.Exif()
    turned[274] = 6
    return {
        "chroma_420.jpg": encoded(image, "JPEG", quality=70, subsampling=2),
        "chroma_422.jpg": encoded(image, "JPEG", quality=70, subsampling=1),
        "chroma_444.jpg": encoded(image, "JPEG", quality=90, subsampling=0),
        "progressive.jpg": encoded(image, "JPEG", quality=80, progressive=True),
        "restarts.jpg": encoded(image, "JPEG", quality=80, restart_marker_blocks=1),
        "grey.jpg": encoded(image.convert("L"), "JPEG", quality=80),
        "cmyk.jpg": encoded(ink, "JPEG", quality=90),
        "turned_by_exif.jpg": encoded(image, "JPEG", quality=80, exif=turned),
    }


def generated_files() -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for seed in range(200):
        for name, data in image_files.all_files(random.Random(seed)):
            width, height = Image.open(io.BytesIO(data)).size
            if name in GENERATED and name not in found and 8 <= width * height <= 1400 and len(data) < 2400:
                found[name] = data
        if len(found) == len(GENERATED):
            return found
    raise SystemExit(f"no small file of {set(GENERATED) - set(found)}")


def main() -> None:
    warnings.simplefilter("ignore")
    rng = np.random.default_rng(0)
    image = scene(rng)
    with_alpha = image.copy()
    with_alpha.putalpha(Image.fromarray(rng.integers(0, 256, (HEIGHT, WIDTH)).astype(np.uint8)))
    files = {
        **png_files(image, with_alpha, rng),
        **jpeg_files(image, rng),
        "lossy.webp": encoded(image, "WEBP", quality=60),
        "lossless.webp": encoded(image, "WEBP", lossless=True),
        "alpha.webp": encoded(with_alpha, "WEBP", quality=70),
        "animated.webp": encoded(
            image, "WEBP", save_all=True, append_images=[image.rotate(90), image.rotate(180)]
        ),
        "animated.png": encoded(
            image, "PNG", save_all=True, append_images=[image.rotate(90), image.rotate(180)]
        ),
        "rgb.bmp": encoded(image, "BMP"),
        "alpha.bmp": encoded(with_alpha, "BMP"),
        "grey.bmp": encoded(image.convert("L"), "BMP"),
        "palette.bmp": encoded(image.quantize(13), "BMP"),
        **generated_files(),
    }
    cases = []
    for name, data in files.items():
        (HERE / name).write_bytes(data)
        pixels = Image.open(HERE / name).convert("RGB")
        cases.append(
            {"file": name, "width": pixels.width, "height": pixels.height, "rgb": pixels.tobytes().hex()}
        )
    lines = ",\n".join(json.dumps(case) for case in cases)
    (HERE / "cases.json").write_text("[\n" + lines + "\n]\n", encoding="utf-8")


if __name__ == "__main__":
    main()
