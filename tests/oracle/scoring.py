# SPDX-License-Identifier: Apache-2.0
"""Log-probabilities of completions and the GRPO objective over them."""

from __future__ import annotations

import torch


def token_logprobs(logits: torch.Tensor, ids: torch.Tensor, prompt_len: int) -> torch.Tensor:
    """Return log p(ids[t]) for the completion positions of every row; shapes (B, S, V) and (B, S)."""
    shifted = logits[:, prompt_len - 1 : -1].float().log_softmax(-1)
    return shifted.gather(-1, ids[:, prompt_len:].unsqueeze(-1)).squeeze(-1)


def group_loss(new: torch.Tensor, ref: torch.Tensor, advantages: torch.Tensor, mask: torch.Tensor, beta: float) -> dict:
    """Return the GRPO objective with old == new.detach(), in its "grpo" and "dapo" normalisations, and the mean KL."""
    ratio = torch.exp(new - new.detach())
    per_token = -torch.min(ratio * advantages[:, None], ratio.clamp(0.8, 1.2) * advantages[:, None])
    kl = torch.exp(ref - new) - (ref - new) - 1
    per_token = per_token + beta * kl
    return {
        "grpo": ((per_token * mask).sum(-1) / mask.sum(-1)).mean(),
        "dapo": (per_token * mask).sum() / mask.sum(),
        "kl_token_mean": (kl * mask).sum() / mask.sum(),
        "kl_sequence_mean": ((kl * mask).sum(-1) / mask.sum(-1)).mean(),
    }


def with_completions(inputs, completion: torch.Tensor, mask: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return a prompt batch followed by completion ids, as the model takes it."""
    full = {
        "input_ids": torch.cat([inputs["input_ids"], completion], 1),
        "attention_mask": torch.cat([inputs["attention_mask"], mask], 1),
    }
    if "pixel_values" in inputs:
        full["pixel_values"] = inputs["pixel_values"]
    if "image_grid_thw" in inputs:
        full["mm_token_type_ids"] = torch.cat([inputs["mm_token_type_ids"], torch.zeros_like(completion)], 1)
        full["image_grid_thw"] = inputs["image_grid_thw"]
    return full
