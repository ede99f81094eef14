#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""One reward file in TRL's GRPOTrainer and in graft: python_reward.py --graft COMMAND --model TINY_TEXT_MODEL

The function notes what it is called with. Both give it lists of chat messages, token ids and the columns of the data, and take
its None for "no opinion".
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
from pathlib import Path

REWARD = '''
import json, os

def score(prompts, completions, completion_ids, solution, **kwargs):
    """Half of the answers score by their length, every fourth has no opinion."""
    texts = [completion[0]["content"] for completion in completions]
    with open(os.environ["NOTES"], "a") as notes:
        notes.write(json.dumps({
            "prompt": prompts[0][-1], "role": completions[0][0]["role"], "counts": sorted(
                {len(prompts), len(completions), len(completion_ids), len(solution)}),
            "solution": solution[0], "ids": all(isinstance(i, int) for ids in completion_ids for i in ids)}) + "\\n")
    return [None if index % 4 == 3 else len(text) % 7 / 7 + 0.01 * index for index, text in enumerate(texts)]
'''

QUESTION, ANSWER = "Where is the cat?", "on the mat"


def run_trl(model: str, directory: Path) -> list[float]:
    import importlib.util

    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    spec = importlib.util.spec_from_file_location("reward", directory / "reward.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    data = Dataset.from_list([{"prompt": [{"role": "user", "content": QUESTION}], "solution": ANSWER}] * 4)
    config = GRPOConfig(output_dir=str(directory / "trl"), max_steps=2, per_device_train_batch_size=8, num_generations=4,
                        max_completion_length=8, logging_steps=1, report_to="none", use_cpu=True, save_strategy="no")
    trainer = GRPOTrainer(model=model, reward_funcs=module.score, args=config, train_dataset=data)
    trainer.train()
    return [row["rewards/score/mean"] for row in trainer.state.log_history if "rewards/score/mean" in row]


def run_graft(command: str, model: str, directory: Path, interpreter: str) -> list[float]:
    rows = [{"id": i, "conversations": [{"from": "human", "value": QUESTION}, {"from": "gpt", "value": ANSWER}],
             "solution": ANSWER} for i in range(4)]
    (directory / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    reward = {"name": f"python:{directory / 'reward.py'}:score", "params": {"interpreter": interpreter}}
    subprocess.run([command, "train", f"model.path={model}", f"data.train={directory / 'data.jsonl'}",
                    f"output_dir={directory / 'graft'}", f"rewards={json.dumps([reward])}", "train.steps=2",
                    "train.prompts_per_step=2", "rollout.num_generations=4", "rollout.max_completion_length=8",
                    "peft.strategy=full", "peft.params={}", "train.save_steps=0"], check=True)
    lines = (directory / "graft" / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["rewards/score/mean"] for line in lines]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--graft", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--interpreter", required=True, help="python for graft's reward process")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "reward.py").write_text(REWARD)
        notes = {}
        for who, run in (("trl", lambda: run_trl(options.model, directory)),
                         ("graft", lambda: run_graft(options.graft, options.model, directory, options.interpreter))):
            os.environ["NOTES"] = str(directory / f"{who}.jsonl")
            means = run()
            assert len(means) == 2 and all(0 <= mean <= 1.1 for mean in means), (who, means)
            notes[who] = [json.loads(line) for line in Path(os.environ["NOTES"]).read_text().splitlines()]
        # TRL calls once a step of 8; graft as well, and once before for its preflight.
        for who, calls in notes.items():
            for call in calls:
                assert call["prompt"] == {"role": "user", "content": QUESTION}, (who, call)
                assert call["role"] == "assistant" and call["solution"] == ANSWER and call["ids"], (who, call)
                assert len(call["counts"]) == 1, (who, call)
        assert len(notes["trl"]) == 2 and len(notes["graft"]) >= 2, {who: len(calls) for who, calls in notes.items()}
        print(f"the same reward file: {len(notes['trl'])} calls by TRL, {len(notes['graft'])} by graft")


if __name__ == "__main__":
    main()
