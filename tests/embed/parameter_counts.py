#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compare the committed parameter counts of published models with transformers' on the meta device.

    python parameter_counts.py [--write] tests/parity/data/published

The folder has one configuration a model and counts.json, which the unit test FamilyCounts compares with what graft's families
declare. Only what decides the shape of a model is in the configurations. With --write, counts.json is written instead.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

import torch


def count(config_file: Path) -> int:
    """Return the number of parameters of the model that a configuration describes; tied ones count once."""
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_bytes(config_file.read_bytes())
        config = AutoConfig.from_pretrained(folder)
    auto = AutoModelForImageTextToText if hasattr(config, "vision_config") else AutoModelForCausalLM
    with torch.device("meta"):
        model = auto.from_config(config)
    model.tie_weights()
    return sum(parameter.numel() for parameter in model.parameters())


def main() -> int:
    """Compare or write the counts; return 1 if one differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--write", action="store_true", help="write counts.json")
    args = parser.parse_args()
    file = args.folder / "counts.json"
    counts = {path.stem: count(path) for path in sorted(args.folder.glob("*.json")) if path != file}
    if args.write:
        file.write_text(json.dumps(counts, indent=2) + "\n", encoding="utf-8")
        return 0
    expected = json.loads(file.read_text(encoding="utf-8"))
    for name in sorted(counts.keys() | expected.keys()):
        print(f"{'ok' if counts.get(name) == expected.get(name) else 'FAILED':6} {name}: {counts.get(name)}")
    return 0 if counts == expected else 1


if __name__ == "__main__":
    sys.exit(main())
