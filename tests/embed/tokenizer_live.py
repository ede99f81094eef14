#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compare graft's tokenizer with the `tokenizers` library on random Unicode text.

    python tokenizer_live.py --model DIR --count 20000 -- graft tokenize --model {}

DIR holds a tokenizer.json. The command after `--` reads {"text": …} lines and writes {"ids": […]} lines; `{}` is
replaced by the directory. Besides DIR as it is, variants of its tokenizer.json are tried (--variants): merges as
pairs, ByteLevel's own expression, no normalizer, ignore_merges, added tokens with every flag. Exit code 1 and the
first differences if any id differs.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path

from tokenizers import Tokenizer

SPACES = "\t\n\x0b\x0c\r \x85\xa0\u1680\u180e\u2000\u2003\u2009\u200b\u2028\u2029\u202f\u205f\u3000\ufeff"
WORDS = ["don't", "I'LL", "we\u2019ve", "'\u017f", "HE'D", "<|im_start|>", "<|im_end|>", "<|im_", "<|image_pad|>",
         "<think>", "</answer>", "[12, 34]", "123456", "hello", "world", "\r\n", "\n\n", "...", "h\u00e9", "he\u0301",
         "\u212b", "\ufb01", "\uac00", "\u1100\u1161\u11a8", "\U0001f600", "\u4f60\u597d", "Added", "added\u0301"]
BLOCKS = [(0x20, 0x7F), (0x0, 0x100), (0x300, 0x370), (0x370, 0x600), (0x590, 0x900), (0x900, 0xE00), (0xE00, 0x1200),
          (0x1AB0, 0x1B00), (0x1DC0, 0x1F00), (0x2000, 0x2100), (0x20D0, 0x2200), (0x3000, 0x3200), (0x4E00, 0xA000),
          (0xA800, 0xAC00), (0xAC00, 0xD7B0), (0xF900, 0xFB50), (0xFE20, 0xFE30), (0x10A00, 0x11200),
          (0x11100, 0x11A00), (0x11A00, 0x12000), (0x16100, 0x17000), (0x1D100, 0x1D300), (0x1DF00, 0x1F000),
          (0x1F300, 0x1FB00), (0x20000, 0x20100), (0x2E000, 0x2FB00), (0x31300, 0x32400), (0xE0000, 0xE0200)]
MARKS = [c for low, high in ((0x300, 0x370), (0x591, 0x5C8), (0x1AB0, 0x1ACF), (0x1DC0, 0x1E00)) for c in range(low, high)]


def random_text(rng: random.Random) -> str:
    """Words, white space, runs of one block, heaps of combining marks, or code points from anywhere."""
    parts = []
    for _ in range(rng.randint(1, 8)):
        kind = rng.randrange(6)
        if kind == 0:
            parts.append(rng.choice(WORDS))
        elif kind == 1:
            parts.extend(rng.choices(SPACES, k=rng.randint(1, 5)))
        elif kind == 2:
            low, high = rng.choice(BLOCKS)
            parts.extend(chr(rng.randrange(low, high)) for _ in range(rng.randint(1, 8)))
        elif kind == 3:
            parts.append(rng.choice("aeoAEnsu\u0428\u05d0\u0915\u3042"))
            parts.extend(chr(c) for c in rng.choices(MARKS, k=rng.randint(1, 4)))
        elif kind == 4:
            low, high = rng.choice(BLOCKS)
            parts.append(rng.choice("abc "))
            for _ in range(rng.randint(1, 3)):
                parts.append(chr(rng.randrange(low, high)) + chr(rng.choice(MARKS)))
        else:
            code = rng.randrange(0x110000 - 0x800)
            parts.append(chr(code if code < 0xD800 else code + 0x800))
    return "".join(parts)


def with_flags(data: dict) -> dict:
    """Added tokens that strip, stand alone, or are looked for after normalization."""
    top = max(max(data["model"]["vocab"].values()), max((t["id"] for t in data["added_tokens"]), default=0))
    contents = ["Added", "added\u0301", "wor", "'\u017f", "h\u00e9", "<|im_", "hello world", "\u4f60", "12"]
    rng = random.Random(7)
    for offset, content in enumerate(contents):
        flags = {name: rng.random() < 0.5 for name in ("lstrip", "rstrip", "single_word", "normalized", "special")}
        token_id = data["model"]["vocab"].get(content, top + 1 + offset)
        data["added_tokens"].append({"id": token_id, "content": content, **flags})
    return data


def variants(source: dict) -> dict[str, dict]:
    def copy() -> dict:
        return json.loads(json.dumps(source))

    made = {"as it is": copy()}
    data = copy()
    merges = data["model"]["merges"]
    data["model"]["merges"] = [" ".join(m) if isinstance(m, list) else m.split(" ") for m in merges]
    made["merges in the other style"] = data
    data = copy()
    data["pre_tokenizer"] = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    made["ByteLevel alone"] = data
    data = copy()
    data["pre_tokenizer"] = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
    made["ByteLevel alone, prefix space"] = data
    data = copy()
    data["normalizer"] = None
    made["no normalizer"] = data
    data = copy()
    data["model"]["ignore_merges"] = True
    made["ignore_merges"] = data
    made["added tokens with flags"] = with_flags(copy())
    return made


def encode_with(command: list[str], directory: Path, texts: list[str]) -> list[list[int]]:
    lines = "".join(json.dumps({"text": text}) + "\n" for text in texts)
    argv = [part.replace("{}", str(directory)) for part in command]
    done = subprocess.run(argv, input=lines, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{argv} ended with {done.returncode}: {done.stderr}")
    answers = [json.loads(line)["ids"] for line in done.stdout.split("\n") if line]
    if len(answers) != len(texts):
        sys.exit(f"{argv} gave {len(answers)} lines for {len(texts)}")
    return answers


def compare(name: str, data: dict, source: Path, command: list[str], texts: list[str]) -> int:
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch)
        for file in source.iterdir():
            if file.name != "tokenizer.json" and file.is_file():
                (directory / file.name).symlink_to(file.resolve())
        path = directory / "tokenizer.json"
        path.write_text(json.dumps(data), encoding="utf-8")
        reference = Tokenizer.from_file(str(path))
        expected = [encoding.ids for encoding in reference.encode_batch(texts, add_special_tokens=True)]
        found = encode_with(command, directory, texts)
    wrong = [i for i in range(len(texts)) if expected[i] != found[i]]
    print(f"{name}: {len(texts)} texts, {len(wrong)} differ")
    for i in wrong[:5]:
        print(f"  {texts[i]!a}\n    tokenizers {expected[i]}\n    graft      {found[i]}")
    return len(wrong)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True, help="directory with a tokenizer.json")
    parser.add_argument("--count", type=int, default=20000, help="texts a variant")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--variants", action="store_true", help="also try changed copies of the tokenizer.json")
    parser.add_argument("command", nargs="+", help="after --: the command, {} for the directory")
    args = parser.parse_args()
    rng = random.Random(args.seed)
    texts = [random_text(rng) for _ in range(args.count)]
    source = json.loads((args.model / "tokenizer.json").read_text(encoding="utf-8"))
    cases = variants(source) if args.variants else {"as it is": source}
    return 1 if sum(compare(name, data, args.model, args.command, texts) for name, data in cases.items()) else 0


if __name__ == "__main__":
    sys.exit(main())
