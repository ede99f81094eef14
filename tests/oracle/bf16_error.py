#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How far transformers' own logits in bfloat16 are from its logits in float32: the bar for graft's.

    python tests/oracle/bf16_error.py DIRECTORY …

measures the golden prompts of fixtures that make_fixture.py wrote and keeps the result as ``bf16_error`` of their
``golden/golden.json``, which otherwise stays as it is.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import torch


def size(error: torch.Tensor) -> dict[str, float]:
    """The largest magnitude, and the root of the mean square."""
    return {"max": float(error.abs().max()), "rms": float(error.pow(2).mean().sqrt())}


@torch.no_grad()
def measure(golden) -> dict:
    """The errors of golden values: of the rows of logits that are kept, and of the completion's log-probabilities.

    Both models take the same float32 pixels; "eager" is the attention of all golden values, and the default, "sdpa",
    is measured beside it: graft's bar is the smaller of the two.
    """
    tensors = golden.tensors
    found: dict[str, dict] = {"logits": {}, "logprobs": {}}
    for attention in ("eager", "sdpa"):
        model = golden.family.auto_class().from_pretrained(
            golden.directory, dtype=torch.bfloat16, attn_implementation=attention
        )
        logits = model.eval()(**golden.full).logits.float()
        rows = tensors["logits"].shape[1]
        found["logits"][attention] = size(logits[:, -rows:] - tensors["logits"])
        scores = logits[0, golden.prompt_len - 1 : -1].log_softmax(-1)
        logprobs = scores.gather(-1, golden.full_ids[0, golden.prompt_len :, None]).squeeze(-1)
        found["logprobs"][attention] = size(logprobs - tensors["logprobs"])
        if golden.family.has_images:
            last = model(**golden.two_images).logits[0, -1].float()
            found.setdefault("two_images.last_logits", {})[attention] = size(last - tensors["two_images.last_logits"])
    return found


def refresh(directory: Path) -> dict:
    """Measure the fixture in ``directory`` and write the result into its notes; return it."""
    from families import FAMILIES
    from golden import Golden
    from safetensors import safe_open
    from tokenizer import write_json

    path = directory / "golden/golden.json"
    notes = json.loads(path.read_text(encoding="utf-8"))
    family = FAMILIES[json.loads((directory / "config.json").read_text(encoding="utf-8"))["model_type"]]
    with safe_open(directory / "golden/golden.safetensors", framework="pt") as file:
        compact = "hidden_states.0" not in file.keys()
        expected = file.get_tensor("logits")
    golden = Golden(directory, notes["seed"], family, compact)
    golden.add_prompt()
    golden.add_forward()
    if not torch.allclose(golden.tensors["logits"], expected, rtol=0, atol=1e-4):
        raise SystemExit(f"{directory}: its golden logits are not those of these libraries; write the fixture anew")
    golden.add_two_images()
    notes["bf16_error"] = measure(golden)
    write_json(path, notes)
    return notes["bf16_error"]


def main() -> int:
    """Refresh the fixtures named."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directories", type=Path, nargs="+", metavar="DIRECTORY")
    torch.set_num_threads(1)  # one summation order
    for directory in parser.parse_args().directories:
        print(directory.name, json.dumps(refresh(directory)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
