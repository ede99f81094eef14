#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Logits of transformers under every scaling of rotary embeddings that graft offers.

    python tests/oracle/rope_scaling.py [--out tests/parity/data/rope_scaling]

Each case changes the configuration of one of the fixtures beside ``--out`` and runs its decoder over a few tokens at
positions within and far beyond the original context. ``cases.json`` has the changes, what transformers makes
of them (inverse frequencies and attention scaling) and the inputs; ``golden.safetensors`` has the
logits of the last tokens.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from families import FAMILIES
from safetensors.torch import save_file
from tokenizer import write_json

#: The original context is so short that the few frequencies of a tiny head lie on both sides of each bound.
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 3.0}

#: name: family, and what its decoder's configuration gets instead
CASES = {
    "linear": ("llama", {"rope_scaling": {"rope_type": "linear", "factor": 4.0}}),
    "linear_by_type": ("qwen2", {"rope_scaling": {"type": "linear", "factor": 2.5}}),
    "yarn": ("qwen2", {"rope_scaling": YARN}),
    "yarn_by_type": (
        "qwen3",
        {"rope_scaling": {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 256}},
    ),
    "yarn_rope_parameters": ("qwen3", {"rope_theta": None, "rope_parameters": YARN | {"rope_theta": 50000.0}}),
    "yarn_attention_factor": ("llama", {"rope_scaling": YARN | {"attention_factor": 0.8}}),
    "yarn_mscale": ("llama", {"rope_scaling": YARN | {"mscale": 0.7, "mscale_all_dim": 0.4}}),
    "yarn_mscale_alone": ("qwen2", {"rope_scaling": YARN | {"mscale": 0.7}}),
    "yarn_betas": ("qwen2", {"rope_scaling": YARN | {"beta_fast": 8.0, "beta_slow": 2.0}}),
    "yarn_not_truncated": ("qwen3", {"rope_scaling": YARN | {"beta_fast": 8, "beta_slow": 2, "truncate": False}}),
    "yarn_one_bound": ("qwen2", {"rope_scaling": YARN | {"beta_fast": 2.0, "beta_slow": 2.0, "truncate": False}}),
    "yarn_of_max_position_embeddings": (
        "qwen2",
        {"max_position_embeddings": 128, "rope_scaling": {"rope_type": "yarn", "factor": 2.0}},
    ),
    "yarn_original_beside": (
        "llama",
        {"original_max_position_embeddings": 32, "rope_scaling": {"rope_type": "yarn", "factor": 4.0}},
    ),
    "llama3_of_max_position_embeddings": ("llama", {"max_position_embeddings": 96, "rope_scaling": LLAMA3}),
    "both_keys": ("qwen2", {"rope_scaling": YARN, "rope_parameters": {"rope_type": "default", "rope_theta": 1e4}}),
    "mrope_yarn": ("qwen2_5_vl", {"rope_scaling": YARN | {"mrope_section": [4, 6, 6]}}),
    "mrope_linear": ("qwen2_vl", {"rope_scaling": {"type": "linear", "factor": 3.0, "mrope_section": [2, 3, 3]}}),
    "mrope_interleaved_yarn": (
        "qwen3_vl",
        {"rope_scaling": YARN | {"mrope_section": [8, 4, 4], "mrope_interleaved": True}},
    ),
}
#: Logits that are kept.
ROWS = 2


def positions(rank: int) -> torch.Tensor:
    """Position ids [rank, T]: counted, then with larger and larger jumps; on other axes other ones."""
    rows = []
    for axis in range(rank):
        row = list(range(12)) + [12 + (3 + axis) * i + i**3 // (2 + axis) for i in range(12)]
        rows.append(row)
    return torch.tensor(rows)


@torch.no_grad()
def run(directory: Path, family) -> tuple[dict, torch.Tensor]:
    """What transformers computes from a directory: notes and logits [T, V]."""
    model = family.auto_class().from_pretrained(directory, dtype=torch.float32, attn_implementation="eager").eval()
    decoder = model.model.language_model if family.has_images else model.model
    place = positions(3 if family.has_images else 1)
    generator = torch.Generator().manual_seed(3)
    ids = torch.randint(0, 300, (1, place.shape[1]), generator=generator)
    position_ids = place[:, None] if family.has_images else place
    # A mask, or transformers takes jumps of positions for the starts of packed sequences.
    hidden = decoder(input_ids=ids, position_ids=position_ids, attention_mask=torch.ones_like(ids), use_cache=False)
    rotary = decoder.rotary_emb
    notes = {
        "ids": ids[0].tolist(),
        "positions": place.tolist(),
        "inv_freq": rotary.inv_freq.tolist(),
        "attention_scaling": float(rotary.attention_scaling),
    }
    return notes, model.lm_head(hidden.last_hidden_state)[0]


def main() -> int:
    """Write the cases."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    data = Path(__file__).resolve().parents[1] / "parity/data"
    parser.add_argument("--out", type=Path, default=data / "rope_scaling")
    out = parser.parse_args().out
    torch.set_num_threads(1)  # one summation order
    cases, tensors = [], {}
    for name, (family, change) in CASES.items():
        with tempfile.TemporaryDirectory() as scratch:
            directory = Path(scratch)
            source = out.parent / f"{family}_tiny"
            shutil.copy(source / "model.safetensors", directory)
            config = json.loads((source / "config.json").read_text(encoding="utf-8"))
            config.get("text_config", config).update(change)
            write_json(directory / "config.json", config)
            notes, logits = run(directory, FAMILIES[family])
        cases.append({"name": name, "family": family, "change": change, **notes})
        tensors[name] = logits[-ROWS:].contiguous()
        print(name, notes["attention_scaling"], [f"{value:.3g}" for value in notes["inv_freq"]])
    out.mkdir(exist_ok=True)
    write_json(out / "cases.json", cases, indent=None)
    save_file(tensors, str(out / "golden.safetensors"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
