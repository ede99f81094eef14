#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compare graft's AdamW and gradient clipping with torch.optim.AdamW and clip_grad_norm_.

    python optimizer_torch.py --tool optimizer_steps

Random tensors and gradients over several steps, one of them missing. Exit code 1 if a value differs from torch's fused
kernel at all, or from its default by more than rounding.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

SHAPES = {"matrix": (33, 17), "vector": (5,), "scalar": (), "large": (257, 129)}
STEPS = 7


def reference(
    tensors: dict[str, torch.Tensor], lr: float, weight_decay: float, max_norm: float, **options
) -> dict[str, torch.Tensor]:
    parameters = {name: torch.nn.Parameter(value.clone()) for name, value in tensors.items() if "." not in name}
    optimizer = torch.optim.AdamW(
        parameters.values(), lr=lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=weight_decay, **options
    )
    norms = []
    for step in range(STEPS):
        for name, parameter in parameters.items():
            gradient = tensors.get(f"{step}.{name}")
            parameter.grad = None if gradient is None else gradient.clone()
        norms.append(torch.nn.utils.clip_grad_norm_(parameters.values(), max_norm).double())
        optimizer.step()
    return {"norms": torch.stack(norms), **{name: parameter.detach() for name, parameter in parameters.items()}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tool", type=Path, required=True, help="the program optimizer_steps")
    tool = parser.parse_args().tool
    generator = torch.Generator().manual_seed(0)
    tensors = {name: torch.randn(shape, generator=generator) for name, shape in SHAPES.items()}
    for step in range(STEPS):
        for name, shape in SHAPES.items():
            if (name, step) != ("vector", 2):
                tensors[f"{step}.{name}"] = 10.0 ** (1 - step) * torch.randn(shape, generator=generator)
    failures = 0
    with tempfile.TemporaryDirectory() as scratch:
        given, made = Path(scratch) / "in.safetensors", Path(scratch) / "out.safetensors"
        save_file(tensors, given)
        for lr, weight_decay, max_norm in [(1e-3, 0.0, 1.0), (1e-2, 0.1, 0.5), (1e-5, 0.0, 1e9)]:
            subprocess.run([str(tool), str(given), str(made), str(lr), str(weight_decay), str(max_norm)], check=True)
            ours = load_file(made)
            theirs = reference(tensors, lr, weight_decay, max_norm)
            fused = reference(tensors, lr, weight_decay, max_norm, fused=True)
            is_equal = all(torch.equal(ours[name], fused[name]) for name in SHAPES)
            worst = max(float(((ours[n] - theirs[n]).abs() / theirs[n].abs().clamp_min(0.1)).max()) for n in theirs)
            failures += not (is_equal and worst <= 1e-6)
            print(
                f"lr {lr}, weight decay {weight_decay}, max norm {max_norm}: "
                f"{'equal to' if is_equal else 'DIFFERS from'} the fused kernel, "
                f"largest relative difference from the default {worst:.1e}"
            )
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
