# SPDX-License-Identifier: Apache-2.0
"""Generated inputs of the fixtures: scenes of coloured shapes, questions and answers, a corpus, tokenizer cases."""

from __future__ import annotations

import random

from PIL import Image, ImageDraw

COLORS = {
    "red": (220, 40, 40),
    "green": (40, 170, 60),
    "blue": (50, 80, 220),
    "yellow": (235, 205, 50),
    "purple": (140, 60, 180),
    "orange": (240, 140, 30),
}
SHAPES = ["circle", "square", "triangle"]

QUESTION_TEMPLATE = (
    "Where is the {color} {shape}? First output the thinking process in <think> </think> tags and then "
    "output the final answer in <answer> </answer> tags. Output the final answer in JSON format."
)

#: Strings whose token ids go into ``golden.json``.
TOKENIZER_CASES = [
    "",
    " ",
    "   ",
    "hello world",
    "Hello, World!  Two  spaces\tand\ttabs",
    "line one\nline two\r\nline three\n\n\n",
    "trailing spaces   ",
    "   leading spaces",
    "don't I'LL we've HE'D it's",
    "numbers 0 1 12 123 1234567890 3.14159 -42 1e-6 ½ ² Ⅷ ٣",
    "[12, 34, 56, 78] {\"bbox_2d\": [0, 1, 2, 3]}",
    "<think>reason</think>\n<answer>[1,2,3,4]</answer>",
    "你好,世界!红色的圆在哪里?",
    "日本語のテキストと한국어 텍스트",
    "émigré café naïve — “quotes” … ¿qué?",
    "e\u0301 (decomposed) é (composed) \u212b \ufb01",
    "emoji 😀🚀 👩‍👩‍👧‍👦 🇨🇭 ❤️",
    "Ωμέγα Привет שלום مرحبا हिन्दी ไทย",
    "zero\u200bwidth\u00a0nbsp\u3000ideographic",
    "\u0000\u0001\x7f control",
    "if (x <= 3) { y += a[i] * 2; } // comment",
    "!!!???...,,,;;; ### --- *** ___",
    "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n",
    "<|vision_start|><|image_pad|><|image_pad|><|vision_end|>text<|endoftext|>",
    "a<|im_end|>b <|im_end|> c<|im_end|",
    "<|video_pad|><|vision_pad|><|box_start|>(1,2)<|box_end|>",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "x" * 3 + "\n \n" + "y",
    "\t\t\tindented\n\t\tmore\n    spaces",
]



def draw_scene(rng: random.Random, width: int, height: int, count: int = 3) -> tuple[Image.Image, list[dict]]:
    """Draw ``count`` coloured shapes and return the image with one record per shape.

    Every record has ``color``, ``shape`` and ``bbox`` as ``[x1, y1, x2, y2]`` pixels.
    Colours do not repeat inside one scene, so "the red circle" is unambiguous.
    """
    background = tuple(rng.randint(225, 250) for _ in range(3))
    image = Image.new("RGB", (width, height), background)
    draw = ImageDraw.Draw(image)
    records = []
    for color in rng.sample(sorted(COLORS), count):
        shape = rng.choice(SHAPES)
        side = rng.randint(max(8, min(width, height) // 5), max(10, min(width, height) // 3))
        left = rng.randint(0, width - side - 1)
        top = rng.randint(0, height - side - 1)
        box = [left, top, left + side, top + side]
        if shape == "circle":
            draw.ellipse(box, fill=COLORS[color])
        elif shape == "square":
            draw.rectangle(box, fill=COLORS[color])
        else:
            draw.polygon([(left, top + side), (left + side, top + side), (left + side // 2, top)], fill=COLORS[color])
        records.append({"color": color, "shape": shape, "bbox": box})
    return image, records


def question_messages(question: str) -> list[dict]:
    """Return the ChatML conversation of one referring-expression prompt with one image."""
    return [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]}]


def answer_text(box: list[int], color: str, shape: str) -> str:
    """Return a well-formed completion for ``box``."""
    return (
        f"<think>I look for the {color} {shape} and read its corners.</think>"
        f'<answer>{{"bbox_2d": [{box[0]}, {box[1]}, {box[2]}, {box[3]}]}}</answer>'
    )


def build_corpus(seed: int, lines: int = 6000) -> list[str]:
    """Return generated text: scene questions, answers, code, numbers, several scripts, pseudo-words."""
    rng = random.Random(seed)
    onsets = ["b", "br", "c", "ch", "d", "f", "g", "gr", "h", "k", "l", "m", "n", "p", "pl", "r", "s", "st", "t", "v"]
    nuclei = ["a", "e", "i", "o", "u", "ai", "ea", "ou", "io"]
    codas = ["", "n", "r", "s", "t", "l", "nd", "ck", "ing", "er", "tion", "ly"]

    def word() -> str:
        return "".join(rng.choice(onsets) + rng.choice(nuclei) + rng.choice(codas) for _ in range(rng.randint(1, 3)))

    lexicon = [word() for _ in range(2500)]
    weights = [1.0 / (rank + 3) for rank in range(len(lexicon))]
    chinese = ["红色的圆", "蓝色的方块", "在左边", "在右边", "图片里有", "三个形状", "你好", "世界", "请输出答案", "思考过程"]
    misc = ["😀", "🚀", "é", "ü", "ñ", "Привет", "мир", "日本語", "한국어", "Ωμέγα", "“", "”", "—", "…"]
    result = []
    for _ in range(lines):
        kind = rng.random()
        color, shape = rng.choice(sorted(COLORS)), rng.choice(SHAPES)
        box = [rng.randint(0, 999) for _ in range(4)]
        if kind < 0.18:
            result.append(QUESTION_TEMPLATE.format(color=color, shape=shape))
        elif kind < 0.36:
            result.append(answer_text(box, color, shape))
        elif kind < 0.44:
            result.append(f"for (int i = {box[0]}; i < {box[1]}; ++i) {{\n    sum += values[i] * {box[2]};\n}}\n")
        elif kind < 0.54:
            result.append("".join(rng.choices(chinese, k=rng.randint(2, 5))) + rng.choice("。!?"))
        elif kind < 0.60:
            result.append(" ".join(rng.choices(misc, k=rng.randint(2, 6))))
        else:
            words = rng.choices(lexicon, weights=weights, k=rng.randint(6, 16))
            result.append(" ".join(words).capitalize() + rng.choice([".", "!", "?", ", and so on.", " (see below)."]))
    return result
