#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compare mixed precision with torch.autocast over transformers and PEFT: logits, log-probabilities and every gradient.

    python autocast_torch.py --model DIR --image FILE --tool autocast_gradients

An adapter of PEFT on every linear layer, vision encoder included, over float32 and over bfloat16 weights. Both sides
round each product to bfloat16, in places that differ, so they agree as far as bfloat16 does; the same comparison in
float32 shows that nothing else differs. Exit code 1 if a difference exceeds its tolerance.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText

#: (dtype of the weights, dtype of the products, tolerances: logits and gradients as shares of the tensor's largest
#: value, log-probabilities absolute).
SETTINGS = [
    ("float32", "none", 1e-4, 1e-4, 1e-4),
    ("float32", "bfloat16", 1e-2, 2e-2, 2e-2),
    ("bfloat16", "bfloat16", 1e-2, 2e-2, 2e-2),
]


def base_model(directory: Path, dtype: torch.dtype):
    """The model with fused attention, which torch.autocast runs in bfloat16 with float32 sums."""
    model = AutoModelForImageTextToText.from_pretrained(directory, dtype=dtype, attn_implementation="sdpa")
    return model.eval()


def make_adapter(directory: Path, model: Path) -> None:
    """A LoRA adapter whose both factors are drawn at random."""
    torch.manual_seed(11)
    config = LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", init_lora_weights=False)
    adapted = get_peft_model(base_model(model, torch.float32), config)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_" in name:
                parameter.normal_(std=0.05)
    adapted.save_pretrained(directory)


def torch_results(args, adapter: Path, inputs: dict[str, torch.Tensor], dtype: str, compute: str):
    """What torch computes from the tool's inputs, under the names that the tool uses."""
    base = base_model(args.model, getattr(torch, dtype))
    adapted = PeftModel.from_pretrained(base, adapter, is_trainable=True).eval()
    ids = inputs["input_ids"].unsqueeze(0)
    autocast = nullcontext() if compute == "none" else torch.autocast("cpu", dtype=getattr(torch, compute))
    with autocast:
        logits = adapted(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            mm_token_type_ids=(ids == base.config.image_token_id).long(),
            pixel_values=inputs["pixel_values"],
            image_grid_thw=inputs["image_grid_thw"].unsqueeze(0),
        ).logits
    length = int(inputs["prompt_length"])
    scored = logits[0, length - 1 : -1].float().log_softmax(-1)
    logprobs = scored.gather(1, ids[0, length:].unsqueeze(1)).squeeze(1)
    logprobs.sum().backward()
    results = {"logits": logits[0].float(), "logprobs": logprobs}
    for name, parameter in adapted.named_parameters():
        if parameter.requires_grad:
            short = name.removeprefix("base_model.model.").replace(".default", "")
            results["grad." + short] = parameter.grad
    return {name: tensor.detach() for name, tensor in results.items()}


def worst(ours: dict, theirs: dict, names: list[str]) -> tuple[float, str]:
    """The largest difference as a share of the tensor's largest value, and where it is."""
    shares = []
    for name in names:
        if ours[name].dtype != torch.float32 or theirs[name].dtype != torch.float32:
            sys.exit(f"{name}: {ours[name].dtype} and {theirs[name].dtype} instead of float32")
        difference = (ours[name] - theirs[name]).abs().max() / theirs[name].abs().max()
        shares.append((float(difference), name))
    return max(shares)


def main() -> int:
    """Run all settings; return 1 if one differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--image", type=Path, required=True)
    parser.add_argument("--tool", type=Path, required=True)
    args = parser.parse_args()
    failures = 0
    with tempfile.TemporaryDirectory() as scratch:
        adapter = Path(scratch) / "adapter"
        make_adapter(adapter, args.model)
        exact = None
        for dtype, compute, logits_tolerance, grad_tolerance, logprob_tolerance in SETTINGS:
            out = Path(scratch) / "out.safetensors"
            command = [args.tool, args.model, adapter, args.image, out, dtype, compute]
            subprocess.run([str(part) for part in command], check=True)
            ours = load_file(out)
            theirs = torch_results(args, adapter, ours, dtype, compute)
            exact = exact or theirs
            grads = sorted(name for name in theirs if name.startswith("grad."))
            if grads != sorted(name for name in ours if name.startswith("grad.")):
                sys.exit("the adapters have different tensors")
            logits, (grad, where) = worst(ours, theirs, ["logits"])[0], worst(ours, theirs, grads)
            logprob = float((ours["logprobs"] - theirs["logprobs"]).abs().max())
            passed = logits <= logits_tolerance and grad <= grad_tolerance and logprob <= logprob_tolerance
            failures += not passed
            print(
                f"{'ok' if passed else 'FAILED':6} {dtype} weights, autocast {compute}: logits {logits:.1e}, "
                f"log-probabilities {logprob:.1e}, {len(grads)} gradients {grad:.1e} ({where})"
            )
            print(
                f"       to float32: torch {worst(theirs, exact, ['logits'])[0]:.1e} {worst(theirs, exact, grads)[0]:.1e}, "
                f"graft {worst(ours, exact, ['logits'])[0]:.1e} {worst(ours, exact, grads)[0]:.1e}"
            )
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
