#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every PEFT method against PEFT itself, in both directions.

    python peft_methods.py --model DIR --image FILE --tool peft_methods [--only NAME …]

graft -> PEFT: an adapter that graft trains for 20 steps gives the same logits in PEFT; merged it gives the same logits as
unmerged; switched off it gives the base model's to the last bit; nothing frozen moves by a bit.
PEFT -> graft: an adapter with random values made by PEFT gives the same logits in graft, merged ones too; and one AdamW step
from it on the same loss moves every tensor as it does in PEFT.

Tolerances (fp32): logits 1e-5 of the largest one's magnitude or absolute, whichever is larger; the step 1e-5 of the tensor's
largest change, unless the method's row says otherwise.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import peft
import torch
import transformers
from peft.optimizers import create_loraplus_optimizer
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText

SEVEN = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
BIASED = ["q_proj", "k_proj", "v_proj"]
LANGUAGE = r"model\.language_model\..*\.(q|k|v|o|gate|up|down)_proj"
TOLERANCE = 1e-5
TRAINING = {"learning_rate": 2e-3, "eps": 1e-8}
#: Of the one step. A step of g / (|g| + eps) with a small eps has the sign of g wherever g is rounding noise; so eps is large, and the
#: learning rate with it, for the step not to vanish beside the values' own rounding.
STEP = {"learning_rate": 1.0, "eps": 1.0}


def adamw_step(model) -> None:
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    torch.optim.AdamW(trained, lr=STEP["learning_rate"], eps=STEP["eps"], weight_decay=0.0).step()


def loraplus_step(model) -> None:
    """One step of PEFT's optimizer for LoRA+."""
    optimizer = create_loraplus_optimizer(
        model, torch.optim.AdamW, lr=STEP["learning_rate"], loraplus_lr_ratio=4, eps=STEP["eps"], weight_decay=0.0
    )
    optimizer.step()


def lorafa_step(model) -> None:
    """AdamW on B with the gradient that PEFT's LoraFAOptimizer computes; its own AdamW differs in where eps is added."""
    for name, module in model.named_modules():
        if not name.endswith("lora_A.default"):
            continue
        module.weight.grad = None
        layer = model.get_submodule(name.removesuffix(".lora_A.default"))
        a, b = module.weight.detach(), layer.lora_B["default"].weight
        inverse = torch.linalg.pinv(a @ a.T + 1e-8 * torch.eye(a.shape[0]))
        b.grad = (1 / layer.scaling["default"] ** 2) * (b.grad @ inverse)
    adamw_step(model)


@dataclass
class Method:
    """One method as both sides configure it."""

    name: str
    strategy: str  # graft's
    params: dict
    config: type | None  # PEFT's; None where PEFT has no file of its own for it
    fields: dict
    ours: dict = field(default_factory=dict)  # more options of graft's side
    noise: float = 0.03  # of the random values that stand for a trained adapter
    step_tolerance: float = 1e-5
    merges: bool = True
    known_warning: str = "no warning"  # that PEFT has for its own files too
    steps: int = 20
    override: dict = field(default_factory=dict)  # graft's parameters beside those of PEFT's file
    step: Callable = adamw_step


METHODS = [
    Method("lora", "lora", {"r": 4, "alpha": 8}, peft.LoraConfig, {"r": 4, "lora_alpha": 8}),
    Method("rslora", "lora", {"r": 4, "alpha": 8, "use_rslora": True}, peft.LoraConfig,
           {"r": 4, "lora_alpha": 8, "use_rslora": True}),
    Method("lora_gaussian", "lora", {"r": 4, "alpha": 8, "init": "gaussian"}, peft.LoraConfig,
           {"r": 4, "lora_alpha": 8, "init_lora_weights": "gaussian"}),
    Method("lora_orthogonal", "lora", {"r": 4, "alpha": 8, "init": "orthogonal"}, peft.LoraConfig,
           {"r": 4, "lora_alpha": 8, "init_lora_weights": "orthogonal"}),
    Method("lora_bias_only", "lora", {"r": 4, "alpha": 8, "bias": "lora_only"}, peft.LoraConfig,
           {"r": 4, "lora_alpha": 8, "bias": "lora_only"}),
    Method("lora_bias_all", "lora", {"r": 4, "alpha": 8, "bias": "all"}, peft.LoraConfig,
           {"r": 4, "lora_alpha": 8, "bias": "all"}),
    Method("lora_b_bias", "lora", {"r": 4, "alpha": 8, "lora_bias": True}, peft.LoraConfig,
           {"r": 4, "lora_alpha": 8, "lora_bias": True, "target_modules": BIASED}, {"targets": BIASED}),
    Method("lora_patterns", "lora", {"r": 4, "alpha": 8}, peft.LoraConfig,
           {"r": 4, "lora_alpha": 8, "rank_pattern": {"k_proj": 6, r"layers\.1\..*": 3}, "alpha_pattern": {"o_proj": 5}},
           {"rank_pattern": {"k_proj": 6, r"layers\.1\..*": 3}, "alpha_pattern": {"o_proj": 5}}),
    Method("lora_modules_to_save", "lora", {"r": 4, "alpha": 8}, peft.LoraConfig,
           {"r": 4, "lora_alpha": 8, "modules_to_save": ["lm_head", "post_attention_layernorm"]},
           {"modules_to_save": ["lm_head", "post_attention_layernorm"]}),
    Method("dora", "lora", {"r": 4, "alpha": 8, "use_dora": True}, peft.LoraConfig,
           {"r": 4, "lora_alpha": 8, "use_dora": True}),
    Method("pissa", "lora", {"r": 4, "alpha": 8, "init": "pissa"}, peft.LoraConfig,
           {"r": 4, "lora_alpha": 8, "init_lora_weights": "pissa"}),
    Method("pissa_niter", "lora", {"r": 4, "alpha": 8, "init": "pissa", "pissa_iterations": 4}, None, {}),
    Method("olora", "lora", {"r": 4, "alpha": 8, "init": "olora"}, peft.LoraConfig,
           {"r": 4, "lora_alpha": 8, "init_lora_weights": "olora"}),
    Method("lora_eva", "lora", {"r": 4, "alpha": 8, "init": "eva"}, None, {},
           {"calibration": [[["What is red?", "The circle at the left."], ["And what is blue?", "Two of the squares."]]]}),
    # test_lora_plus_optimizer_sucess
    Method("lora_plus", "lora", {"r": 4, "alpha": 8, "lr_ratio": 4}, peft.LoraConfig,
           {"r": 4, "lora_alpha": 8}, override={"lr_ratio": 4}, step=loraplus_step),
    # test_LoraFAOptimizer_step
    Method("lora_fa", "lora", {"r": 4, "alpha": 8, "freeze_a": True}, peft.LoraConfig,
           {"r": 4, "lora_alpha": 8}, override={"freeze_a": True}, step=lorafa_step),
    # test_lorafa_respects_layer_specific_scaling_patterns
    Method("lora_fa_patterns", "lora", {"r": 4, "alpha": 8, "freeze_a": True}, peft.LoraConfig,
           {"r": 4, "lora_alpha": 8, "rank_pattern": {"k_proj": 6}, "alpha_pattern": {"o_proj": 5}},
           {"rank_pattern": {"k_proj": 6}, "alpha_pattern": {"o_proj": 5}}, override={"freeze_a": True}, step=lorafa_step),
    Method("loha", "loha", {"r": 4, "alpha": 8}, peft.LoHaConfig, {"r": 4, "alpha": 8}, noise=0.2),
    Method("loha_dense", "loha", {"r": 12, "alpha": 8}, peft.LoHaConfig, {"r": 12, "alpha": 8}, noise=0.2),
    Method("loha_patterns", "loha", {"r": 4, "alpha": 8, "init": "default"}, peft.LoHaConfig,
           {"r": 4, "alpha": 8, "rank_pattern": {"k_proj": 2}, "alpha_pattern": {"o_proj": 5}},
           {"rank_pattern": {"k_proj": 2}, "alpha_pattern": {"o_proj": 5}}, noise=0.2),
    Method("lokr", "lokr", {"r": 4, "alpha": 8}, peft.LoKrConfig, {"r": 4, "alpha": 8}),
    Method("lokr_both", "lokr", {"r": 2, "alpha": 4, "decompose_both": True}, peft.LoKrConfig,
           {"r": 2, "alpha": 4, "decompose_both": True},
           step_tolerance=1e-4),  # a step of 1e-3 on values near 1 meets fp32 rounding
    Method("lokr_full", "lokr", {"r": 64, "alpha": 64, "decompose_factor": 4}, peft.LoKrConfig,
           {"r": 64, "alpha": 64, "decompose_factor": 4}),
    Method("lokr_lycoris", "lokr", {"r": 4, "alpha": 8, "init": "lycoris"}, peft.LoKrConfig,
           {"r": 4, "alpha": 8, "init_weights": "lycoris"}),
    Method("lokr_patterns", "lokr", {"r": 4, "alpha": 8}, peft.LoKrConfig,
           {"r": 4, "alpha": 8, "rank_pattern": {"k_proj": 2}, "alpha_pattern": {"o_proj": 5}},
           {"rank_pattern": {"k_proj": 2}, "alpha_pattern": {"o_proj": 5}}),
    Method("oft", "oft", {"oft_block_size": 8}, peft.OFTConfig, {"oft_block_size": 8}),
    Method("oft_cayley", "oft", {"oft_block_size": 8, "use_cayley_neumann": False}, peft.OFTConfig,
           {"oft_block_size": 8, "use_cayley_neumann": False}),
    Method("oft_terms", "oft", {"oft_block_size": 8, "num_cayley_neumann_terms": 3}, peft.OFTConfig,
           {"oft_block_size": 8, "num_cayley_neumann_terms": 3}),
    Method("oft_blocks", "oft", {"r": 6}, peft.OFTConfig, {"r": 6, "oft_block_size": 0}),
    Method("oft_shared", "oft", {"oft_block_size": 16, "block_share": True}, peft.OFTConfig,
           {"oft_block_size": 16, "block_share": True}),
    Method("oft_constrained", "oft", {"oft_block_size": 8, "coft": True, "eps": 0.3}, peft.OFTConfig,
           {"oft_block_size": 8, "coft": True, "eps": 0.3}),
    Method("randlora", "randlora", {"r": 16, "alpha": 32}, peft.RandLoraConfig, {"r": 16, "randlora_alpha": 32},
           noise=0.02),
    Method("randlora_by_key", "randlora", {"r": 24, "alpha": 48, "projection_prng_key": 7, "save_projection": False},
           peft.RandLoraConfig,
           {"r": 24, "randlora_alpha": 48, "projection_prng_key": 7, "save_projection": False}, noise=0.02),
    Method("randlora_sparse", "randlora", {"r": 16, "alpha": 32, "sparse": True, "save_projection": False},
           peft.RandLoraConfig, {"r": 16, "randlora_alpha": 32, "sparse": True, "save_projection": False}, noise=0.02),
    Method("randlora_very_sparse", "randlora",
           {"r": 16, "alpha": 32, "very_sparse": True, "save_projection": False}, peft.RandLoraConfig,
           {"r": 16, "randlora_alpha": 32, "very_sparse": True, "save_projection": False}, noise=0.02),
]

METHODS += [
    Method("ia3", "ia3", {}, peft.IA3Config, {"feedforward_modules": ["down_proj"]}),
    Method("ia3_outputs", "ia3", {"feedforward_modules": []}, peft.IA3Config, {"feedforward_modules": []}),
    Method("vera", "vera", {"r": 16, "projection_prng_key": 3, "d_initial": 0.05}, peft.VeraConfig,
           {"r": 16, "projection_prng_key": 3, "d_initial": 0.05}),
    Method("vera_by_key", "vera", {"r": 16, "projection_prng_key": 7, "save_projection": False}, peft.VeraConfig,
           {"r": 16, "projection_prng_key": 7, "save_projection": False}),
    Method("hira", "hira", {"r": 4}, peft.HiraConfig, {"r": 4}, noise=0.1),
    Method("hira_gaussian", "hira", {"r": 4, "init": "gaussian"}, peft.HiraConfig,
           {"r": 4, "init_weights": "gaussian", "rank_pattern": {"k_proj": 6}},  # which PEFT ignores
           noise=0.1, step_tolerance=5e-5),  # a step of 3e-3 on values around 1, which are rounded to 6e-8
    Method("miss", "miss", {"r": 8}, peft.MissConfig, {"r": 8}),
    Method("miss_padded", "miss", {"r": 7}, peft.MissConfig, {"r": 7}),
    Method("miss_mini", "miss", {"r": 8, "init_weights": "mini", "mini_r": 4}, peft.MissConfig,
           {"r": 8, "init_weights": "mini", "mini_r": 4}),
    Method("miss_bat", "miss", {"r": 8, "init_weights": "bat"}, peft.MissConfig, {"r": 8, "init_weights": "bat"}),
    Method("adalora", "adalora", {"init_r": 6, "target_r": 3, "alpha": 8, "tinit": 3, "tfinal": 5}, peft.AdaLoraConfig,
           {"init_r": 6, "target_r": 3, "lora_alpha": 8, "tinit": 5, "total_step": 20},
           known_warning="rank_pattern keys did not match any targeted module"),
]



class Report:
    def __init__(self) -> None:
        self.failures = 0

    def say(self, title: str, passed: bool, text: str) -> None:
        self.failures += not passed
        print(f"{'ok  ' if passed else 'FAIL'} {title}: {text}", flush=True)

    def close(self, title: str, found: torch.Tensor, expected: torch.Tensor, tolerance: float = TOLERANCE) -> None:
        difference = float((found - expected).abs().max())
        bound = tolerance * max(1.0, float(expected.abs().max()))
        self.say(title, difference <= bound, f"largest difference {difference:.2e}, at most {bound:.1e}")


def base_model(directory: Path):
    model = AutoModelForImageTextToText.from_pretrained(directory, dtype=torch.float32, attn_implementation="eager")
    return model.eval()


def forward(model, inputs: dict[str, torch.Tensor], labels: torch.Tensor | None = None):
    ids = inputs["input_ids"].unsqueeze(0)
    return model(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        mm_token_type_ids=(ids == model.config.image_token_id).long(),
        pixel_values=inputs["pixel_values"],
        image_grid_thw=inputs["image_grid_thw"].unsqueeze(0),
        labels=labels,
    )


def logits_of(model, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    return forward(model, inputs).logits[0]


def loss_of(model, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """The mean over the answer, with what PEFT adds to it."""
    labels = inputs["input_ids"].unsqueeze(0).clone()
    labels[:, : int(inputs["prompt_length"])] = -100
    return forward(model, inputs, labels).loss


def run_tool(tool: Path, mode: str, arguments, directory: Path, options: dict) -> dict[str, torch.Tensor] | None:
    directory.mkdir(parents=True, exist_ok=True)
    command = [str(tool), mode, str(arguments.model), str(arguments.image), str(directory), json.dumps(options)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        return {"error": done.stderr.strip()}
    return load_file(directory / "out.safetensors") | {"moved": done.stdout.split("\n")[:-1]}


def from_graft(arguments, method: Method, directory: Path, report: Report) -> None:
    options = {"strategy": method.strategy, "params": method.params, "targets": SEVEN, "steps": method.steps,
               "merges": method.merges, **TRAINING, **method.ours}
    out = run_tool(arguments.tool, "fresh", arguments, directory, options)
    title = f"{method.name}: graft -> PEFT"
    if "error" in out:
        report.say(title, False, out["error"])
        return
    effect = float((out["trained"] - out["base"]).abs().max())
    report.say(f"{title}, training", effect > 1e-2, f"changed logits by up to {effect:.2e}")
    report.close(f"{title}, fresh equals base", out["initial"], out["base"])
    report.say(f"{title}, disabled is base", torch.equal(out["disabled"], out["base"]), "to the bit")
    report.say(f"{title}, frozen parts", not out["moved"], f"moved: {out['moved'][:4] or 'none'}")
    if method.merges:
        report.close(f"{title}, merged", out["merged"], out["trained"])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        adapted = peft.PeftModel.from_pretrained(base_model(arguments.model), directory / "adapter").eval()
    complaints = [str(w.message) for w in caught if "adapter" in str(w.message).lower() or "keys" in str(w.message)]
    complaints = [text for text in complaints if method.known_warning not in text]
    report.say(f"{title}, warnings of PEFT", not complaints, str(complaints or "none"))
    with torch.no_grad():
        report.close(f"{title}, logits", out["trained"], logits_of(adapted, out))


def randomize(model, noise: float) -> None:
    generator = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for _, parameter in sorted(model.named_parameters()):
            if parameter.requires_grad:
                parameter.add_(noise * torch.randn(parameter.shape, generator=generator))


def to_graft(arguments, method: Method, directory: Path, report: Report) -> None:
    title = f"{method.name}: PEFT -> graft"
    torch.manual_seed(3)
    config = method.config(**({"target_modules": LANGUAGE, "task_type": "CAUSAL_LM"} | method.fields))
    adapted = peft.get_peft_model(base_model(arguments.model), config).eval()
    randomize(adapted, method.noise)
    adapted.save_pretrained(directory / "theirs")
    before = load_file(directory / "theirs" / "adapter_model.safetensors")
    options = {"adapter": str(directory / "theirs"), "params": method.override, "merges": method.merges, **STEP}
    out = run_tool(arguments.tool, "load", arguments, directory, options)
    if "error" in out:
        report.say(title, False, out["error"])
        return
    with torch.no_grad():
        report.close(f"{title}, logits", out["trained"], logits_of(adapted, out))
    if method.merges:
        report.close(f"{title}, merged", out["merged"], out["trained"])
    loss_of(adapted, out).backward()
    method.step(adapted)
    adapted.save_pretrained(directory / "theirs_stepped")
    compare_steps(title, before, load_file(directory / "theirs_stepped" / "adapter_model.safetensors"),
                  load_file(directory / "stepped" / "adapter_model.safetensors"), method.step_tolerance, report)


def compare_steps(title: str, before, theirs, ours, tolerance: float, report: Report) -> None:
    report.say(f"{title}, names", theirs.keys() == ours.keys(),
               f"of one side only: {sorted(theirs.keys() ^ ours.keys())[:4] or 'none'}")
    worst, where = 0.0, ""
    for name in theirs.keys() & ours.keys() & before.keys():
        move = float((theirs[name] - before[name]).abs().max())
        # Adapters that started as a part of W are written with that start behind the trained factors.
        own = ours[name][tuple(slice(size) for size in theirs[name].shape)]
        difference = float((theirs[name] - own).abs().max())
        relative = difference / move if move > 0 else (0.0 if difference == 0 else float("inf"))
        if relative > worst:
            worst, where = relative, f"{name}, which moved by {move:.1e}"
    report.say(f"{title}, one AdamW step", worst <= tolerance, f"differs by {worst:.2e} of the step in {where}")


def main() -> None:
    transformers.utils.logging.disable_progress_bar()
    warnings.simplefilter("ignore", FutureWarning)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True, help="checkpoint directory")
    parser.add_argument("--image", type=Path, required=True, help="image of the prompt")
    parser.add_argument("--tool", type=Path, required=True, help="the program peft_methods")
    parser.add_argument("--only", nargs="*", help="names of methods")
    arguments = parser.parse_args()
    report = Report()
    with tempfile.TemporaryDirectory() as scratch:
        for method in METHODS:
            if arguments.only and method.name not in arguments.only:
                continue
            from_graft(arguments, method, Path(scratch) / f"{method.name}_ours", report)
            if method.config:
                to_graft(arguments, method, Path(scratch) / f"{method.name}_theirs", report)
    print(f"{report.failures} failures")
    sys.exit(1 if report.failures else 0)


if __name__ == "__main__":
    main()
