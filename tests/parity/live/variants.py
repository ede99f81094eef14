#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compare graft's command line with transformers and PEFT on checkpoints written in every published form.

    python variants.py --graft build/dev/bin/graft [--work DIR] [--only NAME …]

Each variant is written by tests/oracle/make_fixture.py together with its golden values: shards, the nested config of
transformers 5, merges as pairs, tied embeddings, bfloat16 weights, and `small` with 96 million parameters. Checked are
token ids, log-probabilities with and without the adapter and in bfloat16, and greedy tokens. Exit code 1 if one differs.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file

ORACLE = Path(__file__).resolve().parents[2] / "oracle/make_fixture.py"

#: Options of make_fixture.py for each variant.
VARIANTS = {
    "shards": ["--shards", "3"],
    "v5": ["--layout", "v5"],
    "v5_tied": ["--layout", "v5", "--tie", "yes", "--shards", "2"],
    "pairs": ["--merges", "pairs"],
    "tied": ["--tie", "yes"],
    "bfloat16": ["--dtype", "bfloat16"],
    "small": ["--size", "small"],
    "qwen2_shards": ["--family", "qwen2", "--shards", "2"],
    "qwen3_pairs": ["--family", "qwen3", "--merges", "pairs", "--tie", "no"],
    "llama_tied": ["--family", "llama", "--tie", "yes", "--dtype", "bfloat16"],
    "qwen2_vl_v5": ["--family", "qwen2_vl", "--layout", "v5", "--tie", "no"],
    "qwen3_vl": ["--family", "qwen3_vl"],
    "internvl": ["--family", "internvl", "--shards", "2"],
    "internvl_6b_v5": ["--family", "internvl_6b", "--layout", "v5", "--tie", "yes"],
    "qwen3_vl_v5": ["--family", "qwen3_vl", "--layout", "v5", "--shards", "2"],
    "glm4v": ["--family", "glm4v", "--dtype", "bfloat16"],
    "glm4v_v5": ["--family", "glm4v", "--layout", "v5", "--shards", "2", "--merges", "pairs"],
}

#: Largest difference of a log-probability.
TOLERANCE = 2e-4
#: Largest error of a log-probability in bfloat16, as a multiple of transformers' own.
FACTOR_BFLOAT16 = 2.0


class Checker:
    """One variant's directory, its golden values and graft."""

    def __init__(self, graft: Path, model: Path) -> None:
        self.graft = graft
        self.model = model
        self.tensors = load_file(model / "golden/golden.safetensors")
        self.notes = json.loads((model / "golden/golden.json").read_text(encoding="utf-8"))
        self.failures = 0

    def run(self, arguments: list[str], rows: list[dict] | None = None) -> list[dict]:
        """Run graft with JSON lines on stdin; return the JSON lines it prints."""
        text = "".join(json.dumps(row) + "\n" for row in rows or [])
        result = subprocess.run(
            [self.graft, *arguments], input=text.encode(), stdout=subprocess.PIPE, check=True, timeout=600
        )
        return [json.loads(line) for line in result.stdout.decode().split("\n") if line]

    def report(self, what: str, passed: bool, detail: str) -> None:
        """Print one line; count a failure."""
        print(f"{'ok' if passed else 'FAILED':6} {self.model.name}: {what}: {detail}", flush=True)
        self.failures += not passed

    def check_tokens(self) -> None:
        """Token ids of all cases."""
        cases = self.notes["tokenizer"]
        got = self.run(["tokenize", "--model", str(self.model)], [{"text": case["text"]} for case in cases])
        equal = sum(row["ids"] == case["ids"] for row, case in zip(got, cases, strict=True))
        self.report("token ids", equal == len(cases), f"{equal} of {len(cases)} equal")

    def completion_row(self) -> dict:
        """The golden prompt and completion as `graft logprobs` takes them."""
        note = self.notes["prompt"]
        row = {"prompt": self.notes["batch"]["questions"][0], "completion": note["completion"]}
        if self.notes["images"]:
            row["image"] = str(self.model / "golden/image.png")
        return row

    def check_logprobs(self, golden: str, tolerance: float, *arguments: str) -> None:
        """Log-probabilities of the golden completion: the largest difference."""
        error, same_ids = self.logprob_error(golden, *arguments)
        difference = error.abs().max().item()
        what = " ".join(["log-probabilities", *(a for a in arguments if not Path(a).is_absolute())])
        self.report(what, same_ids and difference <= tolerance, f"largest difference {difference:.2e}")

    def check_bfloat16(self, *arguments: str) -> None:
        """Log-probabilities in bfloat16: the error against float32, in units of transformers' own."""
        error, same_ids = self.logprob_error("logprobs", *arguments)
        theirs = self.notes["bf16_error"]["logprobs"].values()
        rms = error.pow(2).mean().sqrt().item() / min(kind["rms"] for kind in theirs)
        largest = error.abs().max().item() / min(kind["max"] for kind in theirs)
        self.report(
            " ".join(["log-probabilities", *arguments]),
            same_ids and max(rms, largest) <= FACTOR_BFLOAT16,
            f"{rms:.2f} of transformers' own root-mean-square error, {largest:.2f} of its largest one",
        )

    def logprob_error(self, golden: str, *arguments: str) -> tuple[torch.Tensor, bool]:
        """Differences of the golden completion's log-probabilities, and whether its token ids are equal."""
        (row,) = self.run(["logprobs", "--model", str(self.model), *arguments], [self.completion_row()])
        same_ids = row["token_ids"] == self.tensors["completion_ids"].tolist()
        return torch.tensor(row["logprobs"]) - self.tensors[golden], same_ids

    def check_greedy(self) -> None:
        """Greedy tokens up to a stop token."""
        stops = json.loads((self.model / "generation_config.json").read_text(encoding="utf-8"))["eos_token_id"]
        expected = []
        for token in self.tensors["generate.greedy_ids"].tolist():
            expected.append(token)
            if token in stops:
                break
        row = self.completion_row()
        (got,) = self.run(
            [
                "generate",
                f"model.path={self.model}",
                "rollout.temperature=0",
                "rollout.num_generations=1",
                f"rollout.max_completion_length={len(self.tensors['generate.greedy_ids'])}",
                "rollout.ban_image_tokens=false",
                "--prompt",
                row["prompt"],
                *(["--image", row["image"]] if "image" in row else []),
            ]
        )
        equal = sum(a == b for a, b in zip(got["token_ids"], expected, strict=False))
        self.report("greedy tokens", got["token_ids"] == expected, f"{equal} of {len(expected)} equal")


def check_variant(graft: Path, model: Path) -> int:
    """Run all checks of one variant; return the number of failures."""
    checker = Checker(graft, model)
    checker.check_tokens()
    checker.check_logprobs("logprobs", TOLERANCE)
    checker.check_logprobs("lora.logprobs", TOLERANCE, "--adapter", str(model / "golden/adapter"))
    checker.check_greedy()
    checker.check_bfloat16("--dtype", "bfloat16")
    return checker.failures


def main() -> int:
    """Write the variants, check them, return 1 if anything differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--graft", type=Path, required=True, help="the graft command")
    parser.add_argument("--work", type=Path, help="keep the checkpoints here and reuse those that are there")
    parser.add_argument("--only", nargs="+", choices=sorted(VARIANTS), default=list(VARIANTS))
    args = parser.parse_args()
    environment = dict(os.environ, HF_HUB_OFFLINE="1", OMP_NUM_THREADS="1")
    failures = 0
    with tempfile.TemporaryDirectory() as scratch:
        work = args.work or Path(scratch)
        for name in args.only:
            model = (work / name).resolve()
            if not (model / "golden/golden.json").exists():
                command = [sys.executable, str(ORACLE), "--out", str(model), *VARIANTS[name]]
                subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            failures += check_variant(args.graft.resolve(), model)
    print(f"{failures} failed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
