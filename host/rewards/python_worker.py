# SPDX-License-Identifier: Apache-2.0
"""Scores completions with a Python function for graft (host/rewards/wire.h): JSON lines on file descriptor 3.

The function is called as TRL calls reward functions: once a batch, with prompts, completions, completion_ids and every column
of the data set as a keyword argument, each a list; it returns a list of numbers, None for no opinion. It may be async.
"""

import asyncio
import importlib.util
import inspect
import json
import math
import os
import socket
import sys
import traceback

OK, NO_OPINION, ERROR = 0, 1, 3


def load(file, function):
    sys.path.insert(0, os.path.dirname(file))
    spec = importlib.util.spec_from_file_location(os.path.splitext(os.path.basename(file))[0], file)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    found = getattr(module, function, None)
    if not callable(found):
        raise LookupError(f"{file} has no function {function}")
    return found


def call(function, items, as_messages):
    columns = {}
    samples = [json.loads(item["sample"] or "{}") for item in items]
    for name in sorted({name for sample in samples for name in sample}):
        columns[name] = [sample.get(name) for sample in samples]
    prompts = [item["prompt"] for item in items]
    completions = [item["completion"] for item in items]
    if as_messages:
        prompts = [[{"role": "user", "content": prompt}] for prompt in prompts]
        completions = [[{"role": "assistant", "content": completion}] for completion in completions]
    columns.setdefault("solution", [item["solution"] for item in items])
    columns.update(prompts=prompts, completions=completions, completion_ids=[item["token_ids"] for item in items],
                   trainer_state=None, log_extra=ignore, log_metric=ignore)
    scores = function(**columns)
    if inspect.isawaitable(scores):
        scores = asyncio.run(wait_for(scores))
    scores = list(scores)
    if len(scores) != len(items):
        raise ValueError(f"returned {len(scores)} scores for {len(items)} completions")
    return scores


async def wait_for(scores):
    return await scores


def ignore(*_):
    """What TRL offers for its own tables; graft logs every score by itself."""


def reply(score):
    if score is None:
        return {"status": NO_OPINION, "reason": "", "scores": [None]}
    value = float(score)
    if not math.isfinite(value):
        return {"status": ERROR, "reason": f"the function returned {value}", "scores": [None]}
    return {"status": OK, "reason": "", "scores": [value]}


def main():
    stream = socket.socket(fileno=3).makefile("rwb")

    def write(message):
        stream.write(json.dumps(message).encode() + b"\n")

    hello = json.loads(stream.readline())
    try:
        function = load(hello["file"], hello["function"])
    except BaseException as error:  # whatever the file does at import, SystemExit included
        traceback.print_exc()
        write({"error": f"{type(error).__name__}: {error}"})
        stream.flush()
        return
    write({"score_names": [hello["function"]], "minimum": None, "maximum": None, "is_batch_dependent": True,
           "params": hello["params"]})
    stream.flush()
    for line in stream:
        items = json.loads(line)["items"]
        try:
            replies = [reply(score) for score in call(function, items, hello["params"]["completions"] == "messages")]
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            reason = f"{type(error).__name__}: {error} ({os.path.basename(where.filename)}:{where.lineno})"
            replies = [{"status": ERROR, "reason": reason, "scores": [None]}] * len(items)
        for message in replies:
            write(message)
        stream.flush()


main()
