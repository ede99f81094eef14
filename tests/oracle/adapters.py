# SPDX-License-Identifier: Apache-2.0
"""PEFT adapters of the fixtures."""

from __future__ import annotations

import json
from pathlib import Path

from tokenizer import write_json

#: The linear layers of the language model that LoRA adapts, where a family names no others.
LORA_TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def write_adapter(path: Path, lora) -> None:
    """Save a PEFT adapter directory without the parts that depend on the path or on set order."""
    lora.save_pretrained(path)
    (path / "README.md").unlink(missing_ok=True)
    config = json.loads((path / "adapter_config.json").read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = ""
    config["target_modules"] = sorted(config["target_modules"])
    write_json(path / "adapter_config.json", config)
