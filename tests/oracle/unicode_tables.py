#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes plugins/rewards/common/unicode_tables.inc: what str.lower, str.upper, str.isspace and int() of this Python know.

    python3 tests/oracle/unicode_tables.py > plugins/rewards/common/unicode_tables.inc

Made with Python 3.11 (Unicode 14). Properties that Python does not show are found by asking: whether a character is cased or
ignored decides which small sigma str.lower writes after it.
"""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Callable, Iterable

CHARACTERS = [c for c in range(0x80, sys.maxunicode + 1) if not 0xD800 <= c <= 0xDFFF]


def mapping_runs(convert: Callable[[str], str]) -> list[tuple[int, int, int, int]]:
    """(first, last, step, delta) of characters that become one other, each moved by the same distance."""
    runs: list[list[int]] = []
    for c in CHARACTERS:
        to = convert(chr(c))
        if to == chr(c) or len(to) != 1:
            continue
        delta = ord(to) - c
        if runs and runs[-1][3] == delta and runs[-1][2] in (0, c - runs[-1][1]) and c - runs[-1][1] <= 2:
            runs[-1][2] = c - runs[-1][1]
            runs[-1][1] = c
        else:
            runs.append([c, c, 0, delta])
    return [(first, last, step or 1, delta) for first, last, step, delta in runs]


def ranges(characters: Iterable[int]) -> list[tuple[int, int]]:
    """Closed ranges of ascending characters."""
    out: list[list[int]] = []
    for c in characters:
        if out and out[-1][1] == c - 1:
            out[-1][1] = c
        else:
            out.append([c, c])
    return [(first, last) for first, last in out]


def is_cased(c: int) -> bool:
    return (chr(c) + "Σ").lower().endswith("ς")


def is_ignored(c: int) -> bool:
    return ("A" + chr(c) + "Σ").lower().endswith("ς") and not is_cased(c)


def table(kind: str, name: str, rows: Iterable[tuple[int, ...]]) -> None:
    """Prints one constexpr array, several rows a line."""
    cells = ["{" + ", ".join(str(v) if v < 0 else f"0x{v:X}" for v in row) + "}," for row in rows]
    print(f"constexpr {kind} {name}[] = {{")
    line = "   "
    for cell in cells:
        if len(line) + 1 + len(cell) > 110:
            print(line)
            line = "   "
        line += " " + cell
    print(line)
    print("};")


def main() -> None:
    print("// SPDX-License-Identifier: Apache-2.0")
    print("// Written by tests/oracle/unicode_tables.py. clang-format off")
    table("MappingRun", "kLower", mapping_runs(str.lower))
    table("MappingRun", "kUpper", mapping_runs(str.upper))
    expanding = [(c, *map(ord, chr(c).upper())) for c in CHARACTERS if len(chr(c).upper()) > 1]
    table("Expansion", "kUpperExpansions", [row + (0,) * (4 - len(row)) for row in expanding])
    table("Range", "kCased", ranges(c for c in CHARACTERS if is_cased(c)))
    table("Range", "kIgnored", ranges(c for c in CHARACTERS if is_ignored(c)))
    zeros = [c for c in CHARACTERS if unicodedata.category(chr(c)) == "Nd" and unicodedata.digit(chr(c)) == 0]
    for zero in zeros:
        assert [unicodedata.digit(chr(zero + i), -1) for i in range(10)] == list(range(10))
    table("Zero", "kDigitZeros", [(zero,) for zero in zeros])
    assert [c for c in CHARACTERS if len(chr(c).lower()) > 1] == [0x130]


if __name__ == "__main__":
    main()
