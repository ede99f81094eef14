#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compare mixed precision with torch.autocast over transformers and PEFT: logits, log-probabilities and every gradient.

    python autocast_torch.py --model DIR --image FILE --tool autocast_gradients

An adapter of PEFT on every linear layer, vision encoder included, over float32 and over bfloat16 weights. Both sides
round each product to bfloat16, partly at other places (graft fuses the adapter's second product with its addition, and
attends to prompt and completion in parts), so they agree as far as bfloat16 does. The same comparison in float32 shows
that nothing else differs, and graft must be as close to float32 as torch is. Exit code 1 if a tolerance is exceeded.
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

#: (dtype of the weights, dtype of the products) -> tolerances for what compare() returns. About 1.7 times what was
#: measured; bfloat16 numbers are up to 0.8 % apart, and 1/32 at the size of these logits.
TOLERANCES = {
    ("float32", "none"): {"logits": 1e-4, "logprobs": 1e-4, "worst gradient": 1e-4, "gradients": 1e-4},
    ("float32", "bfloat16"): {"logits": 0.025, "logprobs": 0.05, "worst gradient": 0.06, "gradients": 0.02},
    ("bfloat16", "bfloat16"): {"logits": 0.03, "logprobs": 0.09, "worst gradient": 0.1, "gradients": 0.03},
}
#: How much farther from float32 than torch's all gradients together may be.
EXCESS = 1.25


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


def gradient_names(results: dict[str, torch.Tensor]) -> list[str]:
    """Names of the gradients, which must be float32."""
    names = sorted(name for name in results if name.startswith("grad."))
    for name in names:
        if results[name].dtype != torch.float32:
            sys.exit(f"{name} is {results[name].dtype} instead of torch.float32")
    return names


def compare(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> dict[str, float]:
    """Differences: logits as a share of the largest, log-probabilities as they are, gradients as shares of norms."""
    names = gradient_names(theirs)
    if names != gradient_names(ours):
        sys.exit("the adapters have different tensors")
    shares = [float((ours[name] - theirs[name]).norm() / theirs[name].norm()) for name in names]
    all_ours, all_theirs = (torch.cat([side[name].flatten() for name in names]) for side in (ours, theirs))
    return {
        "logits": float((ours["logits"] - theirs["logits"]).abs().max() / theirs["logits"].abs().max()),
        "logprobs": float((ours["logprobs"] - theirs["logprobs"]).abs().max()),
        "worst gradient": max(shares),
        "gradients": float((all_ours - all_theirs).norm() / all_theirs.norm()),
    }


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
        for (dtype, compute), tolerances in TOLERANCES.items():
            out = Path(scratch) / "out.safetensors"
            command = [args.tool, args.model, adapter, args.image, out, dtype, compute]
            subprocess.run([str(part) for part in command], check=True)
            ours = load_file(out)
            theirs = torch_results(args, adapter, ours, dtype, compute)
            exact = exact or theirs
            differences = compare(ours, theirs)
            passed = all(differences[name] <= tolerance for name, tolerance in tolerances.items())
            shown = ", ".join(f"{name} {difference:.1e}" for name, difference in differences.items())
            print(f"{'ok' if passed else 'FAILED':6} {dtype} weights, autocast {compute}: {shown}")
            failures += not passed
            if compute != "none":
                graft, torch_itself = (compare(side, exact)["gradients"] for side in (ours, theirs))
                passed = torch_itself / 2 <= graft <= torch_itself * EXCESS
                print(f"{'ok' if passed else 'FAILED':6} gradients to float32: {graft:.2e}, torch's {torch_itself:.2e}")
                failures += not passed
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
