# SPDX-License-Identifier: Apache-2.0
"""VLM-R1's GRPO loss for the cases of trl_grpo.py, re-stated, because VLM-R1 itself needs transformers 4.49.

What sets it apart from TRL's loss of the same name:

- A completion is scored up to its first ``tokenizer.eos_token_id``. One that ends with the model's other stop
  token has none, so it is scored up to the longest completion of its micro-batch, padding included.
- Log-probabilities are those of the full vocabulary at temperature 1, rewards are summed without weights, and
  advantages are divided by the group's standard deviation + 1e-4.
- ``clip_ratio`` counts the tokens whose unclipped term is the smaller one.

The reference is the policy at the start, as in VLM-R1, where an adapter always starts with B = 0.
"""

from __future__ import annotations

from collections import defaultdict
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from grpo_cases import NUM_GENERATIONS, PROMPTS, REWARDS, Case
from grpo_record import Recorder, copy_lora_a, gradients_of, load_picture, lora_config
from inputs import question_messages


@dataclass
class MicroBatch:
    """Rows that are generated and trained on together."""

    inputs: dict[str, torch.Tensor]
    mask: torch.Tensor  # [rows, width], scored positions
    advantages: torch.Tensor  # [rows]
    metrics: dict[str, float]
    old_logprobs: torch.Tensor | None = None
    ref_logprobs: torch.Tensor | None = None


def completion_mask(completions: torch.Tensor, eos: int) -> torch.Tensor:
    """Return 1 up to and including the first ``eos`` of each row, or throughout if there is none."""
    is_eos = completions == eos
    return (is_eos.cumsum(-1) - is_eos.long() == 0).long()


def group_advantages(rewards: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return advantages and the groups' standard deviations, by row."""
    groups = rewards.view(-1, NUM_GENERATIONS)
    mean = groups.mean(1).repeat_interleave(NUM_GENERATIONS)
    std = groups.std(1).repeat_interleave(NUM_GENERATIONS)
    return (rewards - mean) / (std + 1e-4), std


def make_micro_batch(rollout: dict, rows: slice, model_path: Path, processor) -> MicroBatch:
    """Tokenize the prompts of some rows of a rollout, and pad, mask and score their completions."""
    prompts = [PROMPTS[p] for p in rollout["prompts"] for _ in range(NUM_GENERATIONS)][rows]
    completions = rollout["completions"][rows]
    messages = [question_messages(p["question"]) for p in prompts]
    texts = processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    images = [load_picture(model_path, p["image"]) for p in prompts]
    inputs = processor(text=texts, images=images, return_tensors="pt", padding=True, padding_side="left")
    width = max(map(len, completions))
    pad = processor.tokenizer.pad_token_id
    padded = torch.tensor([row + [pad] * (width - len(row)) for row in completions])
    mask = completion_mask(padded, processor.tokenizer.eos_token_id)
    scores = {name: torch.tensor([reward(row) for row in completions]) for name, reward in REWARDS.items()}
    rewards = torch.stack(list(scores.values())).sum(0)
    advantages, std = group_advantages(rewards)
    types = inputs["mm_token_type_ids"]
    return MicroBatch(
        inputs={
            **inputs,
            "input_ids": torch.cat([inputs["input_ids"], padded], 1),
            "attention_mask": torch.cat([inputs["attention_mask"], mask], 1),
            "mm_token_type_ids": torch.cat([types, types.new_zeros(padded.shape)], 1),
        },
        mask=mask,
        advantages=advantages,
        metrics={
            "completion_length": mask.sum(1).float().mean().item(),
            **{f"rewards/{name}": values.mean().item() for name, values in scores.items()},
            "reward": rewards.mean().item(),
            "reward_std": std.mean().item(),
        },
    )


def token_values(model, batch: MicroBatch) -> tuple[torch.Tensor, torch.Tensor]:
    """Return log-probabilities and entropies of the completions' positions; [rows, width]."""
    width = batch.mask.shape[1]
    logprobs = model(**batch.inputs, use_cache=False).logits[:, -width - 1 : -1].log_softmax(-1)
    chosen = logprobs.gather(-1, batch.inputs["input_ids"][:, -width:].unsqueeze(-1)).squeeze(-1)
    return chosen, -(logprobs.exp() * logprobs).sum(-1)


@contextmanager
def reference(model):
    """Let the model be what it was at the start: its adapter "ref", or the base model."""
    if "ref" not in model.peft_config:
        with model.disable_adapter():
            yield
        return
    model.set_adapter("ref")
    yield
    model.set_adapter("default")


def micro_loss(
    batch: MicroBatch, logprobs: torch.Tensor, config: dict
) -> tuple[torch.Tensor, dict[str, float]]:
    """Return a micro-batch's loss and its metrics."""
    mask, advantages, beta = batch.mask, batch.advantages[:, None], config["objective.beta"]
    old = logprobs.detach() if batch.old_logprobs is None else batch.old_logprobs
    ratio = torch.exp(logprobs - old)
    clipped = ratio.clamp(1 - config["objective.epsilon"], 1 + config["objective.epsilon_high"])
    per_token = -torch.min(ratio * advantages, clipped * advantages)
    metrics = {}
    if beta > 0:
        difference = batch.ref_logprobs - logprobs
        kl = torch.exp(difference) - difference - 1
        per_token = per_token + beta * kl
        metrics["kl"] = ((kl * mask).sum(1) / mask.sum(1)).mean().item()
    unclipped_wins = (ratio * advantages < clipped * advantages).float()
    metrics["clip_ratio"] = ((unclipped_wins * mask).sum() / mask.sum()).item()
    return ((per_token * mask).sum(1) / mask.sum(1)).mean(), metrics


def under_trl_names(metrics: dict[str, float]) -> dict[str, float]:
    """Return the metrics that TRL logs too; its kl, reward_std and clip ratios mean something else."""
    same = {"reward": "reward", **{f"rewards/{name}": f"rewards/{name}/mean" for name in REWARDS}}
    return {same[name]: value for name, value in metrics.items() if name in same}


def roll_out(case: Case, index: int, model, model_path: Path, processor) -> tuple[dict, list[MicroBatch]]:
    """Return a rollout and its micro-batches, with the old and reference log-probabilities it needs."""
    rollout = case.rollout(index)
    count = case.micro_prompts * NUM_GENERATIONS
    batches = []
    for first in range(0, len(rollout["completions"]), count):
        batch = make_micro_batch(rollout, slice(first, first + count), model_path, processor)
        with torch.no_grad():
            if case.config["objective.num_iterations"] > 1:
                batch.old_logprobs = token_values(model, batch)[0]
            if case.config["objective.beta"] > 0:
                with reference(model):
                    batch.ref_logprobs = token_values(model, batch)[0]
        batches.append(batch)
    return rollout, batches


def backward(
    batches: list[MicroBatch], model, config: dict, recorder: Recorder
) -> tuple[float, dict[str, list[float]]]:
    """Accumulate the gradient of a step; return the loss and the micro-batches' metrics."""
    total = 0.0
    metrics: dict[str, list[float]] = defaultdict(list)
    for batch in batches:
        logprobs, entropy = token_values(model, batch)
        loss, values = micro_loss(batch, logprobs, config)
        loss = loss / len(batches)
        loss.backward()
        total += loss.item()
        for name, value in values.items():
            metrics[name].append(value)
        recorder.add_tokens("logprobs", logprobs, batch.mask)
        recorder.add_tokens("entropy", entropy, batch.mask)
        recorder.add_tokens("old_logprobs", batch.old_logprobs, batch.mask)
        recorder.add_tokens("ref_logprobs", batch.ref_logprobs, batch.mask)
        recorder.add("lengths", batch.mask.sum(-1))
        recorder.add("advantages", batch.advantages)
    return total, metrics


def run_vlm_r1(case: Case, base, adapter: Path, model_path: Path, processor) -> Recorder:
    """Run one case on the base model, which is left as it was found."""
    from peft import PeftModel, get_peft_model

    config = case.config
    if case.fresh:
        model = get_peft_model(base, lora_config())
        copy_lora_a(adapter, model)
    else:
        model = PeftModel.from_pretrained(base, adapter, is_trainable=True)
        model.load_adapter(adapter, adapter_name="ref")
    parameters = [p for name, p in model.named_parameters() if ".default." in name]
    optimizer = torch.optim.AdamW(
        parameters,
        lr=config["optimizer.learning_rate"],
        betas=(config["optimizer.beta1"], config["optimizer.beta2"]),
        eps=config["optimizer.eps"],
        weight_decay=config["optimizer.weight_decay"],
    )
    assert config["optimizer.schedule"] == "linear" and config["optimizer.warmup_steps"] == 0
    recorder = Recorder()
    batches: list[MicroBatch] = []
    for step in range(case.updates):
        fresh_rollout = step % config["objective.num_iterations"] == 0
        if fresh_rollout:
            rollout, batches = roll_out(case, len(recorder.rollouts), model, model_path, processor)
            recorder.rollouts.append(rollout)
        loss, metrics = backward(batches, model, config, recorder)
        for batch in batches if fresh_rollout else []:
            for name, value in batch.metrics.items():
                metrics[name].append(value)
        gradients = gradients_of(model)
        norm = torch.nn.utils.clip_grad_norm_(parameters, config["optimizer.max_grad_norm"]).item()
        rate = config["optimizer.learning_rate"] * (1 - step / case.updates)
        optimizer.param_groups[0]["lr"] = rate
        optimizer.step()
        optimizer.zero_grad()
        own = {name: sum(values) / len(values) for name, values in metrics.items()}
        logged = {"loss": loss, "grad_norm": norm, "learning_rate": rate} | under_trl_names(own)
        notes = {"rollout": len(recorder.rollouts) - 1, "mini_batch": 0}
        recorder.end_step(gradients, {**notes, "metrics": logged, "vlm_r1_metrics": own})
    model.unload()
    vars(base).pop("peft_config", None)
    return recorder
