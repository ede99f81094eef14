# SPDX-License-Identifier: Apache-2.0
"""The tokenizers of the fixtures: byte-level BPE with a family's pipeline, trained on the generated corpus."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
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

#: Equal to Qwen2's for messages of text, with a system message of its own.
TEXT_TEMPLATE = """\
{%- for message in messages -%}
{%- if loop.first and message['role'] != 'system' -%}
{{- '<|im_start|>system\\nYou are a careful assistant.<|im_end|>\\n' -}}
{%- endif -%}
{{- '<|im_start|>' ~ message['role'] ~ '\\n' ~ message['content'] ~ '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<|im_start|>assistant\\n' -}}
{%- endif -%}
"""

#: Equal to Qwen3's for messages of text: reasoning of turns before the last question is dropped, the last answer has
#: a block.
THINKING_TEMPLATE = """\
{%- set seen = namespace(question=messages | length - 1) -%}
{%- for message in messages -%}
{%- if message['role'] == 'user' %}{% set seen.question = loop.index0 %}{% endif -%}
{%- endfor -%}
{%- for message in messages -%}
{%- set content = message['content'] -%}
{%- set reasoning = '' -%}
{%- if message['role'] == 'assistant' and '</think>' in content -%}
{%- set reasoning = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].strip('\\n') -%}
{%- set content = content.split('</think>')[-1].lstrip('\\n') -%}
{%- endif -%}
{%- if message['role'] == 'assistant' and loop.index0 > seen.question and (loop.last or reasoning) -%}
{%- set content = '<think>\\n' ~ reasoning ~ '\\n</think>\\n\\n' ~ content.lstrip('\\n') -%}
{%- endif -%}
{{- '<|im_start|>' ~ message['role'] ~ '\\n' ~ content ~ '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<|im_start|>assistant\\n' -}}
{%- endif -%}
"""

#: Equal to Llama 3.1's for messages of text.
LLAMA3_TEMPLATE = """\
{%- set date = date_string | default('26 Jul 2024') -%}
{%- set first_is_system = messages[0]['role'] == 'system' -%}
{{- '<|begin_of_text|><|start_header_id|>system<|end_header_id|>\\n\\n' -}}
{{- 'Cutting Knowledge Date: December 2023\\nToday Date: ' ~ date ~ '\\n\\n' -}}
{{- (messages[0]['content'] | trim if first_is_system else '') ~ '<|eot_id|>' -}}
{%- for message in (messages[1:] if first_is_system else messages) -%}
{{- '<|start_header_id|>' ~ message['role'] ~ '<|end_header_id|>\\n\\n' -}}
{{- message['content'] | trim ~ '<|eot_id|>' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' -}}
{%- endif -%}
"""

#: Equal to GLM-4.1V's for messages of text and for a user's parts (the published one knows no parts of other roles).
GLM4V_TEMPLATE = """\
{{- '[gMASK]<sop>' -}}
{%- for message in messages if message['role'] in ['system', 'user', 'assistant'] -%}
{{- '<|' ~ message['role'] ~ '|>\\n' -}}
{%- if message['content'] is string -%}
{{- message['content'] -}}
{%- else -%}
{%- for part in message['content'] -%}
{%- if part['type'] == 'video' or 'video' in part -%}
{{- '<|begin_of_video|><|video|><|end_of_video|>' -}}
{%- elif part['type'] == 'image' or 'image' in part -%}
{{- '<|begin_of_image|><|image|><|end_of_image|>' -}}
{%- elif part['type'] == 'text' -%}
{{- part['text'] -}}
{%- endif -%}
{%- endfor -%}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<|assistant|>\\n' -}}
{%- endif -%}
"""

#: The Split pattern of Llama 3's pre-tokenizer: numbers in groups of three digits.
LLAMA3_REGEX = PRETOKENIZE_REGEX.replace(r"|\p{N}|", r"|\p{N}{1,3}|")


@dataclass(frozen=True)
class TokenizerStyle:
    """What distinguishes the tokenizers of two families: pattern, special tokens, chat template."""

    regex: str
    special: tuple[str, ...]
    template: str
    bos: str
    end: str
    pad: str
    nfc: bool
    tokenizer_class: str
    adds_bos: bool = False
    plain: tuple[str, ...] = ()  # added tokens that are not special, behind those that are
    template_file: str = "chat_template.json"
    named_tokens: dict[str, str] = field(default_factory=dict)


def chatml(template: str, *special: str) -> TokenizerStyle:
    """Return Qwen's style with one of its templates and further special tokens."""
    return TokenizerStyle(
        regex=PRETOKENIZE_REGEX,
        special=(*SPECIAL_TOKENS, *special),
        template=template,
        bos="<|endoftext|>",
        end="<|im_end|>",
        pad="<|endoftext|>",
        nfc=True,
        tokenizer_class="Qwen2Tokenizer",
    )


#: Qwen3-VL's has no default system message.
NO_SYSTEM_TEMPLATE = CHAT_TEMPLATE.replace(
    "{{- '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' -}}\n", ""
)

#: Equal to that of InternVL's published files: an image is followed by a line break, nothing is trimmed.
INTERNVL_TEMPLATE = """\
{%- for message in messages -%}
{{- '<|im_start|>' ~ message['role'] ~ '\\n' -}}
{%- if message['content'] is string -%}
{{- message['content'] -}}
{%- else -%}
{%- for part in message['content'] -%}
{%- if part['type'] == 'image' -%}
{{- '<IMG_CONTEXT>\\n' -}}
{%- elif part['type'] == 'text' -%}
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

#: The names by which transformers' InternVLProcessor asks the tokenizer for tokens.
INTERNVL_TOKENS = {
    "start_image_token": "<img>",
    "end_image_token": "</img>",
    "context_image_token": "<IMG_CONTEXT>",
    "video_token": "<video>",
}

CHATML = {
    "internvl": replace(
        chatml(INTERNVL_TEMPLATE, *INTERNVL_TOKENS.values(), "<ref>", "</ref>", "<box>", "</box>"),
        named_tokens=INTERNVL_TOKENS,
    ),
    "qwen_vl": chatml(CHAT_TEMPLATE),
    "qwen3_vl": chatml(NO_SYSTEM_TEMPLATE),
    "qwen2": chatml(TEXT_TEMPLATE),
    "qwen3": chatml(THINKING_TEMPLATE),
}

LLAMA3 = TokenizerStyle(
    regex=LLAMA3_REGEX,
    special=("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
    template=LLAMA3_TEMPLATE,
    bos="<|begin_of_text|>",
    end="<|eot_id|>",
    pad="<|end_of_text|>",
    nfc=False,
    tokenizer_class="PreTrainedTokenizerFast",
    adds_bos=True,
)


GLM4V = TokenizerStyle(
    regex=LLAMA3_REGEX,
    special=(
        "<|endoftext|>",
        "[MASK]",
        "[gMASK]",
        "[sMASK]",
        "<sop>",
        "<eop>",
        "<|system|>",
        "<|user|>",
        "<|assistant|>",
        "<|observation|>",
        "<|begin_of_image|>",
        "<|end_of_image|>",
        "<|begin_of_video|>",
        "<|end_of_video|>",
        "<|image|>",
        "<|video|>",
    ),
    plain=("<think>", "</think>", "<answer>", "</answer>", "<|begin_of_box|>", "<|end_of_box|>"),
    template=GLM4V_TEMPLATE,
    bos="<|endoftext|>",
    end="<|endoftext|>",
    pad="<|endoftext|>",
    nfc=False,
    tokenizer_class="PreTrainedTokenizerFast",
    template_file="chat_template.jinja",
)


def write_json(path: Path, value, indent: int | None = 2) -> None:
    """Write ``value`` as UTF-8 JSON."""
    path.write_text(json.dumps(value, indent=indent, ensure_ascii=False) + "\n", encoding="utf-8")


def train_tokenizer(vocab_size: int, seed: int, style: TokenizerStyle = CHATML["qwen_vl"]) -> Tokenizer:
    """Train a byte-level BPE tokenizer with the pipeline and the special tokens of a style."""
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
    if style.nfc:
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(style.regex), behavior="isolated", invert=False),
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
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in style.special])
    tokenizer.add_tokens([AddedToken(t, special=False, normalized=False) for t in style.plain])
    if style.adds_bos:
        bos = (style.bos, tokenizer.token_to_id(style.bos))
        template = processors.TemplateProcessing(
            single=f"{style.bos} $A", pair=f"{style.bos} $A $B:1", special_tokens=[bos]
        )
        tokenizer.post_processor = processors.Sequence([tokenizer.post_processor, template])
    return tokenizer


def write_tokenizer(
    out: Path, tokenizer: Tokenizer, merges_style: str, processor_class: str | None, style: TokenizerStyle
) -> None:
    """Write tokenizer.json, vocab.json, merges.txt, tokenizer_config.json and the chat template."""
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
    flags = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False}
    added = {
        str(tokenizer.token_to_id(token)): {"content": token, **flags, "special": token in style.special}
        for token in style.special + style.plain
    }
    has_jinja_file = style.template_file.endswith(".jinja")
    write_json(
        out / "tokenizer_config.json",
        {
            "add_prefix_space": False,
            "added_tokens_decoder": added,
            "additional_special_tokens": list(style.special[1:]),
            "bos_token": style.bos if style.adds_bos else None,
            **({} if has_jinja_file else {"chat_template": style.template}),
            "clean_up_tokenization_spaces": False,
            "eos_token": style.end,
            "errors": "replace",
            **({"extra_special_tokens": style.named_tokens, **style.named_tokens} if style.named_tokens else {}),
            "model_max_length": 32768,
            "pad_token": style.pad,
            "padding_side": "left",
            **({"processor_class": processor_class} if processor_class else {}),
            "split_special_tokens": False,
            "tokenizer_class": style.tokenizer_class,
            "unk_token": None,
        },
    )
    if has_jinja_file:
        (out / style.template_file).write_text(style.template, encoding="utf-8")
    else:
        write_json(out / style.template_file, {"chat_template": style.template})

