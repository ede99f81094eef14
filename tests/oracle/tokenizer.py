# SPDX-License-Identifier: Apache-2.0
"""The tokenizer of the fixtures: byte-level BPE with the Qwen2 pipeline, trained on the generated corpus."""

from __future__ import annotations

import json
from pathlib import Path

from inputs import build_corpus
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

#: The special tokens of Qwen2-VL, in the order of their ids.
SPECIAL_TOKENS = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|object_ref_start|>",
    "<|object_ref_end|>",
    "<|box_start|>",
    "<|box_end|>",
    "<|quad_start|>",
    "<|quad_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
]

#: The Split pattern of the Qwen2 pre-tokenizer.
PRETOKENIZE_REGEX = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)

#: A ChatML template written for this project; its output equals Qwen's own template
#: for system / user / assistant messages with text, image and video parts.
CHAT_TEMPLATE = """\
{%- set seen = namespace(image=0, video=0) -%}
{%- macro media(kind, label, number) -%}
{%- if add_vision_id %}{{ label ~ ' ' ~ number ~ ': ' }}{% endif -%}
{{- '<|vision_start|><|' ~ kind ~ '_pad|><|vision_end|>' -}}
{%- endmacro -%}
{%- for message in messages -%}
{%- if loop.first and message['role'] != 'system' -%}
{{- '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' -}}
{%- endif -%}
{{- '<|im_start|>' ~ message['role'] ~ '\\n' -}}
{%- if message['content'] is string -%}
{{- message['content'] -}}
{%- else -%}
{%- for part in message['content'] -%}
{%- if part['type'] == 'image' or 'image' in part or 'image_url' in part -%}
{%- set seen.image = seen.image + 1 -%}
{{- media('image', 'Picture', seen.image) -}}
{%- elif part['type'] == 'video' or 'video' in part -%}
{%- set seen.video = seen.video + 1 -%}
{{- media('video', 'Video', seen.video) -}}
{%- elif 'text' in part -%}
{{- part['text'] -}}
{%- endif -%}
{%- endfor -%}
{%- endif -%}
{{- '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<|im_start|>assistant\\n' -}}
{%- endif -%}
"""



def write_json(path: Path, value, indent: int | None = 2) -> None:
    """Write ``value`` as UTF-8 JSON."""
    path.write_text(json.dumps(value, indent=indent, ensure_ascii=False) + "\n", encoding="utf-8")


def train_tokenizer(vocab_size: int, seed: int) -> Tokenizer:
    """Train a byte-level BPE tokenizer with the Qwen2 pipeline and Qwen's special tokens."""
    tokenizer = Tokenizer(
        models.BPE(
            dropout=None,
            unk_token=None,
            continuing_subword_prefix="",
            end_of_word_suffix="",
            fuse_unk=False,
            byte_fallback=False,
        )
    )
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PRETOKENIZE_REGEX), behavior="isolated", invert=False),
            pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False),
        ]
    )
    tokenizer.post_processor = processors.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False)
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=[],
    )
    tokenizer.train_from_iterator(build_corpus(seed), trainer=trainer)
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in SPECIAL_TOKENS])
    return tokenizer


def write_tokenizer(out: Path, tokenizer: Tokenizer, merges_style: str, processor_class: str) -> None:
    """Write tokenizer.json, vocab.json, merges.txt, tokenizer_config.json and the chat template files."""
    data = json.loads(tokenizer.to_str())
    pairs = [m if isinstance(m, list) else m.split(" ") for m in data["model"]["merges"]]
    if merges_style == "strings":  # as in the published files; newer writers store pairs
        data["model"]["merges"] = [" ".join(pair) for pair in pairs]
    else:
        data["model"]["merges"] = pairs
    write_json(out / "tokenizer.json", data)
    write_json(out / "vocab.json", data["model"]["vocab"], indent=None)
    (out / "merges.txt").write_text(
        "#version: 0.2\n" + "".join(" ".join(pair) + "\n" for pair in pairs), encoding="utf-8"
    )
    flags = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True}
    added = {str(tokenizer.token_to_id(token)): {"content": token, **flags} for token in SPECIAL_TOKENS}
    write_json(
        out / "tokenizer_config.json",
        {
            "add_prefix_space": False,
            "added_tokens_decoder": added,
            "additional_special_tokens": SPECIAL_TOKENS[1:],
            "bos_token": None,
            "chat_template": CHAT_TEMPLATE,
            "clean_up_tokenization_spaces": False,
            "eos_token": "<|im_end|>",
            "errors": "replace",
            "model_max_length": 32768,
            "pad_token": "<|endoftext|>",
            "padding_side": "left",
            "processor_class": processor_class,
            "split_special_tokens": False,
            "tokenizer_class": "Qwen2Tokenizer",
            "unk_token": None,
        },
    )
    write_json(out / "chat_template.json", {"chat_template": CHAT_TEMPLATE})

