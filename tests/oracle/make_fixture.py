#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write a small random-weight checkpoint of a model family with golden values.

The checkpoint directory has the layout of the published repositories (flat
``config.json``, ``visual.*`` / ``model.*`` tensor names, byte-level BPE
``tokenizer.json`` with the family's pipeline, ``preprocessor_config.json``), but the
model has between one and about a hundred million parameters and the tokenizer is
trained here on a generated corpus.  Nothing is downloaded.

Next to the checkpoint the script writes ``golden/``: inputs and the values that
Hugging Face ``transformers`` and ``peft`` compute from them, so that an independent
implementation can be tested against numbers instead of against a Python process.

The fixtures of the parity tests are written by::

    python tests/oracle/make_fixture.py --out tests/parity/data/qwen2_5_vl_tiny
    python tests/oracle/make_fixture.py --size mini --family FAMILY --out tests/parity/data/FAMILY_tiny

(qwen3_vl and internvl with ``--dtype bfloat16``, which keeps them small; golden values are of float32 arithmetic on these weights.)

Everything depends on ``--seed`` only; the same versions of the libraries (torch 2.11,
transformers 5.23, peft 0.21) write the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import sys
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import torch
from families import FAMILIES, Family
from golden import write_golden
from safetensors.torch import save_file
from sizes import SIZES
from tokenizer import train_tokenizer, write_json, write_tokenizer

def build_model(out: Path, family: Family, seed: int):
    """Build the model that ``out/config.json`` describes and give it seeded weights.

    The weights are larger than the usual N(0, 0.02): attention is then far from uniform
    and the logits have a spread of about two, so an error in the rotary embedding, the
    mask or the window order moves the results by much more than rounding does.
    """
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(out)
    model = family.auto_class().from_config(config, dtype=torch.float32)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float32)
            if parameter.dim() == 1:
                is_norm = "norm" in name or "ln_q" in name
                parameter.copy_(1.0 + 0.1 * noise if is_norm and name.endswith("weight") else 0.05 * noise)
            elif "embed_tokens" in name:
                # With tied weights this matrix is also the output projection.
                scale = 2.0 / math.sqrt(parameter.shape[1]) if config.tie_word_embeddings else 1.0
                parameter.copy_(scale * noise)
            elif "lm_head" in name:
                parameter.copy_(2.0 / math.sqrt(parameter.shape[1]) * noise)
            else:
                fan_in = parameter[0].numel()
                parameter.copy_(noise / math.sqrt(fan_in))
    model.tie_weights()
    return model.eval()


def write_weights(out: Path, model, family: Family, tie: bool, layout: str, shards: int, dtype: torch.dtype) -> dict:
    """Write the weights as one safetensors file, or as shards with an index, and return a summary."""
    tensors = {}
    for name, parameter in model.named_parameters(remove_duplicate=True):
        if tie and name == "lm_head.weight":
            continue
        key = family.hub_name(name) if layout == "hub" else name
        tensors[key] = parameter.detach().to(dtype).contiguous()
    total = sum(t.numel() * t.element_size() for t in tensors.values())
    if shards <= 1:
        save_file(tensors, str(out / "model.safetensors"), metadata={"format": "pt"})
    else:
        groups, current, filled = [], {}, 0
        for key in sorted(tensors):
            current[key] = tensors[key]
            filled += tensors[key].numel() * tensors[key].element_size()
            if filled >= total / shards and len(groups) < shards - 1:
                groups.append(current)
                current, filled = {}, 0
        groups.append(current)
        weight_map = {}
        for index, group in enumerate(groups, start=1):
            file = f"model-{index:05d}-of-{len(groups):05d}.safetensors"
            save_file(group, str(out / file), metadata={"format": "pt"})
            weight_map.update({key: file for key in group})
        write_json(
            out / "model.safetensors.index.json",
            {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))},
        )
    return {"tensors": len(tensors), "bytes": total}


def digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def parse_args(argv=None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="directory to write")
    parser.add_argument("--family", choices=sorted(FAMILIES), default="qwen2_5_vl")
    parser.add_argument("--size", choices=sorted(SIZES), default="tiny")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shards", type=int, default=1, help="number of safetensors files (an index is written if > 1)")
    parser.add_argument("--tie", choices=["auto", "yes", "no"], default="auto", help="auto: as small published ones")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32", help="dtype of the stored weights")
    parser.add_argument(
        "--layout",
        choices=["hub", "v5"],
        default="hub",
        help="v5: nested config of transformers 5 and tensor names by module path (model.language_model.*)",
    )
    parser.add_argument("--merges", choices=["strings", "pairs"], default="strings", help="merge format in tokenizer.json")
    parser.add_argument("--no-golden", action="store_true", help="write the checkpoint only")
    return parser.parse_args(argv)


def main(argv=None) -> int:
    """Write the checkpoint and its golden values."""
    args = parse_args(argv)
    family = FAMILIES[args.family]
    tie = family.ties if args.tie == "auto" else args.tie == "yes"
    args.out.mkdir(parents=True, exist_ok=True)

    tokenizer = train_tokenizer(SIZES[args.size]["vocab"], args.seed, family.style)
    write_tokenizer(args.out, tokenizer, args.merges, family.processor_class, family.style)
    if family.has_images:
        write_json(args.out / "preprocessor_config.json", family.preprocessor_config(args.size))
    if family.tile_size:
        tokens = (family.tile_size // (2 * family.patch_size)) ** 2
        processor = {"image_seq_length": tokens, "processor_class": family.processor_class}
        write_json(args.out / "processor_config.json", processor)
    pad = tokenizer.token_to_id(family.style.pad)
    write_json(
        args.out / "generation_config.json",
        {
            "bos_token_id": tokenizer.token_to_id(family.style.bos),
            "pad_token_id": pad,
            "do_sample": True,
            "eos_token_id": [tokenizer.token_to_id(token) for token in family.stop_tokens()],
            "repetition_penalty": 1.0,
            "temperature": 1.0,
            "transformers_version": "4.41.2",
        },
    )
    write_json(args.out / "config.json", family.hub_config(args.size, tokenizer, tie, args.dtype))
    model = build_model(args.out, family, args.seed)
    if args.layout == "v5":
        model.config.save_pretrained(args.out)
    layout = "v5" if family.has_paths else args.layout
    summary = write_weights(args.out, model, family, tie, layout, args.shards, getattr(torch, args.dtype))
    summary["parameters"] = sum(p.numel() for p in model.parameters())
    summary["vocab_size"] = model.config.get_text_config().vocab_size
    del model
    if not args.no_golden:
        notes = write_golden(args.out, args.seed, family, compact=args.size == "mini")
        summary["checks"] = {
            "greedy": notes["greedy"],
            "lora": notes["lora"],
            "grpo": notes["grpo"],
            "left_padding": notes["batch"]["left_padding_of_last_row"],
            "left_padding_max_abs_diff": notes["batch"]["last_row_vs_alone_max_abs_diff"],
        }
        summary["golden_sha256"] = digest(args.out / "golden" / "golden.safetensors")
    print(json.dumps(summary, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
