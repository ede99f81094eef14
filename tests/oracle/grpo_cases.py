# SPDX-License-Identifier: Apache-2.0
"""What the GRPO oracles are run on: prompts, forced completions, rewards and the cases."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from itertools import product

#: Completions a prompt, tokens a completion, optimizer steps a case.
NUM_GENERATIONS = 4
MAX_COMPLETION_LENGTH = 12
UPDATES = 3

#: Completions are made of ordinary tokens (below FIRST_SPECIAL) and end with a stop token or none.
FIRST_SPECIAL = 1000
EOS = 1002
OTHER_STOP = 1000

#: In the order in which the steps take them. "image" names a picture of the fixture's golden folder. Each has
#: one: beside prompts with pictures TRL passes on a None for a prompt without, which transformers 5.23 refuses.
PROMPTS = [
    {"question": "Where is the red circle? Answer in JSON.", "image": "image"},
    {"question": "Find the yellow square.", "image": "image_resize"},
    {"question": "Is there a blue shape left of it?", "image": "image"},
    {"question": "What is drawn here? Name all shapes and their colors.", "image": "image_resize"},
]


def scripted_a(ids: list[int]) -> float | None:
    """A reward in [0, 1) that depends on every token; no score for one completion in thirteen."""
    return None if sum(ids) % 13 == 0 else (sum(ids) % 97) / 97


def scripted_b(ids: list[int]) -> float | None:
    """0, 1 or 2 by length; no score for one first token in five."""
    return None if ids[0] % 5 == 0 else float(len(ids) % 3)


REWARDS = {"scripted_a": scripted_a, "scripted_b": scripted_b}

#: What a row of a group shall be: which rewards have no score, and how the completion ends. "same" repeats
#: the row before.
Kind = tuple[str, str]
SCORED, NO_A, NO_B, NEITHER = "scored", "no_a", "no_b", "neither"
ENDED, STOPPED, TRUNCATED, FULL, SAME = "ended", "stopped", "truncated", "full", "same"

#: Groups of the rollouts of most cases: group g of rollout r is GROUPS[(r * groups per rollout + g) % 6].
GROUPS: list[list[Kind]] = [
    [(SCORED, ENDED), (NO_A, ENDED), (SCORED, TRUNCATED), (NO_B, ENDED)],
    [(SCORED, STOPPED), (NEITHER, ENDED), (SCORED, ENDED), (SCORED, TRUNCATED)],
    [(SCORED, ENDED), (SCORED, SAME), (SCORED, SAME), (SCORED, SAME)],
    [(SCORED, ENDED), (NO_B, STOPPED), (NO_A, TRUNCATED), (SCORED, FULL)],
    [(SCORED, ENDED), (SCORED, ENDED), (NEITHER, TRUNCATED), (SCORED, ENDED)],
    [(NO_B, ENDED), (SCORED, FULL), (SCORED, ENDED), (SCORED, TRUNCATED)],
]

#: Groups with one scored completion, with none, with one reward missing altogether, and cut off altogether.
UNSCORED: list[list[Kind]] = [
    [(NEITHER, ENDED), (SCORED, ENDED), (NEITHER, TRUNCATED), (NEITHER, ENDED)],
    [(NO_A, ENDED), (NO_A, STOPPED), (NO_A, TRUNCATED), (NO_A, ENDED)],
    [(NEITHER, ENDED)] * 4,
    [(SCORED, ENDED), (NO_B, ENDED), (NO_B, TRUNCATED), (NO_B, ENDED)],
    [(SCORED, TRUNCATED)] * 4,
    [(SCORED, ENDED), (SCORED, TRUNCATED), (SCORED, ENDED), (SCORED, ENDED)],
]

#: VLM-R1 knows no missing score. Its mask takes only the tokenizer's end-of-sequence token for an end.
VLM_R1: list[list[Kind]] = [
    [(SCORED, ENDED), (SCORED, STOPPED), (SCORED, ENDED), (SCORED, STOPPED)],
    [(SCORED, STOPPED), (SCORED, ENDED), (SCORED, TRUNCATED), (SCORED, ENDED)],
    [(SCORED, ENDED), (SCORED, SAME), (SCORED, SAME), (SCORED, SAME)],
    [(SCORED, ENDED), (SCORED, STOPPED), (SCORED, ENDED), (SCORED, ENDED)],
    [(SCORED, TRUNCATED), (SCORED, ENDED), (SCORED, STOPPED), (SCORED, FULL)],
    [(SCORED, ENDED), (SCORED, ENDED), (SCORED, ENDED), (SCORED, STOPPED)],
]


def draw_completion(rng: random.Random, kind: Kind) -> list[int]:
    """Draw token ids, the stop token included, until they are of ``kind``."""
    score, end = kind
    want = {SCORED: (True, True), NO_A: (False, True), NO_B: (True, False), NEITHER: (False, False)}[score]
    while True:
        is_full = end in (TRUNCATED, FULL)
        length = MAX_COMPLETION_LENGTH if is_full else rng.randint(3, MAX_COMPLETION_LENGTH - 1)
        ids = [rng.randrange(FIRST_SPECIAL) for _ in range(length)]
        if end != TRUNCATED:
            ids[-1] = OTHER_STOP if end == STOPPED else EOS
        if (scripted_a(ids) is not None, scripted_b(ids) is not None) == want:
            return ids


def draw_group(rng: random.Random, kinds: list[Kind]) -> list[list[int]]:
    rows: list[list[int]] = []
    for kind in kinds:
        rows.append(list(rows[-1]) if kind[1] == SAME else draw_completion(rng, kind))
    return rows


@dataclass(frozen=True)
class Case:
    """One run of three optimizer steps."""

    name: str
    config: dict  # graft's keys
    groups: str = "groups"  # which of the lists of groups above
    prompts_per_step: int = 2
    micro_prompts: int = 2
    fresh: bool = False  # LoRA's B is zero and the reference is the base model
    updates: int = field(default=UPDATES)

    @property
    def is_vlm_r1(self) -> bool:
        return self.config.get("objective.parity") == "vlm_r1"

    @property
    def prompts_per_rollout(self) -> int:
        return self.prompts_per_step * self.config.get("train.num_mini_batches", 1)

    def rollout(self, index: int) -> dict:
        """Return the prompts of a rollout and the completions of its rows, which are prompt-major."""
        kinds = {"groups": GROUPS, "unscored": UNSCORED, "vlm_r1": VLM_R1}[self.groups]
        first = index * self.prompts_per_rollout
        completions = []
        for number in range(first, first + self.prompts_per_rollout):
            completions += draw_group(random.Random(f"{self.groups} {number}"), kinds[number % len(kinds)])
        return {
            "prompts": [number % len(PROMPTS) for number in range(first, first + self.prompts_per_rollout)],
            "completions": completions,
        }


#: The steps are long, so that ratios leave the clip range, and eps is large, so that Adam does not turn the
#: rounding of gradients near zero into whole steps.
OPTIMIZER = {
    "optimizer.learning_rate": 0.002,
    "optimizer.schedule": "linear",
    "optimizer.warmup_steps": 0,
    "optimizer.weight_decay": 0.0,
    "optimizer.beta1": 0.9,
    "optimizer.beta2": 0.999,
    "optimizer.eps": 1e-3,
    "optimizer.max_grad_norm": 1.0,
}


def clip_range(loss_type: str) -> dict:
    """Bounds of the ratio that bite within three steps, in the way the objective means them."""
    if loss_type == "cispo":
        return {"objective.epsilon_high": 1.05}  # the cap itself
    if loss_type == "gspo":
        return {"objective.epsilon": 0.19, "objective.epsilon_high": 0.2}
    return {"objective.epsilon": 0.2, "objective.epsilon_high": 0.28}


def config_of(loss_type: str, beta: float = 0.04, mu: int = 1, scale: str = "group", **others) -> dict:
    """Return graft's keys of a case; ``others`` are further keys with "__" for the dot."""
    return {
        "objective.loss_type": loss_type,
        "objective.beta": beta,
        "objective.num_iterations": mu,
        "objective.scale_rewards": scale,
        "reward_weights": [1.0, 0.5],
        **clip_range(loss_type),
        **OPTIMIZER,
        **{key.replace("__", "."): value for key, value in others.items()},
    }


def product_cases() -> list[Case]:
    """Each objective with and without KL, one and two passes over a rollout, each scaling of rewards."""
    objectives = ["grpo", "bnpo", "dr_grpo", "dapo", "cispo", "gspo"]
    return [
        Case(f"{loss_type}_b{beta:g}_mu{mu}_{scale}", config_of(loss_type, beta, mu, scale))
        for loss_type, beta, mu, scale in product(objectives, (0.0, 0.04), (1, 2), ("group", "batch", "none"))
    ]


def extra_cases() -> list[Case]:
    """What the product leaves out, one thing at a time."""
    narrow = {"objective__epsilon": 0.05, "objective__epsilon_high": 0.08}
    halves = {"train__num_mini_batches": 2, **narrow}
    narrowest = {"objective__epsilon": 0.003, "objective__epsilon_high": 0.004}
    cases = [
        Case("delta_grpo", config_of("grpo", mu=2, objective__delta=1.1, **halves)),
        Case("delta_dapo", config_of("dapo", beta=0.0, mu=2, objective__delta=1.1, **narrow)),
        Case("delta_gspo", config_of("gspo", objective__delta=1.006, train__num_mini_batches=2, **narrowest)),
        Case("entropy_grpo", config_of("grpo", objective__top_entropy_quantile=0.3)),
        Case("entropy_dapo", config_of("dapo", beta=0.0, objective__top_entropy_quantile=0.3)),
        Case("temperature_dapo", config_of("dapo", mu=2, rollout__temperature=0.8)),
        Case("temperature_gspo", config_of("gspo", beta=0.0, rollout__temperature=0.8)),
        Case("fresh_grpo", config_of("grpo", mu=2), fresh=True),
        Case("fresh_dapo", config_of("dapo"), fresh=True),
        Case("cosine_decay_dapo", config_of("dapo", optimizer__schedule="cosine", optimizer__warmup_steps=1,
                                            optimizer__weight_decay=0.1)),
        Case("linear_warmup_grpo", config_of("grpo", optimizer__warmup_steps=2)),
        Case("constant_grpo", config_of("grpo", optimizer__schedule="constant")),
        Case("small_norm_grpo", config_of("grpo", mu=2, optimizer__max_grad_norm=0.01)),
        Case("no_norm_dapo", config_of("dapo", optimizer__max_grad_norm=0.0)),
        Case("mini_batches_dapo", config_of("dapo", **halves)),
        Case("mini_batches_gspo", config_of("gspo", train__num_mini_batches=2, **narrowest)),
        Case("mini_batches_grpo_mu2", config_of("grpo", mu=2, train__num_mini_batches=2)),
        Case("mini_batches_accumulation_dapo", config_of("dapo", **halves), micro_prompts=1),
    ]  # fmt: skip
    for loss_type in ("grpo", "bnpo", "dr_grpo", "dapo", "cispo", "gspo"):
        # TRL's bnpo averages over each micro-batch, which depends on how a step is cut; graft's does not.
        if loss_type != "bnpo":
            cases.append(Case(f"accumulation_{loss_type}", config_of(loss_type), micro_prompts=1))
        masked = config_of(loss_type, objective__mask_truncated_completions=True)
        cases.append(Case(f"masked_{loss_type}", masked))
    for scale in ("group", "batch", "none"):
        cases.append(Case(f"unscored_{scale}_dapo", config_of("dapo", scale=scale), groups="unscored"))
    masked = config_of("grpo", objective__mask_truncated_completions=True)
    cases.append(Case("unscored_masked_grpo", masked, groups="unscored"))
    return cases


def vlm_r1_cases() -> list[Case]:
    """VLM-R1's loss: temperature 1, plain sum of rewards, group scaling."""

    def case(name: str, beta: float = 0.04, mu: int = 1, **options) -> Case:
        config = {
            "objective.parity": "vlm_r1",
            "objective.loss_type": "grpo",
            "objective.beta": beta,
            "objective.epsilon": 0.06,
            "objective.epsilon_high": 0.05,
            "objective.num_iterations": mu,
            "reward_weights": [1.0, 1.0],
            **OPTIMIZER,
        }
        return Case(f"vlm_r1_{name}", config, groups="vlm_r1", **options)

    return [
        case("b0_mu1", beta=0.0),
        case("b0_mu2", beta=0.0, mu=2),
        case("b0.04_mu1"),
        case("b0.04_mu2", mu=2),
        case("fresh", fresh=True),
        case("accumulation", mu=2, micro_prompts=1),
    ]


#: The cases whose values are kept with the tests.
KEPT = [
    *(f"{loss_type}_b0.04_mu2_group" for loss_type in ("grpo", "bnpo", "dr_grpo", "dapo", "cispo", "gspo")),
    "delta_grpo",
    "entropy_grpo",
    "accumulation_dapo",
    "mini_batches_dapo",
    "vlm_r1_b0.04_mu2",
]


def all_cases() -> list[Case]:
    return product_cases() + extra_cases() + vlm_r1_cases()
