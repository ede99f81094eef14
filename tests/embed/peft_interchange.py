#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Exchange LoRA adapters with PEFT in both directions and compare logits.

    python peft_interchange.py --model DIR --image FILE --tool adapter_logits

graft -> PEFT: the tool saves an adapter for several selections of layers; PEFT must load it without missing or
unexpected tensors, adapt exactly the same modules, and give the same logits. PEFT -> graft: adapters made by PEFT (names
that also reach the vision encoder, an expression with look-ahead, all-linear, some layers, ranks of their own, older names,
bfloat16) must give the same logits in graft. Two adapters at once: set_adapter([a, b]) and graft's b on a give the same
logits. Values by pattern are those of PEFT's get_pattern_key. Exit code 1 if anything differs.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.utils.other import get_pattern_key
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageTextToText

SEVEN = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
EVERYWHERE = ["language", "vision", "projector", "head"]
TOLERANCE = 2e-4

#: name -> what graft attaches
OURS = {
    "decoder": {"params": {"r": 4, "alpha": 8}, "targets": SEVEN, "components": ["language"]},
    "attention, rank-stabilised": {
        "params": {"r": 9, "alpha": 6, "use_rslora": True},
        "targets": ["q_proj", "v_proj"],
        "components": ["language"],
    },
    "all linear layers": {"params": {"r": 2, "alpha": 4}, "components": EVERYWHERE},
    "vision encoder": {"params": {"r": 2, "alpha": 4}, "components": ["vision", "projector"]},
    "one layer by expression": {
        "params": {"r": 3, "alpha": 4.5},
        "pattern": r"(?!.*visual).*layers\.1\.(?=.*_proj).*",
        "components": ["language"],
    },
    "some layers": {
        "params": {"r": 3, "alpha": 6},
        "targets": SEVEN,
        "layers": [1, 3],
        "layers_pattern": ["layers"],
        "components": ["language", "vision"],
    },
    "ranks and alphas by pattern": {
        "params": {"r": 4, "alpha": 8},
        "targets": SEVEN,
        "components": ["language"],
        "rank_pattern": [["layers.1.self_attn.q_proj", 6], ["q_proj", 2], [".*layers.0.*", 3]],
        "alpha_pattern": [["^model.language_model.layers.2.*", 3], [".*mlp.*", 5.5]],
    },
}

#: name -> what PEFT attaches
THEIRS = {
    "the seven names": {"r": 4, "lora_alpha": 8, "target_modules": SEVEN},
    "expression": {"r": 4, "lora_alpha": 8, "target_modules": r"^(?!.*visual)(?=.*\bmlp\b).*(?:up|down)_proj$"},
    "all-linear": {"r": 2, "lora_alpha": 6, "target_modules": "all-linear", "use_rslora": True},
    "bfloat16": {"r": 4, "target_modules": ["down_proj"]},
    "some layers": {"r": 2, "target_modules": SEVEN, "layers_to_transform": [0, 2]},
    "some layers of a list of blocks": {
        "r": 2,
        "target_modules": ["q_proj", "gate_proj"],
        "layers_to_transform": 1,
        "layers_pattern": "layers",
    },
    "ranks and alphas by pattern": {
        "r": 4,
        "target_modules": SEVEN,
        # in the order in which PEFT writes them, whatever they are given in: sorted
        "rank_pattern": {".*layers.0.mlp.*": 3, "layers.1.self_attn.q_proj": 6, "q_proj": 2},
        "alpha_pattern": {"language_model.layers.2.mlp.up_proj": 3, "mlp.*": 5.5},
    },
    "defaults": {"target_modules": ["q_proj", "qkv"], "exclude_modules": ["layers.0.self_attn.q_proj"]},
}


def base_model(directory: Path):
    model = AutoModelForImageTextToText.from_pretrained(directory, dtype=torch.float32, attn_implementation="eager")
    return model.eval()


def run_tool(tool: Path, *arguments: object) -> set[str]:
    done = subprocess.run([str(tool), *map(str, arguments)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{tool} {' '.join(map(str, arguments))}\n{done.stderr}")
    return set(done.stdout.split())


def logits_of(model, inputs: dict[str, torch.Tensor], image_token: int) -> torch.Tensor:
    ids = inputs["input_ids"].unsqueeze(0)
    with torch.no_grad():
        return model(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            mm_token_type_ids=(ids == image_token).long(),
            pixel_values=inputs["pixel_values"],
            image_grid_thw=inputs["image_grid_thw"].unsqueeze(0),
        ).logits[0]


def adapter_tensors(model) -> set[str]:
    """Names of the adapter's tensors without PEFT's prefix and the adapter's name, as graft lists them."""
    return {
        name.removeprefix("base_model.model.").replace(".default", "")
        for name, _ in model.named_parameters()
        if ".lora_" in name
    }


def randomize(model, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            if ".lora_" in name:
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))


def round_to_bfloat16(model) -> None:
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".lora_" in name:
                parameter.copy_(parameter.bfloat16().float())


class Report:
    def __init__(self) -> None:
        self.failures = 0

    def compare(self, title: str, ours: torch.Tensor, theirs: torch.Tensor, base: torch.Tensor) -> None:
        difference = float((ours - theirs).abs().max())
        effect = float((theirs - base).abs().max())
        self.say(title, difference <= TOLERANCE and effect > 100 * TOLERANCE,
                 f"largest difference {difference:.2e}, effect of the adapter {effect:.2e}")

    def say(self, title: str, passed: bool, text: str) -> None:
        self.failures += not passed
        print(f"{'ok  ' if passed else 'FAIL'} {title}: {text}")


def from_graft(arguments, scratch: Path, report: Report) -> None:
    for number, (title, options) in enumerate(OURS.items()):
        title = f"graft -> PEFT, {title}"
        adapter, out = scratch / f"ours{number}", scratch / f"ours{number}.safetensors"
        listed = run_tool(arguments.tool, "save", arguments.model, adapter, out, arguments.image, json.dumps(options))
        base = base_model(arguments.model)
        image_token = base.config.image_token_id
        inputs = load_file(out)
        plain = logits_of(base, inputs, image_token)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            adapted = PeftModel.from_pretrained(base, adapter).eval()
        complaints = [str(w.message) for w in caught if "adapter" in str(w.message).lower() or "keys" in str(w.message)]
        report.say(title, not complaints, f"warnings of PEFT: {complaints or 'none'}")
        differing = sorted(adapter_tensors(adapted) ^ listed)
        report.say(title, not differing, f"{len(listed)} tensors; adapted by one side only: {differing[:4] or 'none'}")
        report.compare(title, inputs["logits"], logits_of(adapted, inputs, image_token), plain)


def to_graft(arguments, scratch: Path, report: Report) -> None:
    for number, (title, options) in enumerate(THEIRS.items()):
        title = f"PEFT -> graft, {title}"
        adapter, out = scratch / f"theirs{number}", scratch / f"theirs{number}.safetensors"
        base = base_model(arguments.model)
        image_token = base.config.image_token_id
        adapted = get_peft_model(base, LoraConfig(task_type="CAUSAL_LM", **options)).eval()
        randomize(adapted, number)
        if title.endswith("bfloat16"):  # a file of rounded values; PEFT computes with the same ones
            round_to_bfloat16(adapted)
        adapted.save_pretrained(adapter)
        if title.endswith("bfloat16"):
            file = adapter / "adapter_model.safetensors"
            save_file({name: t.bfloat16() for name, t in load_file(file).items()}, file, metadata={"format": "pt"})
        listed = run_tool(arguments.tool, "load", arguments.model, adapter, out, arguments.image)
        differing = sorted(adapter_tensors(adapted) ^ listed)
        report.say(title, not differing, f"{len(listed)} tensors; adapted by one side only: {differing[:4] or 'none'}")
        inputs = load_file(out)
        theirs = logits_of(adapted, inputs, image_token)
        with adapted.disable_adapter():
            plain = logits_of(adapted, inputs, image_token)
        report.compare(title, inputs["logits"], theirs, plain)
        if number == 0:
            older_layout(arguments, adapter, scratch, listed, theirs, plain, report)


def older_layout(arguments, adapter: Path, scratch: Path, listed: set[str], theirs, plain, report: Report) -> None:
    """The same adapter as older releases of transformers name its modules."""
    older, out = scratch / "older", scratch / "older.safetensors"
    older.mkdir()
    (older / "adapter_config.json").write_text((adapter / "adapter_config.json").read_text())
    tensors = load_file(adapter / "adapter_model.safetensors")
    renamed = {
        name.replace(".model.language_model.", ".model.").replace(".model.model.visual.", ".model.visual."): tensor
        for name, tensor in tensors.items()
    }
    save_file(renamed, older / "adapter_model.safetensors", metadata={"format": "pt"})
    title = "PEFT -> graft, older module names"
    found = run_tool(arguments.tool, "load", arguments.model, older, out, arguments.image)
    report.say(title, found == listed and renamed.keys() != tensors.keys(), f"{len(found)} tensors")
    report.compare(title, load_file(out)["logits"], theirs, plain)


def several_at_once(arguments, scratch: Path, report: Report) -> None:
    """set_adapter([a, b]) in PEFT; in graft b on top of a."""
    base = base_model(arguments.model)
    image_token = base.config.image_token_id
    first = LoraConfig(task_type="CAUSAL_LM", r=3, lora_alpha=6, target_modules=SEVEN)
    second = LoraConfig(task_type="CAUSAL_LM", r=2, lora_alpha=8, target_modules=["q_proj", "o_proj", "qkv"])
    adapted = get_peft_model(base, first, adapter_name="first").eval()
    adapted.add_adapter("second", second)
    randomize(adapted, 11)
    adapted.save_pretrained(scratch / "several")
    out = scratch / "several.safetensors"
    a, b = scratch / "several/first", scratch / "several/second"
    run_tool(arguments.tool, "load", arguments.model, b, out, arguments.image, a)
    inputs = load_file(out)
    adapted.base_model.set_adapter("first")
    one = logits_of(adapted, inputs, image_token)
    adapted.base_model.set_adapter(["first", "second"])
    report.compare("two adapters at once", inputs["logits"], logits_of(adapted, inputs, image_token), one)


def values_by_pattern(arguments, report: Report) -> None:
    """PEFT's get_pattern_key on names of several depths, for every pair of expressions in both orders."""
    names = ["foo", "barfoo", "module.foo", "module.barfoo", "module.module.foo", "module.module.barfoo", "foobar"]
    keys = ["foo", "^foo", "module.foo", "^module.foo", r"module\.module\.foo", ".*module.*foo", "(bar)?foo", "oo", ".*"]
    wrong = []
    for pair in itertools.permutations(keys, 2):
        entries = {key: float(rank) for rank, key in enumerate(pair, start=2)}
        theirs = [entries.get(get_pattern_key(entries.keys(), name), 0.0) for name in names]
        done = subprocess.run(
            [str(arguments.tool), "values", json.dumps(names), json.dumps(list(entries.items()))],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        if [float(value) for value in done.stdout.split()] != theirs:
            wrong.append(pair)
    pairs = len(keys) * (len(keys) - 1)
    report.say("values by pattern", not wrong, f"{pairs} pairs of expressions, differing: {wrong[:3] or 'none'}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True, help="checkpoint directory")
    parser.add_argument("--image", type=Path, required=True, help="image of the prompt")
    parser.add_argument("--tool", type=Path, required=True, help="the program adapter_logits")
    arguments = parser.parse_args()
    report = Report()
    with tempfile.TemporaryDirectory() as scratch:
        from_graft(arguments, Path(scratch), report)
        to_graft(arguments, Path(scratch), report)
        several_at_once(arguments, Path(scratch), report)
    values_by_pattern(arguments, report)
    sys.exit(1 if report.failures else 0)


if __name__ == "__main__":
    main()
