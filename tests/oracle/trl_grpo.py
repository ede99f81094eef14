#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Run TRL's GRPOTrainer on forced completions and write what it computes, step by step.

    python trl_grpo.py --model tests/parity/data/qwen2_5_vl_tiny --out DIR [--kept | --only NAME ...] [--list]

Needs torch 2.11, transformers 5.23, peft 0.21, trl 1.16. Everything is float32 on one CPU thread; the same
versions write the same bytes.  ``DIR`` holds

``adapter/``           the LoRA adapter that the runs start from, in PEFT's format. A case with ``"fresh": true``
                       starts from its A with B = 0.
``cases.json``         prompts, rollouts, configuration (graft's keys) and what TRL logs of each step
``CASE.safetensors``   for each step s: ``s.logprobs`` and ``s.entropy`` [N], ``s.old_logprobs`` and
                       ``s.ref_logprobs`` [N] if there are any, ``s.lengths`` [rows] (int64; the scored tokens
                       of each row, N together), ``s.advantages`` [rows], ``s.grad.TENSOR`` before clipping

Rows are prompt-major: TRL shuffles the rows of a rollout before it cuts it into micro-batches; that is left
out.  A completion that ``mask_truncated_completions`` drops has no scored tokens.  Times are not written.
The cases ``vlm_r1_…`` come from vlm_r1_grpo.py: ``metrics`` holds what TRL logs too, ``vlm_r1_metrics`` what
VLM-R1 logs.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import tempfile
import time
import warnings
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import torch
from grpo_cases import KEPT, MAX_COMPLETION_LENGTH, NUM_GENERATIONS, PROMPTS, REWARDS, Case, all_cases
from grpo_record import (
    SEED,
    Recorder,
    copy_lora_a,
    gradients_of,
    load_picture,
    lora_config,
    make_adapter,
    make_base,
)
from safetensors.torch import save_file
from tokenizer import write_json
from vlm_r1_grpo import run_vlm_r1

#: What is logged of a step and not written.
UNLOGGED = ("step_time", "total_flos")


def trl_options(case: Case) -> dict:
    """Translate graft's keys to the arguments of ``GRPOConfig``."""
    config = case.config
    loss_type = config["objective.loss_type"]
    accumulation = case.prompts_per_step // case.micro_prompts
    options = {
        "loss_type": "grpo" if loss_type == "gspo" else loss_type,
        "importance_sampling_level": "sequence" if loss_type == "gspo" else "token",
        "reward_weights": config["reward_weights"],
        "per_device_train_batch_size": case.micro_prompts * NUM_GENERATIONS,
        "gradient_accumulation_steps": accumulation,
        "steps_per_generation": accumulation * config.get("train.num_mini_batches", 1),
        "lr_scheduler_type": config["optimizer.schedule"],
        "adam_beta1": config["optimizer.beta1"],
        "adam_beta2": config["optimizer.beta2"],
        "adam_epsilon": config["optimizer.eps"],
    }
    names = (
        "beta", "epsilon", "epsilon_high", "delta", "num_iterations", "scale_rewards", "temperature",
        "mask_truncated_completions", "top_entropy_quantile", "learning_rate", "warmup_steps", "weight_decay",
        "max_grad_norm",
    )  # fmt: skip
    for key, value in config.items():
        name = key.rpartition(".")[2]
        if name in names:
            options[name] = value
    return options


def reward_function(name: str):
    """Return a reward of token ids with the signature that TRL calls."""

    def reward(completion_ids: list[list[int]], **_) -> list[float | None]:
        return [REWARDS[name](ids) for ids in completion_ids]

    reward.__name__ = name
    return reward


def make_dataset(model: Path):
    """Return the prompts as TRL takes them."""
    from datasets import Dataset

    return Dataset.from_list(
        [
            {
                "prompt": [{"role": "user", "content": item["question"]}],
                "images": [load_picture(model, item["image"])],
            }
            for item in PROMPTS
        ]
    )


def trainer_class():
    """Return GRPOTrainer with forced completions that writes down what passes by."""
    from trl import GRPOTrainer

    class ForcedTrainer(GRPOTrainer):
        def __init__(self, *args, case: Case, recorder: Recorder, **kwargs) -> None:
            self.case = case
            self.recorder = recorder
            super().__init__(*args, **kwargs)

        def _generate_single_turn(self, prompt_ids, *_, **__):
            rollout = self.case.rollout(len(self.recorder.rollouts))
            assert len(prompt_ids) == len(rollout["completions"])
            self.recorder.rollouts.append(rollout)
            return [list(ids) for ids in rollout["completions"]], None

        def _get_per_token_logps_and_entropies(self, *args, **kwargs):
            result = super()._get_per_token_logps_and_entropies(*args, **kwargs)
            if kwargs.get("compute_entropy"):  # not a pass of the old or of the reference policy
                self.policy = result[:2]
            return result

        def _compute_loss(self, model, inputs):
            loss = super()._compute_loss(model, inputs)
            mask = inputs["completion_mask"]
            logprobs, entropy = self.policy
            self.recorder.add_tokens("logprobs", logprobs, mask)
            self.recorder.add_tokens("entropy", entropy, mask)
            self.recorder.add_tokens("old_logprobs", inputs.get("old_per_token_logps"), mask)
            self.recorder.add_tokens("ref_logprobs", inputs.get("ref_per_token_logps"), mask)
            self.recorder.add("lengths", mask.sum(-1))
            self.recorder.add("advantages", inputs["advantages"])
            return loss

        def training_step(self, model, inputs, num_items_in_batch):
            loss = super().training_step(model, inputs, num_items_in_batch)
            if self._step % self.args.gradient_accumulation_steps == 0:  # before the gradients are clipped
                step = self.state.global_step
                mini_batches = self.args.steps_per_generation // self.args.gradient_accumulation_steps
                notes = {"rollout": len(self.recorder.rollouts) - 1, "mini_batch": step % mini_batches}
                self.recorder.end_step(gradients_of(model), notes)
            return loss

        def log(self, logs, start_time=None):
            super().log(logs, start_time)
            if "loss" in logs:
                metrics = {name: value for name, value in logs.items() if name not in UNLOGGED}
                self.recorder.steps[-1]["metrics"] = metrics

    return ForcedTrainer


def run_trl(case: Case, base, adapter: Path, model_path: Path, processor) -> Recorder:
    """Run one case on the base model, which is left as it was found."""
    from peft import PeftModel
    from transformers import PrinterCallback
    from trl import GRPOConfig

    recorder = Recorder()
    with tempfile.TemporaryDirectory() as scratch:
        args = GRPOConfig(
            output_dir=scratch,
            max_completion_length=MAX_COMPLETION_LENGTH,
            num_generations=NUM_GENERATIONS,
            max_steps=case.updates,
            shuffle_dataset=False,
            logging_steps=1,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            seed=SEED,
            **trl_options(case),
        )
        model = base if case.fresh else PeftModel.from_pretrained(base, adapter, is_trainable=True)
        trainer = trainer_class()(
            model=model,
            args=args,
            reward_funcs=[reward_function(name) for name in REWARDS],
            train_dataset=make_dataset(model_path),
            processing_class=processor,
            peft_config=lora_config() if case.fresh else None,
            case=case,
            recorder=recorder,
        )
        trainer.remove_callback(PrinterCallback)
        if case.fresh:
            copy_lora_a(adapter, trainer.model)
        trainer.train()
        trainer.model.unload()
    del base.forward  # TRL's fused language-model head
    vars(base).pop("peft_config", None)
    return recorder


def library_versions() -> dict[str, str]:
    import peft
    import transformers
    import trl

    return {module.__name__: module.__version__ for module in (torch, transformers, peft, trl)}


def case_note(case: Case, recorder: Recorder) -> dict:
    return {
        "name": case.name,
        "fresh": case.fresh,
        "config": case.config,
        "prompts_per_step": case.prompts_per_step,
        "updates": case.updates,
        "micro_prompts": case.micro_prompts,
        "rollouts": recorder.rollouts,
        "steps": recorder.steps,
    }


def quiet() -> None:
    """Leave the standard error to this program."""
    from transformers.utils import logging as transformers_logging

    warnings.filterwarnings("ignore")
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    logging.disable(logging.WARNING)


def write_cases(model: Path, out: Path, cases: list[Case]) -> None:
    import trl.trainer.grpo_trainer as grpo_trainer
    from transformers import AutoProcessor

    quiet()
    torch.set_num_threads(1)  # one summation order
    # TRL draws its mini-batches from a shuffled rollout.
    grpo_trainer.shuffle_sequence_dict = lambda rows: rows
    out.mkdir(parents=True, exist_ok=True)
    base = make_base(model)
    make_adapter(base, out / "adapter")
    processor = AutoProcessor.from_pretrained(model)
    notes = []
    for case in cases:
        started = time.monotonic()
        run = run_vlm_r1 if case.is_vlm_r1 else run_trl
        recorder = run(case, base, out / "adapter", model, processor)
        assert len(recorder.steps) == case.updates
        save_file(recorder.tensors, str(out / f"{case.name}.safetensors"))
        notes.append(case_note(case, recorder))
        print(f"{case.name}: {time.monotonic() - started:.1f} s", file=sys.stderr)
    write_json(
        out / "cases.json",
        {
            "versions": library_versions(),
            "max_completion_length": MAX_COMPLETION_LENGTH,
            "num_generations": NUM_GENERATIONS,
            "prompts": PROMPTS,
            "cases": notes,
        },
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, help="the fixture's folder")
    parser.add_argument("--out", type=Path, help="the folder to write")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="run these cases")
    parser.add_argument("--kept", action="store_true", help="run the cases that are kept with the tests")
    parser.add_argument("--list", action="store_true", help="print the names of the cases and end")
    args = parser.parse_args()
    cases = all_cases()
    wanted = KEPT if args.kept else args.only
    if wanted is not None:
        by_name = {case.name: case for case in cases}
        unknown = [name for name in wanted if name not in by_name]
        if unknown:
            parser.error(f"no such case: {', '.join(unknown)} (--list names them)")
        cases = [by_name[name] for name in wanted]
    if args.list:
        print("\n".join(case.name for case in cases))
        return
    if args.model is None or args.out is None:
        parser.error("--model and --out are required")
    write_cases(args.model, args.out, cases)


if __name__ == "__main__":
    main()
