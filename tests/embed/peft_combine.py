#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`graft adapter combine` against PEFT's add_weighted_adapter.

    python peft_combine.py --model DIR --tool graft

Counterparts of PEFT's _test_weighted_combination_of_adapters_lora (tests/testing_common.py) and of
test_add_weighted_adapter_cat_with_rank_pattern, test_add_weighted_adapter_negative_weight_negates_adapter,
test_add_weighted_adapter_subtraction_with_negative_weights and test_add_weighted_adapter_negative_weight_with_different_scaling
(tests/test_custom_models.py). The update of every layer must be PEFT's up to 1e-5 of its largest element, and so must A and B where
the type determines them. The result must load in PEFT without a complaint and give the combined adapter's update.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import peft
import torch
import transformers
from peft_methods import Report, base_model, randomize
from safetensors.torch import load_file

ADAPTERS = {
    "a": {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj", "down_proj"]},
    "b": {"r": 4, "lora_alpha": 6, "target_modules": ["q_proj", "o_proj"]},
    "c": {"r": 6, "lora_alpha": 3, "target_modules": ["q_proj", "v_proj"], "rank_pattern": {"v_proj": 2},
          "alpha_pattern": {"v_proj": 5}},
}  # fmt: skip


@dataclass
class Case:
    names: list[str]
    weights: list[float]
    type: str
    ours: dict = field(default_factory=dict)
    theirs: dict = field(default_factory=dict)


CASES = [
    Case(["a"], [0.7], "linear"),
    Case(["a"], [-1.0], "linear"),  # test_add_weighted_adapter_negative_weight_negates_adapter
    Case(["a", "b"], [0.6, 1.3], "linear"),
    Case(["a", "b"], [1.0, -0.5], "linear"),  # test_add_weighted_adapter_negative_weight_with_different_scaling
    Case(["a", "b"], [0.6, 1.3], "cat"),
    Case(["a", "c"], [1.0, -1.0], "cat"),  # test_add_weighted_adapter_cat_with_rank_pattern, …_subtraction_with_negative_weights
    Case(["a", "b", "c"], [0.5, 0.8, 1.1], "svd"),
    Case(["a", "b", "c"], [0.5, -0.8, 1.1], "svd", {"rank": 3}, {"svd_rank": 3}),
    Case(["a", "b"], [0.6, 1.3], "ties", {"density": 0.5}, {"density": 0.5}),
    Case(["a", "b"], [0.6, 1.3], "ties", {"density": 0.7, "majority-sign-method": "frequency"},
         {"density": 0.7, "majority_sign_method": "frequency"}),
    Case(["a", "b"], [0.6, 1.3], "magnitude_prune", {"density": 0.3}, {"density": 0.3}),
    Case(["a", "c"], [0.6, 1.3], "ties_svd", {"density": 0.5}, {"density": 0.5}),
    Case(["a", "c"], [0.6, 1.3], "magnitude_prune_svd", {"density": 0.4}, {"density": 0.4}),
]  # fmt: skip


def combine(tool: Path, case: Case, directory: Path, output: Path) -> str:
    command = [str(tool), "adapter", "combine", str(output), "--type", case.type]
    for name, weight in zip(case.names, case.weights, strict=True):
        command += ["--adapter", str(directory / name), f"--weight={weight}"]
    for option, value in case.ours.items():
        command += [f"--{option}", str(value)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stderr.strip()


def updates(model: peft.PeftModel, adapter: str) -> dict[str, torch.Tensor]:
    with torch.no_grad():
        return {
            name: module.get_delta_weight(adapter)
            for name, module in model.named_modules()
            if isinstance(module, peft.tuners.lora.LoraLayer) and adapter in module.lora_A
        }


def worst(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> float:
    return max(float((found[name] - value).abs().max() / value.abs().max().clamp(min=1e-6)) for name, value in expected.items())


def run_case(case: Case, model: peft.PeftModel, arguments, directory: Path, report: Report) -> None:
    title = f"{case.type} of {'+'.join(case.names)} {case.weights} {case.ours or ''}"
    output = directory / "combined"
    error = combine(arguments.tool, case, directory, output)
    if error:
        report.say(title, False, error)
        return
    model.base_model.add_weighted_adapter(case.names, case.weights, "theirs", combination_type=case.type, **case.theirs)
    expected = updates(model, "theirs")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        loaded = peft.PeftModel.from_pretrained(base_model(arguments.model), output)
    complaints = [str(w.message) for w in caught if "adapter" in str(w.message).lower() or "keys" in str(w.message)]
    found = updates(loaded, "default")
    report.say(f"{title}, layers", found.keys() == expected.keys() and not complaints,
               f"{len(found)}; {complaints or 'no complaint'}")
    difference = worst(found, expected)
    report.say(f"{title}, updates", difference <= 1e-5, f"differ by {difference:.1e} of the largest element")
    if "svd" not in case.type:
        model.save_pretrained(directory / "saved", selected_adapters=["theirs"])
        ours, theirs = (load_file(path / "adapter_model.safetensors") for path in (output, directory / "saved/theirs"))
        same = ours.keys() == theirs.keys() and all(ours[name].shape == theirs[name].shape for name in ours)
        difference = worst(ours, theirs) if same else float("inf")
        report.say(f"{title}, A and B", difference <= 1e-5, f"differ by {difference:.1e} of the largest element")
    model.delete_adapter("theirs")


def main() -> None:
    transformers.utils.logging.disable_progress_bar()
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True, help="checkpoint directory")
    parser.add_argument("--tool", type=Path, required=True, help="the graft command")
    arguments = parser.parse_args()
    report = Report()
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch)
        model = None
        for name, fields in ADAPTERS.items():
            config = peft.LoraConfig(task_type="CAUSAL_LM", **fields)
            if model is None:
                model = peft.get_peft_model(base_model(arguments.model), config, adapter_name=name)
            else:
                model.add_adapter(name, config)
            model.base_model.set_adapter(name)
            randomize(model, 0.1)
        model.save_pretrained(directory)
        for case in CASES:
            run_case(case, model, arguments, directory, report)
        refused = combine(arguments.tool, Case(["a", "c"], [1.0, 1.0], "linear"), directory, directory / "refused")
        report.say("linear of two ranks is refused", "use cat or svd" in refused, refused)
    print(f"{report.failures} failures")
    sys.exit(1 if report.failures else 0)


if __name__ == "__main__":
    main()
