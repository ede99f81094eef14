#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write configs/demo/skeleton: a Qwen2.5-VL-shaped model directory without weights, and its tokenizer.

The directory has the layout of the published repositories. `graft sft` with model.init=random fills in seeded weights
and trains them (configs/demo/sft.json), which gives configs/demo/checkpoint. Run again only to change the recipe:

    python3 -m pip install tokenizers
    python3 configs/demo/make_skeleton.py
"""

import json
import random
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

OUT = Path(__file__).parent / "skeleton"
COLORS = ["red", "green", "blue", "yellow", "purple", "orange"]
SHAPES = ["circle", "square", "triangle"]

#: Qwen2-VL's special tokens in the order of their ids.
SPECIAL_TOKENS = [
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>",
    "<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>",
    "<|image_pad|>", "<|video_pad|>",
]

#: The split expression of the Qwen2 tokenizer.
SPLIT = (
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


def corpus() -> list[str]:
    """Return the texts of the task: prompts and answers with random numbers."""
    rng = random.Random(0)
    lines = []
    for _ in range(4000):
        color, shape = rng.choice(COLORS), rng.choice(SHAPES)
        box = [rng.randint(0, 111) for _ in range(4)]
        lines.append(
            "system\nYou are a helpful assistant.\nuser\n"
            f"Where is the {color} {shape}? First output the thinking process in <think> </think> tags and then "
            "output the final answer in <answer> </answer> tags.\nassistant\n"
        )
        lines.append(f"<think>the {color} {shape}</think><answer>{box}</answer>")
    return lines


def train_tokenizer() -> Tokenizer:
    """Train a byte-level BPE tokenizer with the pipeline of Qwen2."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), behavior="isolated", invert=False),
            pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False),
        ]
    )
    tokenizer.post_processor = processors.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False)
    trainer = trainers.BpeTrainer(
        vocab_size=434, show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), special_tokens=[]
    )
    tokenizer.train_from_iterator(corpus(), trainer=trainer)
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS])
    return tokenizer


def write_json(name: str, value: dict) -> None:
    """Write one JSON file of the directory."""
    (OUT / name).write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def main() -> None:
    """Write all files."""
    OUT.mkdir(parents=True, exist_ok=True)
    tokenizer = train_tokenizer()
    tokenizer.save(str(OUT / "tokenizer.json"))
    token = tokenizer.token_to_id
    write_json(
        "tokenizer_config.json",
        {
            "chat_template": CHAT_TEMPLATE,
            "eos_token": "<|im_end|>",
            "pad_token": "<|endoftext|>",
            "model_max_length": 2048,
            "tokenizer_class": "Qwen2Tokenizer",
            "processor_class": "Qwen2_5_VLProcessor",
        },
    )
    write_json("chat_template.json", {"chat_template": CHAT_TEMPLATE})
    write_json(
        "generation_config.json",
        {
            "pad_token_id": token("<|endoftext|>"),
            "do_sample": True,
            "eos_token_id": [token("<|im_end|>"), token("<|endoftext|>")],
            "temperature": 1.0,
        },
    )
    write_json(
        "preprocessor_config.json",
        {
            "min_pixels": 56 * 56,
            "max_pixels": 28 * 28 * 64,
            "patch_size": 14,
            "temporal_patch_size": 2,
            "merge_size": 2,
            "image_mean": [0.48145466, 0.4578275, 0.40821073],
            "image_std": [0.26862954, 0.26130258, 0.27577711],
            "image_processor_type": "Qwen2VLImageProcessor",
            "processor_class": "Qwen2_5_VLProcessor",
        },
    )
    write_json(
        "config.json",
        {
            "architectures": ["Qwen2_5_VLForConditionalGeneration"],
            "model_type": "qwen2_5_vl",
            "vision_start_token_id": token("<|vision_start|>"),
            "vision_end_token_id": token("<|vision_end|>"),
            "vision_token_id": token("<|vision_pad|>"),
            "image_token_id": token("<|image_pad|>"),
            "video_token_id": token("<|video_pad|>"),
            "bos_token_id": token("<|endoftext|>"),
            "eos_token_id": token("<|im_end|>"),
            "hidden_act": "silu",
            "hidden_size": 128,
            # About 1 / sqrt(hidden_size): the usual 0.02 is for wide models and keeps a narrow one on its plateau for long.
            "initializer_range": 0.08,
            "intermediate_size": 384,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 2048,
            "rms_norm_eps": 1e-06,
            "rope_theta": 10000.0,
            "rope_scaling": {"type": "mrope", "mrope_section": [4, 6, 6]},
            "tie_word_embeddings": True,
            "torch_dtype": "float32",
            "vocab_size": -(-tokenizer.get_vocab_size() // 64) * 64,
            "vision_config": {
                "depth": 4,
                "hidden_act": "silu",
                "hidden_size": 64,
                "intermediate_size": 160,
                "num_heads": 4,
                "in_chans": 3,
                "out_hidden_size": 128,
                "patch_size": 14,
                "spatial_merge_size": 2,
                "spatial_patch_size": 14,
                "window_size": 56,
                "fullatt_block_indexes": [1, 3],
                "tokens_per_second": 2,
                "temporal_patch_size": 2,
            },
        },
    )


if __name__ == "__main__":
    main()
