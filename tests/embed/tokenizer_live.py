#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compare graft's tokenizer with the `tokenizers` library on random Unicode text.

    python tokenizer_live.py --model DIR --families --count 20000 -- graft tokenize --model {}

DIR holds a tokenizer.json. The command after `--` reads {"text": …} lines and writes {"ids": […]} lines, and
the other way round; `{}` is replaced by the directory, and --add-special-tokens or --skip-special-tokens is
appended where wanted. Besides DIR as it is, changed copies of its tokenizer.json are tried (--variants): merges
as pairs, ByteLevel's own expression, no normalizer, ignore_merges, added tokens with every flag. --families
makes a small tokenizer in the published layout of each family as well (Qwen2.5, Qwen3, GLM-4, Llama-3), with
everything that is particular to it, and compares ids, ids with special tokens, and texts of random ids with and
without special tokens. Exit code 1 and the first differences if anything differs.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path

from tokenizers import (AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors,
                        trainers)

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


def split_expression(digits: str) -> str:
    """Qwen's expression with one digit a word; Llama-3 and GLM-4 take up to three."""
    return (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|" + digits +
            r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")


def trained(expression: str, nfc: bool, corpus: list[str], unreached: list[str]) -> dict:
    """Byte-level BPE trained on `corpus`; the words `unreached` join the vocabulary without a merge."""
    tokenizer = Tokenizer(models.BPE())
    if nfc:
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(expression), behavior="isolated", invert=False),
        pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(corpus, trainers.BpeTrainer(
        vocab_size=1500, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    data = json.loads(tokenizer.to_str())
    for token in unreached:
        data["model"]["vocab"].setdefault(token, len(data["model"]["vocab"]))
    return data


def finished(data: dict, special: list[str], plain: list[str], **parts: object) -> dict:
    """The tokenizer with added tokens, special and not, and a post-processor."""
    tokenizer = Tokenizer.from_str(json.dumps(data))
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in special])
    tokenizer.add_tokens([AddedToken(token, normalized=False) for token in plain])
    before = parts.get("before", [])
    byte_level = processors.ByteLevel(trim_offsets=True)
    if before:
        template = processors.TemplateProcessing(
            single=" ".join([f"{token}:0" for token in before] + ["$A:0"]),
            pair=" ".join([f"{token}:0" for token in before] + ["$A:0", "$B:1"]),
            special_tokens=[(token, tokenizer.token_to_id(token)) for token in before])
        byte_level = processors.Sequence([byte_level, template])
    tokenizer.post_processor = byte_level
    made = json.loads(tokenizer.to_str())
    if parts.get("merges_as_text"):
        made["model"]["merges"] = [" ".join(pair) for pair in made["model"]["merges"]]
    return made


def families(rng: random.Random) -> dict[str, dict]:
    """A small tokenizer of each family, laid out as the published one."""
    corpus = [random_text(rng) for _ in range(4000)]
    corpus += [" ".join(rng.choices(WORDS + ["the", "a", "2024", "x1", "\n"], k=20)) for _ in range(2000)]
    unreached = ["hello\u0120world", "wor", "\u0120wor", "789", "\u0120don't", "...."]
    qwen = trained(split_expression(r"\p{N}"), True, corpus, [])
    thousands = trained(split_expression(r"\p{N}{1,3}"), False, corpus, unreached)
    llama = json.loads(json.dumps(thousands))
    llama["model"]["ignore_merges"] = True
    chat = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    vision = ["<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
    return {
        "qwen2.5": finished(qwen, [*chat, *vision, "<|box_start|>", "<|box_end|>"],
                            ["<tool_call>", "</tool_call>"], merges_as_text=True),
        "qwen3": finished(qwen, [*chat, *vision], ["<tool_call>", "<think>", "</think>", "</answer>"]),
        "glm-4": finished(thousands, ["<|endoftext|>", "[MASK]", "[gMASK]", "<sop>", "<|user|>",
                                      "<|begin_of_image|>"], ["<think>", "</think>"], before=["[gMASK]", "<sop>"]),
        "llama-3": finished(llama, ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>",
                                    *(f"<|reserved_special_token_{i}|>" for i in range(12))], [],
                            before=["<|begin_of_text|>"], merges_as_text=True),
    }


def random_ids(rng: random.Random, size: int, special: list[int]) -> list[int]:
    """Bytes that break characters, other tokens, special ones."""
    kinds = rng.choices((256, size, 0), weights=(4, 4, 1), k=rng.randint(1, 16))
    return [rng.randrange(limit) if limit else rng.choice(special) for limit in kinds]


def ask(command: list[str], directory: Path, key: str, values: list, answer: str) -> list:
    lines = "".join(json.dumps({key: value}) + "\n" for value in values)
    argv = [part.replace("{}", str(directory)) for part in command]
    done = subprocess.run(argv, input=lines, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{argv} ended with {done.returncode}: {done.stderr}")
    answers = [json.loads(line)[answer] for line in done.stdout.split("\n") if line]
    if len(answers) != len(values):
        sys.exit(f"{argv} gave {len(answers)} lines for {len(values)}")
    return answers


def report(name: str, values: list, expected: list, found: list) -> int:
    wrong = [i for i in range(len(values)) if expected[i] != found[i]]
    print(f"{name}: {len(values)} cases, {len(wrong)} differ")
    for i in wrong[:5]:
        print(f"  {values[i]!a}\n    tokenizers {expected[i]!a}\n    graft      {found[i]!a}")
    return len(wrong)


def compare_family(name: str, data: dict, command: list[str], texts: list[str], rng: random.Random) -> int:
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch)
        (directory / "tokenizer.json").write_text(json.dumps(data), encoding="utf-8")
        reference = Tokenizer.from_file(str(directory / "tokenizer.json"))
        special = [token["id"] for token in data["added_tokens"] if token["special"]]
        # Special tokens of this family in some of the texts, beside those that WORDS has.
        contents = [token["content"] for token in data["added_tokens"]]
        texts = [t + rng.choice(contents) + t[:3] if i % 4 == 0 else t for i, t in enumerate(texts)]
        ids = [random_ids(rng, reference.get_vocab_size(), special) for _ in texts]
        wrong = 0
        for add, flags in ((False, []), (True, ["--add-special-tokens"])):
            expected = [e.ids for e in reference.encode_batch(texts, add_special_tokens=add)]
            found = ask([*command, *flags], directory, "text", texts, "ids")
            wrong += report(f"{name}, encode{' with special tokens' if add else ''}", texts, expected, found)
        for skip, flags in ((False, []), (True, ["--skip-special-tokens"])):
            decoded = reference.decode_batch(ids, skip_special_tokens=skip)
            found = ask([*command, *flags], directory, "ids", ids, "text")
            wrong += report(f"{name}, decode{' without special tokens' if skip else ''}", ids, decoded, found)
    return wrong


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
        found = ask([*command, "--add-special-tokens"], directory, "text", texts, "ids")
    return report(name, texts, expected, found)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True, help="directory with a tokenizer.json")
    parser.add_argument("--count", type=int, default=20000, help="texts a variant")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--variants", action="store_true", help="also try changed copies of the tokenizer.json")
    parser.add_argument("--families", action="store_true", help="also try a small tokenizer of each family")
    parser.add_argument("command", nargs="+", help="after --: the command, {} for the directory")
    args = parser.parse_args()
    rng = random.Random(args.seed)
    texts = [random_text(rng) for _ in range(args.count)]
    source = json.loads((args.model / "tokenizer.json").read_text(encoding="utf-8"))
    cases = variants(source) if args.variants else {"as it is": source}
    wrong = sum(compare(name, data, args.model, args.command, texts) for name, data in cases.items())
    if args.families:
        for name, data in families(rng).items():
            wrong += compare_family(name, data, args.command, texts, rng)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
