#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""EVA's calibration against PEFT's initialize_lora_eva_weights on the same batches.

    python peft_eva.py --model DIR --image FILE --tool peft_methods

Ranks and alphas of every layer must be PEFT's, and each row of A up to its sign. The adapter then loads in PEFT and, with B = 0,
gives the base model's logits.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import warnings
from pathlib import Path

import peft
import torch
import transformers
from peft_methods import LANGUAGE, SEVEN, Report, base_model, logits_of, run_tool

#: Of each row of A, whose directions are computed from inputs that differ in the last bits.
TOLERANCE = 1e-4

BATCHES = [
    [["Where is the red circle?", "It is at the left, near the top of the picture."],
     ["How many blue squares are there, and which of them is the largest one?", "There are three; the lowest."]],
    [["Describe the picture.", "A red circle, some squares and a long green bar below all of them."],
     ["What is to the right of the yellow triangle?", "Nothing but the grey frame, I think."]],
    [["Is anything hidden behind the bar?", "Yes: the corner of a small violet square."],
     ["Name all colours.", "Red, blue, green, yellow, grey and violet."]],
]

#: Layers that are given what others are. PEFT whitens in place the directions that they share, so that they are divided by the
#: roots again and again (tuners/lora/eva.py, `u /= …` on a view); only the direction of the rows is compared there.
SHARERS = ("q_proj", "k_proj", "v_proj", "gate_proj", "up_proj")

#: name -> graft's parameters, EvaConfig, further fields of LoraConfig and options of graft
CASES: dict[str, tuple[dict, dict, dict, dict]] = {
    "prompts": ({}, {}, {}, {"prompts_only": True}),
    "answers": ({}, {}, {}, {}),
    "all tokens": ({"eva_use_label_mask": False}, {"use_label_mask": False}, {}, {}),
    "whitened": ({"eva_whiten": True, "eva_use_label_mask": False}, {"whiten": True, "use_label_mask": False}, {}, {}),
    "no redistribution": ({"eva_rho": 1}, {"rho": 1.0}, {}, {}),
    "wide, alphas as they were": (
        {"eva_rho": 3, "eva_tau": 0.9, "eva_adjust_scaling_factors": False, "eva_use_label_mask": False},
        {"rho": 3.0, "tau": 0.9, "adjust_scaling_factors": False, "use_label_mask": False}, {}, {},
    ),
    "ranks by pattern": (
        {"eva_use_label_mask": False}, {"use_label_mask": False},
        {"rank_pattern": {"k_proj": 6, "down_proj": 2}, "alpha_pattern": {"o_proj": 5}},
        {"rank_pattern": {"k_proj": 6, "down_proj": 2}, "alpha_pattern": {"o_proj": 5}},
    ),
    "rank-stabilised": ({"use_rslora": True}, {}, {"use_rslora": True}, {}),
}  # fmt: skip


def batches_of(out: dict[str, torch.Tensor], with_answers: bool, image_token: int) -> list[dict[str, torch.Tensor]]:
    """The tool's token ids as padded batches for transformers."""
    batches = []
    for b, samples in enumerate(BATCHES):
        ids = [out[f"ids.{b}.{s}"] for s in range(len(samples))]
        prompts = [int(out[f"prompt_length.{b}.{s}"]) for s in range(len(samples))]
        if not with_answers:
            ids = [row[:prompt] for row, prompt in zip(ids, prompts, strict=True)]
        length = max(len(row) for row in ids)
        batch = {
            "input_ids": torch.stack([torch.nn.functional.pad(row, (0, length - len(row))) for row in ids]),
            "attention_mask": torch.tensor([[1] * len(row) + [0] * (length - len(row)) for row in ids]),
            "pixel_values": torch.cat([out["pixel_values"]] * len(ids)),
            "image_grid_thw": torch.stack([out["image_grid_thw"]] * len(ids)),
        }
        batch["mm_token_type_ids"] = (batch["input_ids"] == image_token).long()
        if with_answers:
            labels = torch.full_like(batch["input_ids"], -100)
            for row, (tokens, prompt) in enumerate(zip(ids, prompts, strict=True)):
                labels[row, prompt : len(tokens)] = tokens[prompt:]
            batch["labels"] = labels
        batches.append(batch)
    return batches


def compare(title: str, ours: Path, theirs: peft.PeftModel, report: Report) -> None:
    found = peft.PeftConfig.from_pretrained(ours)
    layers = {name: module for name, module in theirs.named_modules() if isinstance(module, peft.tuners.lora.LoraLayer)}
    stored = peft.utils.load_peft_weights(str(ours), device="cpu")
    names = {name.removesuffix(".lora_A.weight") for name in stored if name.endswith(".lora_A.weight")}
    report.say(f"{title}, layers", names == layers.keys(), f"{len(layers)}; of one side only: {sorted(names ^ layers.keys())[:3]}")
    worst, where, ranks, scales = 0.0, "", set(), []
    for name in sorted(names & layers.keys()):
        layer = layers[name]
        a, b = stored[f"{name}.lora_A.weight"], layer.lora_A["default"].weight.detach()
        ranks.add(len(b))
        if a.shape != b.shape:
            report.say(f"{title}, {name}", False, f"rank {len(a)}, in PEFT {len(b)}")
            continue
        if title == "whitened" and name.endswith(SHARERS):
            a, b = (torch.nn.functional.normalize(rows, dim=1) for rows in (a, b))
        signs = torch.sign((a * b).sum(dim=1, keepdim=True))
        difference = float((a * signs - b).abs().max() / b.norm(dim=1).max())
        if difference > worst:
            worst, where = difference, name
        module = name.removeprefix("base_model.model.")
        pattern = peft.utils.other.get_pattern_key(found.alpha_pattern.keys(), module)
        alpha = found.alpha_pattern.get(pattern, found.lora_alpha)
        scale = alpha / (len(a) ** 0.5 if found.use_rslora else len(a))
        scales.append(abs(scale - layer.scaling["default"]))
    report.say(f"{title}, A", worst <= TOLERANCE, f"ranks {sorted(ranks)}; differs by {worst:.1e} of a row in {where}")
    report.say(f"{title}, scales", max(scales) < 1e-9, f"differ by {max(scales):.1e}")


def main() -> None:
    transformers.utils.logging.disable_progress_bar()
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True, help="checkpoint directory")
    parser.add_argument("--image", type=Path, required=True, help="image of the prompts")
    parser.add_argument("--tool", type=Path, required=True, help="the program peft_methods")
    arguments = parser.parse_args()
    report = Report()
    with tempfile.TemporaryDirectory() as scratch:
        for title, (params, eva, fields, options) in CASES.items():
            directory = Path(scratch) / title.replace(" ", "_").replace(",", "")
            out = run_tool(arguments.tool, "fresh", arguments, directory, {
                "strategy": "lora", "params": {"r": 4, "alpha": 8, "init": "eva"} | params, "targets": SEVEN, "steps": 0,
                "learning_rate": 0.0, "eps": 1.0, "merges": False, "calibration": BATCHES, **options,
            })  # fmt: skip
            if "error" in out:
                report.say(title, False, out["error"])
                continue
            base = base_model(arguments.model)
            loader = batches_of(out, not options.get("prompts_only", False), base.config.image_token_id)
            config = peft.LoraConfig(r=4, lora_alpha=8, target_modules=LANGUAGE, task_type="CAUSAL_LM",
                                     init_lora_weights="eva", eva_config=peft.EvaConfig(**eva), **fields)  # fmt: skip
            theirs = peft.get_peft_model(base, config)
            peft.initialize_lora_eva_weights(theirs, loader, show_progress_bar=False)
            compare(title, directory / "adapter", theirs, report)
            adapted = peft.PeftModel.from_pretrained(base_model(arguments.model), directory / "adapter").eval()
            with torch.no_grad():
                report.close(f"{title}, loaded by PEFT", logits_of(adapted, out), out["base"])
    print(f"{report.failures} failures")
    sys.exit(1 if report.failures else 0)


if __name__ == "__main__":
    main()
