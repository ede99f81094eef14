#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compare what graft makes of chat templates with transformers' apply_chat_template.

    python template_live.py --tool build/…/image_probe --data tests/parity/data

Templates are those of the fixtures, the published ones that TRL carries and their relatives, and hundreds of small changes to them:
parts deleted, repeated or swapped, literals and filters changed, white space moved. Under each, graft has to write the
same text as transformers for every conversation, or refuse the template by name. The unchanged ones must not be refused.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import shutil
import sys
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path

import trl
from transformers import AutoTokenizer

from image_live import ask

#: Family of the fixture: the published templates of TRL that belong to it.
PUBLISHED = {
    "qwen2": ["qwen2_5"],
    "qwen3": ["qwen3", "qwen3_instruct_2507"],
    "llama": ["llama3", "llama3_1", "llama3_2"],
    "qwen2_vl": ["qwen2_5_vl"],
    "qwen2_5_vl": ["qwen2_5_vl"],
    "qwen3_vl": ["qwen3_vl"],
    "internvl": [],
    "glm4v": [],
}
#: As many fine-tuned checkpoints have it, and Qwen2.
CHATML = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
NO_FLAG = "{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}"
LOOP = "{% for message in messages %}"
QWEN2_SYSTEM = (
    "{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}{% endif %}"
)
#: What turns Qwen3's template into that of the thinking models, and into the first one that was published.
THINKING = [
    (
        """    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
""",
        """    {{- '<|im_start|>assistant\\n<think>\\n' }}
""",
    )
]
FIRST = [
    ("and message.content is string and not(", "and not("),
    (
        """    {%- if message.content is string %}
        {%- set content = message.content %}
    {%- else %}
        {%- set content = '' %}
    {%- endif %}
""",
        "",
    ),
    ("message.role + '\\n' + content + '<|im_end|>'", "message.role + '\\n' + message.content + '<|im_end|>'"),
    (
        """        {%- set reasoning_content = '' %}
        {%- if message.reasoning_content is string %}
""",
        """        {%- set content = message.content %}
        {%- set reasoning_content = '' %}
        {%- if message.reasoning_content is defined and message.reasoning_content is not none %}
""",
    ),
    (
        """            {%- if '</think>' in content %}
                {%- set reasoning_content = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
                {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
""",
        """            {%- if '</think>' in message.content %}
                {%- set content = message.content.split('</think>')[-1].lstrip('\\n') %}
                {%- set reasoning_content = message.content.split('</think>')[0].rstrip('\\n').split('<think>')[-1]"""
        """.lstrip('\\n') %}
""",
    ),
    ("{{- content }}\n        {{- '\\n</tool_response>' }}", "{{- message.content }}\n        {{- '\\n</tool_response>' }}"),
]
#: Published templates of other formats, under every family: none may be taken for another.
FOREIGN = ["gemma", "phi3", "cohere", "glm4moe", "qwen3_5_think", "qwen3_training", "llama3_training", "smolvlm"]
#: What Llama 3.2 would take from the clock.
DATE = "26 Jul 2024"

TEXTS = [
    "Hello",
    "  spaces around \n",
    "\u3000wide\u00a0",
    "line\n\nbreaks",
    "<think>\nred\n</think>\n\n left ",
    "<think>a</think><think>b</think>c",
    "</think>",
    "你好 {{ x }}",
    "<tool_response>12</tool_response>",
    "",
]


@dataclass
class Conversation:
    """In graft's form and in transformers'."""

    graft: dict
    turns: list[dict]
    add_generation_prompt: bool


def conversations(rng: random.Random, has_images: bool, count: int) -> list[Conversation]:
    """Conversations with and without a system message, of one turn and of several, with images if there are any."""
    made = []
    for number in range(count):
        roles = (["system"] if number % 3 == 0 else []) + ["user", "assistant"] * rng.randint(0, 2) + ["user"]
        if rng.random() < 0.3:
            roles.append("assistant")
        graft, turns = [], []
        for role in roles:
            text = rng.choice(TEXTS)
            images = rng.choice([0, 1, 2]) if has_images and role == "user" else 0
            graft.append({"role": role, "text": text, "n_images": images})
            parts = [{"type": "image"}] * images + [{"type": "text", "text": text}]
            turns.append({"role": role, "content": parts if images else text})
        flag = roles[-1] == "user" or rng.random() < 0.5
        made.append(Conversation({"messages": graft, "add_generation_prompt": flag}, turns, flag))
    return made


def edited(template: str, edits: list[tuple[str, str]]) -> str:
    """The template after replacements, each of which must be possible."""
    for old, new in edits:
        if old not in template:
            raise SystemExit(f"TRL's template of Qwen3 has changed: it lacks {old!r}")
        template = template.replace(old, new, 1)
    return template


# ---- changes ----------------------------------------------------------------------------------------------------------

PIECE = re.compile(r"\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}|[^{]+|\{", re.DOTALL)
SWAPS = [
    ("!=", "=="), ("==", "!="), ("user", "human"), ("assistant", "model"), ("system", "developer"),
    ("message['content']", "message['content'] | trim"), ("message.content", "message.content | upper"),
    ("| trim", ""), ("lstrip", "rstrip"), ("<|im_end|>", "<|im_end|> "), ("<|im_start|>", "<s>"),
    ("<|eot_id|>", "<|end_of_text|>"), ("\\n", "\\n\\n"), ("\\n", ""), ("-%}", "%}"), ("{%-", "{%"), ("{{-", "{{"),
    ("-}}", "}}"), ("%}", "-%}"), ("{{", "{{-"), ("loop.first", "loop.last"), ("index0", "index"), ("not ", ""),
    (" and ", " or "), ("[1:]", "[0:]"), ("add_generation_prompt", "true"), ("add_generation_prompt", "not tools"),
    ("You are", "We are"), ("2024", "2025"), ("2023", "2024"), ("'", '"'), ("{%", "{# c #}{%"), ("\n", "\r\n"),
    ("'role'", '"role"'), ("['role']", ".role"), ("image_pad", "video_pad"), ("+ 1", "+ 2"), (" ~ ", " + "),
    ("helpful", "very helpful"), ("a careful", "a 'careful'"), ("is string", "is not string"),
]  # fmt: skip


def changed(rng: random.Random, template: str) -> str:
    """The template after one to three small changes."""
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        pieces = PIECE.findall(template)
        at = rng.randrange(len(pieces))
        kind = rng.random()
        if kind < 0.55:
            old, new = rng.choice(SWAPS)
            places = [match.start() for match in re.finditer(re.escape(old), template)]
            if places:
                place = rng.choice(places)
                template = template[:place] + new + template[place + len(old) :]
            continue
        if kind < 0.65:
            del pieces[at]
        elif kind < 0.72:
            pieces.insert(at, pieces[at])
        elif kind < 0.79:
            other = rng.randrange(len(pieces))
            pieces[at], pieces[other] = pieces[other], pieces[at]
        elif kind < 0.9:
            pieces.insert(at, rng.choice([" ", "\n", "  \n", "Hi. ", "{{ bos_token }}", "{# note #}", "{{ '' }}", "\t"]))
        else:
            place = rng.randrange(len(template))
            template = template[:place] + template[place + 1 :]
            continue
        template = "".join(pieces)
    return template


# ---- comparison -------------------------------------------------------------------------------------------------------


def expected(tokenizer, template: str, made: list[Conversation]) -> list[str] | None:
    """What transformers writes; None if it raises."""
    date = {"date_string": DATE} if "strftime_now" in template else {}
    texts = []
    for one in made:
        try:
            texts.append(
                tokenizer.apply_chat_template(
                    one.turns,
                    chat_template=template,
                    tokenize=False,
                    add_generation_prompt=one.add_generation_prompt,
                    **date,
                )
            )
        except Exception:  # noqa: BLE001 - Jinja and templates raise many kinds
            return None
    return texts


def write_directory(directory: Path, source: Path, template: str) -> None:
    """The fixture with another chat template."""
    directory.mkdir()
    for name in ("config.json", "tokenizer.json", "preprocessor_config.json"):
        if (source / name).exists():
            shutil.copy(source / name, directory)
    config = json.loads((source / "tokenizer_config.json").read_text(encoding="utf-8"))
    config["chat_template"] = template
    (directory / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")


def own_template(directory: Path) -> str:
    """The chat template from wherever the fixture has it."""
    if (directory / "chat_template.jinja").exists():
        return (directory / "chat_template.jinja").read_text(encoding="utf-8")
    for name in ("chat_template.json", "tokenizer_config.json"):
        if (directory / name).exists():
            config = json.loads((directory / name).read_text(encoding="utf-8"))
            if "chat_template" in config:
                return config["chat_template"]
    sys.exit(f"{directory} has no chat template")


class Family:
    """One fixture, and what became of templates under it."""

    def __init__(self, args: argparse.Namespace, name: str) -> None:
        self.args = args
        self.name = name
        self.source = args.data / f"{name}_tiny"
        self.tokenizer = AutoTokenizer.from_pretrained(self.source)
        self.own = own_template(self.source)
        self.has_images = (self.source / "preprocessor_config.json").exists()
        self.followed = self.refused = 0
        self.wrong: list[str] = []

    def templates(self, rng: random.Random) -> list[tuple[str, bool]]:
        """Templates, and whether they must be followed."""
        folder = Path(trl.__file__).parent / "chat_templates"
        known = [self.own, *((folder / f"{name}.jinja").read_text("utf-8") for name in PUBLISHED.get(self.name, []))]
        if self.name == "qwen2":
            known += [CHATML, NO_FLAG + CHATML, CHATML.replace(LOOP, LOOP + QWEN2_SYSTEM)]
        if self.name == "qwen3":
            known += [edited(known[1], THINKING), edited(known[1], FIRST)]
        foreign = [(folder / f"{name}.jinja").read_text("utf-8") for name in FOREIGN]
        others = [changed(rng, rng.choice(known)) for _ in range(self.args.count)]
        return [(one, True) for one in known] + [(one, False) for one in foreign + others]

    def compare(self, rng: random.Random, scratch: Path) -> None:
        """Ask both about every template."""
        templates = self.templates(rng)
        requests, answers = [], []
        for number, (template, _) in enumerate(templates):
            made = conversations(rng, self.has_images, 12)
            directory = scratch / f"{self.name}-{number}"
            write_directory(directory, self.source, template)
            talk = [one.graft for one in made]
            requests.append({"do": "render", "directory": str(directory), "conversations": talk})
            answers.append(expected(self.tokenizer, template, made))
        found = ask(self.args.tool, self.source, requests)
        for (template, is_known), theirs, ours in zip(templates, answers, found, strict=True):
            if "error" in ours:
                self.refused += 1
                if is_known or "the chat template is not recognised" not in ours["error"]:
                    self.wrong.append(f"  refused: {ours['error']}\n    {template!r}\n")
            else:
                self.followed += 1
                if ours["texts"] != theirs:
                    pairs = zip(theirs or ["(an error)"], ours["texts"], strict=False)
                    first = next((pair for pair in pairs if pair[0] != pair[1]), ("", ""))
                    self.wrong.append(f"  transformers {first[0]!r}\n    graft      {first[1]!r}\n    {template!r}\n")
        print(
            f"{self.name}: {len(templates)} templates, {self.followed} followed, {self.refused} refused, "
            f"{len(self.wrong)} wrong"
        )
        print("".join(self.wrong[:5]), end="", flush=True)


def main() -> int:
    """Compare under every family that has a fixture with ChatML or Llama's format."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tool", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=200, help="changed templates for each family")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    wrong = 0
    with tempfile.TemporaryDirectory() as scratch:
        for name in PUBLISHED:
            family = Family(args, name)
            family.compare(random.Random(args.seed), Path(scratch))
            wrong += len(family.wrong)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
