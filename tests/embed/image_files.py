# SPDX-License-Identifier: Apache-2.0
"""Image files of every kind for image_live.py: written by PIL where it can, by hand where it cannot.

Files written by hand hold random data that decodes to something: two decoders must agree on what.
"""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Iterator

from PIL import Image

from jpeg_files import jpeg_files
from pictures import File, exif, picture, saved

# ---- PNG ---------------------------------------------------------------------------------------------------

CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
DEPTHS = (
    [(d, 0) for d in (1, 2, 4, 8, 16)]
    + [(d, 3) for d in (1, 2, 4, 8)]
    + [(d, c) for c in (2, 4, 6) for d in (8, 16)]
)
PASSES = [(0, 8, 0, 8), (4, 8, 0, 8), (0, 4, 4, 8), (2, 4, 0, 4), (0, 2, 2, 4), (1, 2, 0, 2), (0, 1, 1, 2)]


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_by_hand(rng: random.Random, depth: int, color: int, interlaced: bool, transparent: bool) -> bytes:
    width, height = rng.randint(1, 40), rng.randint(1, 40)
    passes = PASSES if interlaced else [(0, 1, 0, 1)]
    rows = b""
    for x0, dx, y0, dy in passes:
        columns, lines = len(range(x0, width, dx)), len(range(y0, height, dy))
        if columns:
            size = (columns * depth * CHANNELS[color] + 7) // 8
            small = depth == 16 and rng.random() < 0.5  # so that not all of 16-bit grey is cut off
            for _ in range(lines):
                row = rng.randbytes(size)
                rows += bytes([rng.randrange(5)]) if not small else b"\0"
                rows += bytes(b if i % 2 else 0 for i, b in enumerate(row)) if small else row
    out = b"\x89PNG\r\n\x1a\n" + chunk(
        b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, int(interlaced))
    )
    for body in (
        (b"gAMA", struct.pack(">I", rng.choice([45455, 100000]))),
        (b"sRGB", b"\0"),
        (b"pHYs", struct.pack(">IIB", 2835, 1000, 1)),
        (b"tEXt", b"Comment\0text"),
    ):
        out += chunk(*body) if rng.random() < 0.5 else b""
    colors = min(1 << depth, rng.choice([1 << depth, max(1, (1 << depth) * 3 // 4)]))
    if color == 3:
        out += chunk(b"PLTE", rng.randbytes(3 * colors))
    if transparent:
        out += chunk(
            b"tRNS",
            {0: rng.randbytes(2), 2: rng.randbytes(6)}.get(color, rng.randbytes(rng.randint(1, colors))),
        )
    data, cut = zlib.compress(rows, rng.choice([0, 1, 9])), rng.randint(1, 60)
    out += b"".join(chunk(b"IDAT", data[at : at + cut * 20]) for at in range(0, len(data), cut * 20))
    return out + chunk(b"IEND", b"")


def png_files(rng: random.Random) -> Iterator[File]:
    for depth, color in DEPTHS:
        for interlaced in (False, True):
            for transparent in (False, True) if color in (0, 2, 3) else (False,):
                for i in range(2):
                    yield (
                        f"d{depth}_c{color}_{interlaced}_{transparent}_{i}.png",
                        png_by_hand(rng, depth, color, interlaced, transparent),
                    )
    for mode in ("1", "L", "P", "LA", "RGB", "RGBA"):
        yield f"pil_{mode}.png", saved(picture(rng, mode), "PNG")
    yield "turned.png", saved(picture(rng, "RGB"), "PNG", exif=exif(6))
    frames = [picture(rng, "RGB", (31, 17)) for _ in range(3)]
    yield "animated.png", saved(frames[0], "PNG", save_all=True, append_images=frames[1:])
    yield (
        "animated_default.png",
        saved(frames[0], "PNG", save_all=True, append_images=frames[1:], default_image=True),
    )


# ---- WebP and GIF ------------------------------------------------------------------------------------------


def webp_animation_by_hand(rng: random.Random, frame: Image.Image, **options: object) -> bytes:
    """An animation whose first frame covers a part of the canvas."""
    still = saved(frame, "WEBP", **options)
    payload = still[12:]
    if payload[:4] == b"VP8X":
        payload = payload[18:]
    x, y = 2 * rng.randint(0, 4), 2 * rng.randint(0, 4)

    def three(value: int) -> bytes:
        return struct.pack("<I", value)[:3]

    def riff(kind: bytes, body: bytes) -> bytes:
        return kind + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)

    head = riff(b"VP8X", bytes([0x12, 0, 0, 0]) + three(frame.width + x + 4) + three(frame.height + y + 2))
    head += riff(b"ANIM", rng.randbytes(4) + b"\0\0")
    body = three(x // 2) + three(y // 2) + three(frame.width - 1) + three(frame.height - 1) + three(100)
    head += 2 * riff(b"ANMF", body + bytes([rng.randrange(4)]) + payload)
    return b"RIFF" + struct.pack("<I", len(head) + 4) + b"WEBP" + head


def webp_files(rng: random.Random) -> Iterator[File]:
    for i in range(8):
        yield f"lossy_{i}.webp", saved(picture(rng, "RGB"), "WEBP", quality=rng.randint(0, 100), method=i % 7)
        yield f"lossless_{i}.webp", saved(picture(rng, "RGB"), "WEBP", lossless=True, method=i % 7)
    for i in range(5):
        yield (
            f"alpha_{i}.webp",
            saved(picture(rng, "RGBA"), "WEBP", quality=rng.randint(0, 100), exact=i % 2 == 0),
        )
        yield f"alpha_lossless_{i}.webp", saved(picture(rng, "RGBA"), "WEBP", lossless=True, exact=i % 2 == 0)
    for mode in ("RGB", "RGBA"):
        for lossless in (False, True):
            frames = [picture(rng, mode, (33, 21)) for _ in range(3)]
            yield (
                f"animated_{mode}_{lossless}.webp",
                saved(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=lossless),
            )
            yield f"part_{mode}_{lossless}.webp", webp_animation_by_hand(rng, frames[0], lossless=lossless)
    yield "turned.webp", saved(picture(rng, "RGB"), "WEBP", exif=exif(6))
    yield "grey.webp", saved(picture(rng, "L"), "WEBP")


def gif_files(rng: random.Random) -> Iterator[File]:
    for i in range(6):
        yield f"palette_{i}.gif", saved(picture(rng, "P"), "GIF", interlace=i % 2)
        yield f"grey_{i}.gif", saved(picture(rng, "L"), "GIF", interlace=i % 2)
        yield f"transparent_{i}.gif", saved(picture(rng, "P"), "GIF", transparency=rng.randrange(4))
    frames = [picture(rng, "P", (30, 20)) for _ in range(3)]
    yield "animated.gif", saved(frames[0], "GIF", save_all=True, append_images=frames[1:])
    yield "large.gif", saved(picture(rng, "P", (300, 200)), "GIF")
    for i in range(6):  # a frame that covers a part of the screen, or goes beyond it
        data = bytearray(saved(picture(rng, "P", (20, 30)), "GIF", transparency=3 if i % 2 else None))
        struct.pack_into("<HH", data, 6, rng.randint(10, 60), rng.randint(10, 60))
        palette = 3 << ((data[10] & 7) + 1) if data[10] & 0x80 else 0
        at = data.index(b"," + bytes(4) + struct.pack("<HH", 20, 30), 13 + palette)
        struct.pack_into("<HH", data, at + 1, rng.randint(0, 20), rng.randint(0, 20))
        yield f"part_{i}.gif", bytes(data)


# ---- BMP ---------------------------------------------------------------------------------------------------

FIELDS_32 = [
    (0xFF0000, 0xFF00, 0xFF, 0),
    (0xFF000000, 0xFF0000, 0xFF00, 0),
    (0xFF000000, 0xFF0000, 0xFF00, 0xFF),
    (0xFF, 0xFF00, 0xFF0000, 0xFF000000),
    (0xFF0000, 0xFF00, 0xFF, 0xFF000000),
    (0, 0, 0, 0),
]
FIELDS_16 = [(0xF800, 0x7E0, 0x1F, 0), (0x7C00, 0x3E0, 0x1F, 0)]


def bmp_by_hand(
    rng: random.Random,
    bits: int,
    header: int = 40,
    *,
    fields: tuple[int, ...] = (),
    top_down: bool = False,
    palette: bytes | None = None,
    colors: int = 0,
    data: bytes | None = None,
    compression: int = 0,
    size: tuple[int, int] | None = None,
    offset: str = "right",
) -> bytes:
    width, height = size or (rng.randint(1, 40), rng.randint(1, 30))
    if palette is None:
        entries = colors or 1 << bits
        palette = (
            b"" if bits > 8 else b"".join(rng.randbytes(3) + b"\0" * (header != 12) for _ in range(entries))
        )
    if data is None:
        data = rng.randbytes((width * bits + 31) // 32 * 4 * height)
    if header == 12:
        head = struct.pack("<IHHHH", 12, width, height, 1, bits)
    else:
        head = struct.pack(
            "<IiiHHIIiiII",
            header,
            width,
            -height if top_down else height,
            1,
            bits,
            3 if fields else compression,
            len(data),
            2835,
            2835,
            colors,
            0,
        )
        masks = struct.pack("<4I", *(fields or (0,) * 4))
        head += masks[:12] if header == 40 and fields else (masks + bytes(84))[: header - 40]
    begin = {"right": 14 + len(head) + len(palette), "header": 14 + header, "zero": 0}[offset]
    return (
        b"BM"
        + struct.pack("<IHHI", 14 + len(head) + len(palette) + len(data), 0, 0, begin)
        + head
        + palette
        + data
    )


def rle_data(rng: random.Random, width: int, height: int, nibbles: bool) -> bytes:
    """Rows of runs, plain pixels and skips. They begin at an even place in the file."""
    out = b""
    for _ in range(height):
        x = 0
        while x < width:
            kind, count = rng.randrange(5), rng.randint(1, min(255, width - x))
            if kind < 2:
                out += bytes([count, rng.randrange(256)])
            elif kind < 4 and count >= 3:
                pixels = rng.randbytes((count + 1) // 2 if nibbles else count)
                out += bytes([0, count]) + pixels + b"\0" * (len(pixels) % 2)
            elif kind == 4:
                out += bytes([0, 2, count, 0])
            else:
                continue
            x += count
            if rng.random() < 0.05:
                break  # the rest of the row is 0
        out += b"\0\0"
    return out + b"\0\1"


def bmp_files(rng: random.Random) -> Iterator[File]:
    greys = {count: b"".join(bytes([i, i, i, 0]) for i in range(count)) for count in (16, 200, 256)}
    for bits in (1, 4, 8, 16, 24, 32):
        for header in (12, 40, 52, 56, 64, 108, 124):
            yield f"b{bits}_h{header}.bmp", bmp_by_hand(rng, bits, header)
        yield f"b{bits}_top_down.bmp", bmp_by_hand(rng, bits, top_down=True)
        yield f"b{bits}_offset_header.bmp", bmp_by_hand(rng, bits, offset="header")
        yield f"b{bits}_offset_zero.bmp", bmp_by_hand(rng, bits, offset="zero")
    for bits, colors in ((1, 1), (4, 5), (4, 2), (8, 2), (8, 17), (8, 256)):
        yield f"b{bits}_colors{colors}.bmp", bmp_by_hand(rng, bits, colors=colors)
    yield "black_white.bmp", bmp_by_hand(rng, 1, palette=b"\0\0\0\0\xff\xff\xff\0")
    yield "white_black.bmp", bmp_by_hand(rng, 1, palette=b"\xff\xff\xff\0\0\0\0\0")
    for count, palette in greys.items():
        yield f"greys_{count}.bmp", bmp_by_hand(rng, 8, palette=palette, colors=count)
    for header in (40, 52, 56, 108, 124):
        for i, fields in enumerate(FIELDS_32):
            if header >= 56 or fields[3] == 0:
                yield f"fields32_{header}_{i}.bmp", bmp_by_hand(rng, 32, header, fields=fields)
        for i, fields in enumerate(FIELDS_16):
            yield f"fields16_{header}_{i}.bmp", bmp_by_hand(rng, 16, header, fields=fields)
    for nibbles in (False, True):
        bits = 4 if nibbles else 8
        for i in range(10):
            size = (rng.randint(1, 60), rng.randint(1, 20))
            yield (
                f"rle{bits}_{i}.bmp",
                bmp_by_hand(
                    rng,
                    bits,
                    data=rle_data(rng, *size, nibbles),
                    compression=2 if nibbles else 1,
                    size=size,
                    palette=greys[256] if i == 0 and not nibbles else None,
                ),
            )
    for mode in ("1", "L", "P", "RGB", "RGBA"):
        yield f"pil_{mode}.bmp", saved(picture(rng, mode), "BMP")


def all_files(rng: random.Random) -> list[File]:
    return [file for made in (jpeg_files, png_files, webp_files, gif_files, bmp_files) for file in made(rng)]
