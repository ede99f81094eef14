# SPDX-License-Identifier: Apache-2.0
"""Answers of mathematics, stated again for vlm_r1_rewards.py: normal forms, and the equality that stands for math_verify."""

from __future__ import annotations

import re
from fractions import Fraction

NUMBER = r"[-+−]?(?:(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d*)?|\.\d+)"
EXPONENT = r"(?:[eE][-+]?\d+)?"
ONE_NUMBER = re.compile(rf"({NUMBER}{EXPONENT})\s*(?:([%％])|/\s*({NUMBER}{EXPONENT}))?", re.ASCII)


def decimal(text: str) -> Fraction:
    return Fraction(text.replace("−", "-").replace(",", ""))


def parse_number(text: str) -> Fraction | None:
    found = ONE_NUMBER.fullmatch(text.strip())
    if not found:
        return None
    value = decimal(found.group(1))
    if found.group(2):
        return value / 100
    if found.group(3):
        below = decimal(found.group(3))
        return value / below if below else None
    return value


def last_boxed(text: str) -> str | None:
    at = max(text.rfind("\\boxed"), text.rfind("\\fbox"))
    if at < 0:
        return None
    rest = text[at + (6 if text.startswith("\\boxed", at) else 5) :]
    if rest.startswith(" "):
        return rest[1:].split("$")[0]
    start, depth = rest.find("{"), 0
    for i in range(max(start, 0), len(rest)):
        depth += {"{": 1, "}": -1}.get(rest[i], 0)
        if start >= 0 and depth == 0:
            return rest[start + 1 : i]
    return None


def braced_fractions(text: str) -> str:
    parts = text.split("\\frac")
    out = parts[0]
    for part in parts[1:]:
        out += "\\frac"
        if part.startswith("{"):
            out += part
        elif len(part) < 2:
            return text
        elif part[1] == "{":
            out += "{" + part[0] + "}" + part[1:]
        else:
            out += "{" + part[0] + "}{" + part[1] + "}" + part[2:]
    return out


def normalised(text: str) -> str:
    for what, to in (
        ("\n", ""),
        ("\\!", ""),
        ("\\\\", "\\"),
        ("tfrac", "frac"),
        ("dfrac", "frac"),
        ("\\left", ""),
        ("\\right", ""),
        ("^{\\circ}", ""),
        ("^\\circ", ""),
        ("\\$", ""),
    ):
        text = text.replace(what, to)
    if text.count("\\text{ ") == 1:
        text = text.split("\\text{ ")[0]
    text = text.replace("\\%", "").replace("%", "").replace(" .", " 0.").replace("{.", "{0.")
    if not text:
        return text
    if text[0] == ".":
        text = "0" + text
    sides = text.split("=")
    if len(sides) == 2 and len(sides[0]) <= 2:
        text = sides[1]
    text = re.sub(r"\\sqrt([^{])", r"\\sqrt{\1}", text, flags=re.DOTALL).replace(" ", "")
    text = braced_fractions(text)
    if text == "0.5":
        text = "\\frac{1}{2}"
    if found := re.fullmatch(r"(-?(?:0|[1-9][0-9]*))/(-?(?:0|[1-9][0-9]*))", text):
        text = f"\\frac{{{found.group(1)}}}{{{found.group(2)}}}"
    return text


def math_number(text: str) -> Fraction | None:
    text = text.strip()
    if len(text) >= 2 and text[0] == "$" == text[-1]:
        text = text[1:-1].strip()
    text = (
        text.replace("\\dfrac", "\\frac")
        .replace("\\tfrac", "\\frac")
        .replace("\\%", "%")
        .replace("{,}", ",")
        .replace("\\!", "")
    )
    text = text.strip()
    found = re.fullmatch(r"(-?)\\frac\{([^}]*)\}\{(.*)\}", braced_fractions(text), re.DOTALL)
    if not text.startswith(("\\frac", "-\\frac")):
        return parse_number(text)
    if not found or any(c in "/%" for c in found.group(2) + found.group(3)):
        return None
    above, below = parse_number(found.group(2)), parse_number(found.group(3))
    if above is None or not below:
        return None
    return -(above / below) if found.group(1) else above / below


def last_number(text: str) -> Fraction | None:
    found = list(re.finditer(r"[-+−]?\.?\d(?:[\d]|[.,/](?=\d))*%?", text, re.ASCII))
    if not found:
        return None
    text = found[-1].group(0)
    value = parse_number(text)
    if value is None and (mark := max(text.rfind(","), text.rfind("/"))) >= 0:
        value = parse_number(text[mark + 1 :].rstrip("%"))
    return value


def number_in_text(text: str) -> Fraction | None:
    boxed = last_boxed(text)
    for value in (None if boxed is None else math_number(boxed), math_number(text), last_number(text)):
        if value is not None:
            return value
    return None


def same_number(a: str, b: str) -> bool:
    x, y = number_in_text(a), number_in_text(b)
    return x is not None and y is not None and x == y
