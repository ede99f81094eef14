# SPDX-License-Identifier: Apache-2.0
"""What the GRPO oracles share: the adapter that they train, and what they write down of a run."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from adapters import LORA_TARGETS, write_adapter
from safetensors.torch import load_file

#: Of the adapter and of everything that the libraries draw.
SEED = 7


def adapter_name(parameter: str) -> str:
    """Map a PEFT model's parameter to the tensor's name in an adapter file, without ``base_model.model.``."""
    return parameter.removeprefix("base_model.model.").replace(".default.", ".")


class Recorder:
    """The tensors and the metrics of a case."""

    def __init__(self) -> None:
        self.tensors: dict[str, torch.Tensor] = {}
        self.steps: list[dict] = []
        self.rollouts: list[dict] = []
        self._parts: dict[str, list[torch.Tensor]] = {}

    def add(self, name: str, value: torch.Tensor) -> None:
        """Add a micro-batch's part of a value of the current step."""
        self._parts.setdefault(name, []).append(value.detach().clone())

    def add_tokens(self, name: str, value: torch.Tensor | None, mask: torch.Tensor) -> None:
        """Add per-token values [rows, width], of which ``mask`` tells the scored ones."""
        if value is not None:
            self.add(name, value[mask.bool()])

    def end_step(self, gradients: dict[str, torch.Tensor], notes: dict) -> None:
        step = len(self.steps)
        for name, parts in self._parts.items():
            self.tensors[f"{step}.{name}"] = torch.cat(parts)
        for name, gradient in gradients.items():
            self.tensors[f"{step}.grad.{name}"] = gradient
        self._parts.clear()
        self.steps.append(notes)


def gradients_of(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Return copies of the adapter's gradients; one that backward left out is zero."""
    return {
        adapter_name(name): torch.zeros_like(p) if p.grad is None else p.grad.detach().clone()
        for name, p in model.named_parameters()
        if ".default." in name
    }


def make_base(model: Path):
    from transformers import AutoModelForImageTextToText

    load = AutoModelForImageTextToText.from_pretrained
    return load(model, dtype=torch.float32, attn_implementation="eager")


def load_picture(model: Path, name: str):
    """Return a picture of the fixture's golden folder."""
    from PIL import Image

    return Image.open(model / "golden" / f"{name}.png").convert("RGB")


def lora_config():
    from peft import LoraConfig

    return LoraConfig(
        r=2,
        lora_alpha=4,
        lora_dropout=0.0,
        bias="none",
        task_type="CAUSAL_LM",
        target_modules=LORA_TARGETS,
        exclude_modules=r".*visual.*",  # the vision MLP of Qwen2.5-VL has the same layer names
    )


def make_adapter(base, path: Path) -> None:
    """Write the adapter that the cases start from: A and B random."""
    from peft import get_peft_model

    lora = get_peft_model(base, lora_config())
    generator = torch.Generator().manual_seed(SEED)
    with torch.no_grad():
        for name, parameter in sorted(lora.named_parameters()):
            if "lora_" in name:
                scale = 1.0 / math.sqrt(parameter.shape[1]) if "lora_A" in name else 0.02
                parameter.copy_(scale * torch.randn(parameter.shape, generator=generator))
    write_adapter(path, lora)
    lora.unload()


def copy_lora_a(source: Path, model) -> None:
    """Give a fresh adapter the A of the one in ``source``; its B is zero."""
    tensors = load_file(source / "adapter_model.safetensors")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_A" in name:
                parameter.copy_(tensors[name.replace(".default.", ".")])
            elif "lora_B" in name:
                assert not parameter.any()
