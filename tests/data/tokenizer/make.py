#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write tokenizer.json and cases.json: a small byte-level BPE and what the `tokenizers` library makes of some texts.

    python make.py        # writes beside itself; made with tokenizers 0.23
"""

import json
import random
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>"]

# Texts whose ids are kept. Each is here for a reason a reader can see: case of contractions, runs of white space,
# line ends, digits of several scripts, composition, characters of many bytes, added tokens whole and broken.
TEXTS = [
    "", " ", "   ", "hello world", "Hello, World!  Two  spaces\tand\ttabs",
    "line one\nline two\r\nline three\n\n\n", "trailing   ", "   leading", "don't I'LL we've HE'D it's o'clock '\u017f",
    "0 1 12 123 1234567890 3.14159 -42 1e-6 \u00bd \u00b2 \u2167 \u0663",
    "[12, 34, 56, 78] {\"bbox_2d\": [0, 1, 2, 3]}", "<think>reason</think>\n<answer>[1,2,3,4]</answer>",
    "\u4f60\u597d,\u4e16\u754c!\u7ea2\u8272\u7684\u5706\u5728\u54ea\u91cc?", "\u65e5\u672c\u8a9e\u3068\ud55c\uad6d\uc5b4",
    "\u00e9migr\u00e9 caf\u00e9 \u2014 \u201cquotes\u201d \u2026", "e\u0301 \u00e9 \u212b \ufb01 a\u0323\u0301 a\u0301\u0323",
    "\uac00 \u1100\u1161 \u1100\u1161\u11a8", "\U0001f600\U0001f680 \U0001f468\u200d\U0001f469\u200d\U0001f467 \u2764\ufe0f",
    "\u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627 \u0939\u093f\u0928\u094d\u0926\u0940 \u0e44\u0e17\u0e22",
    "zero\u200bwidth\u00a0nbsp\u3000ideographic\u180emongolian\u0085next", "\u0000\u0001\x7f control",
    "if (x <= 3) { y += a[i] * 2; } // comment", "!!!???...,,,;;; ### --- *** ___",
    "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n", "<|vision_start|><|image_pad|><|image_pad|><|vision_end|>",
    "a<|im_end|>b <|im_end|> c<|im_end|", "<|im_<|im_end|><||>", "a" * 37, "xxx\n \ny", "\t\t\tindented\n\t\tmore\n    spaces",
    "\U00031350\U0002ebf0 \U00016d70 letters and digits of Unicode 15 and 16", "b\u0897\u0323 q\u1ace\u0323 marks after Unicode 10",
]


def corpus(rng: random.Random) -> list[str]:
    words = ("the a red green blue circle square triangle where is left right of above box answer think image region "
             "first then output number shows between large small its find don't we've it's I'll").split()
    other = ["\u7ea2\u8272\u7684\u5706", "\u4f60\u597d\u4e16\u754c", "\u041f\u0440\u0438\u0432\u0435\u0442", "caf\u00e9", "\U0001f600"]
    lines = []
    for _ in range(3000):
        line = " ".join(rng.choice(words) for _ in range(rng.randint(4, 12))).capitalize() + rng.choice(".?!")
        if rng.random() < 0.4:
            line += " <answer>" + str([rng.randint(0, 999) for _ in range(4)]) + "</answer>\n"
        if rng.random() < 0.2:
            line += " " + rng.choice(other) + "  " + rng.choice(other)
        lines.append(line)
    return lines


def main() -> None:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(SPLIT), behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False),
    ])
    tokenizer.post_processor = processors.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False)
    trainer = trainers.BpeTrainer(vocab_size=480, min_frequency=2, show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(corpus(random.Random(0)), trainer=trainer)
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in SPECIAL])
    tokenizer.add_tokens([AddedToken("<tool>", special=False, normalized=False)])

    here = Path(__file__).parent
    data = json.loads(tokenizer.to_str())
    merges = data["model"]["merges"]
    data["model"]["merges"] = [m if isinstance(m, str) else " ".join(m) for m in merges]  # as published files have them
    (here / "tokenizer.json").write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

    cases = []
    for text in TEXTS + ["a<tool>b"]:
        ids = tokenizer.encode(text).ids
        cases.append({
            "text": text,
            "ids": ids,
            "decoded": tokenizer.decode(ids, skip_special_tokens=False),
            "decoded_skip_special": tokenizer.decode(ids, skip_special_tokens=True),
        })
    # Sequences of ids that end, begin or break inside a character.
    rng = random.Random(1)
    first = tokenizer.token_to_id("\u0120")
    for _ in range(40):
        ids = [rng.choice([rng.randrange(94, 256), rng.randrange(0, 490), first]) for _ in range(rng.randint(1, 9))]
        cases.append({
            "ids": ids,
            "decoded": tokenizer.decode(ids, skip_special_tokens=False),
            "decoded_skip_special": tokenizer.decode(ids, skip_special_tokens=True),
        })
    lines = ",\n".join(json.dumps(case) for case in cases)
    (here / "cases.json").write_text("[\n" + lines + "\n]\n", encoding="utf-8")


if __name__ == "__main__":
    main()
