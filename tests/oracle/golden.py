# SPDX-License-Identifier: Apache-2.0
"""Golden values: what transformers and PEFT compute from a fixture's checkpoint."""

from __future__ import annotations

import math
import random
from pathlib import Path

import internvl
import torch
from adapters import LORA_TARGETS, write_adapter
from bf16_error import measure
from inputs import QUESTION_TEMPLATE, TOKENIZER_CASES, answer_text, draw_scene, question_messages
from families import Family
from safetensors.torch import save_file
from scoring import group_loss, token_logprobs, with_completions
from tokenizer import write_json

#: (height, width, min_pixels, max_pixels) of resize cases.
RESIZE_CASES = [
    (height, width, low, high)
    for low, high in ((56 * 56, 28 * 28 * 24), (4 * 28 * 28, 16384 * 28 * 28))
    for height, width in (
        (112, 140), (93, 171), (42, 70), (70, 98), (13, 13), (5, 900), (1, 150), (27, 200), (1080, 1920), (333, 777), (28, 28)
    )
]  # fmt: skip


class Golden:
    """Collects tensors and notes, section by section, from the checkpoint in ``out`` loaded the way a user would."""

    #: Rows of logits that a compact fixture keeps: the completion and the end of the prompt.
    COMPACT_ROWS = 48

    def __init__(self, out: Path, seed: int, family: Family, compact: bool) -> None:
        self.directory = out
        self.folder = out / "golden"
        self.folder.mkdir(exist_ok=True)
        self.seed = seed
        self.family = family
        self.compact = compact
        self.processor = family.load_processor(out)
        self.tokenizer = self.processor.tokenizer if family.has_images else self.processor
        model = family.auto_class().from_pretrained(out, dtype=torch.float32, attn_implementation="eager")
        self.model = model.eval()
        self.tensors: dict[str, torch.Tensor] = {}
        self.notes: dict = {"versions": library_versions(), "seed": seed, "dtype": "float32"}
        self.notes["images"] = family.has_images
        rng = random.Random(seed + 1)
        # One image that needs no resize and one that does.
        unit = 2 * family.patch_size
        sizes = ((3 * unit, 2 * unit), (99, 50)) if compact else ((5 * unit, 4 * unit), (171, 93))
        if family.tile_size:  # the other becomes several tiles
            sizes = ((family.tile_size,) * 2, sizes[1])
        self.image, self.records = draw_scene(rng, *sizes[0])
        self.other, self.other_records = draw_scene(rng, *sizes[1])

    def encode(self, texts: list[str], images: list) -> dict[str, torch.Tensor]:
        """Prompts as the processor gives them, padded on the left."""
        options = {"return_tensors": "pt", "padding": True, "padding_side": "left"}
        if self.family.has_images:
            return self.processor(text=texts, images=images, **options)
        return self.tokenizer(texts, add_special_tokens=False, **options)

    def ids(self, text: str) -> list[int]:
        """Token ids of a text by itself."""
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def batch_inputs(self, texts, images, completions):
        """Return a left-padded prompt + right-padded completion batch as the GRPO trainers build it."""
        inputs = self.encode(texts, images)
        ids = [self.ids(c) for c in completions]
        width = max(map(len, ids))
        pad = self.tokenizer.pad_token_id
        completion = torch.tensor([row + [pad] * (width - len(row)) for row in ids])
        mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in ids])
        return with_completions(inputs, completion, mask), mask, inputs["input_ids"].shape[1]

    def question(self, text: str) -> list[dict]:
        """The conversation that asks one question, about an image if the family takes images."""
        return question_messages(text) if self.family.has_images else [{"role": "user", "content": text}]

    def add_logits(self, name: str, logits: torch.Tensor) -> None:
        """Logits, of the last rows only in a compact fixture."""
        self.tensors[name] = (logits[:, -self.COMPACT_ROWS :] if self.compact else logits).detach()

    def add_tokenizer(self) -> None:
        """Token ids and decoded text of the tokenizer cases."""
        self.notes["tokenizer"] = [
            {
                "text": text,
                "ids": (ids := self.ids(text)),
                "decoded": self.tokenizer.decode(ids, skip_special_tokens=False),
                "decoded_skip_special": self.tokenizer.decode(ids, skip_special_tokens=True),
            }
            for text in TOKENIZER_CASES
        ]

    def add_images(self) -> None:
        """Pixel values and grids of both images, and sizes after resize for other shapes."""
        if not self.family.has_images:
            return
        self.image.save(self.folder / "image.png")
        self.other.save(self.folder / "image_resize.png")
        # With torchvision installed, AutoProcessor selects the torchvision backend.
        self.notes["image_processor"] = type(self.processor.image_processor).__name__
        for key, picture in (("image", self.image), ("image_resize", self.other)):
            self.add_pixels(key, picture)
        if self.family.tile_size:
            sizes = sorted({case[:2] for case in RESIZE_CASES})
            self.notes |= internvl.tilings(self.family.tile_size, sizes)
        else:
            self.notes["smart_resize"] = self.resizes()

    def add_pixels(self, key: str, picture) -> None:
        """Pixel values and grid of one image, patch by patch."""
        if not self.family.tile_size:
            result = self.processor.image_processor(images=[picture], return_tensors="pt")
            self.tensors[f"{key}.pixel_values"] = result["pixel_values"]
            self.tensors[f"{key}.image_grid_thw"] = result["image_grid_thw"]
            return
        values, grid = internvl.patches(self.processor, picture, self.family.tile_size // self.family.patch_size)
        self.tensors[f"{key}.pixel_values"] = values
        self.tensors[f"{key}.image_grid_thw"] = grid

    def resizes(self) -> list[dict]:
        """What images of other shapes become."""
        from transformers.models.qwen2_vl.image_processing_qwen2_vl import smart_resize

        return [
            {
                "height": height,
                "width": width,
                "min_pixels": low,
                "max_pixels": high,
                "resized": self.family.smart_resize(height, width, low, high),
            }
            for height, width, low, high in RESIZE_CASES
        ]

    def add_prompt(self) -> None:
        """A prompt with one image, its completion, and renderings of other conversations."""
        target = self.records[0]
        question = QUESTION_TEMPLATE.format(color=target["color"], shape=target["shape"])
        self.asked = question
        messages = self.question(question)
        render = self.processor.apply_chat_template
        self.rendered = render(messages, tokenize=False, add_generation_prompt=True)
        self.inputs = self.encode([self.rendered], [self.image])
        self.completion = answer_text(target["bbox"], target["color"], target["shape"]) + self.family.end
        completion_ids = self.ids(self.completion)
        self.prompt_len = self.inputs["input_ids"].shape[1]
        self.notes["prompt"] = {
            "messages": messages,
            "rendered": self.rendered,
            "target": target,
            "completion": self.completion,
            "prompt_length": self.prompt_len,
        }
        system = {"role": "system", "content": "Answer briefly."}
        with_system = [system, *messages, {"role": "assistant", "content": "ok"}]
        again = {"role": "user", "content": "again"}
        cases = [(messages, True), (messages, False), (with_system, False), (with_system + [again], True)]
        if self.family.has_images:
            two_images = [{"type": "image"}, {"type": "image"}, {"type": "text", "text": "two"}]
            cases.append(([{"role": "user", "content": two_images}], True))
        else:
            thought = {"role": "assistant", "content": "<think>\nred\n</think>\n\n left "}
            cases += [([*messages, thought], False), ([*messages, thought, again], True)]
        self.notes["chat_cases"] = [
            {
                "messages": case,
                "add_generation_prompt": flag,
                "rendered": render(case, tokenize=False, add_generation_prompt=flag),
            }
            for case, flag in cases
        ]
        self.tensors["prompt.input_ids"] = self.inputs["input_ids"]
        self.full_ids = torch.cat([self.inputs["input_ids"], torch.tensor([completion_ids])], 1)
        completion_row = torch.tensor([completion_ids])
        self.full = with_completions(self.inputs, completion_row, torch.ones_like(completion_row))
        self.tensors["completion_ids"] = torch.tensor(completion_ids)

    def positions(self, inputs) -> tuple[torch.Tensor, torch.Tensor]:
        """Position ids and deltas of a batch."""
        if "image_grid_thw" not in inputs:
            ids = inputs["attention_mask"].cumsum(-1) - 1
            return ids.clamp(min=0)[None], torch.zeros(len(ids), 1, dtype=torch.long)
        names = ("input_ids", "mm_token_type_ids", "image_grid_thw", "attention_mask")
        return self.model.model.get_rope_index(**{name: inputs[name] for name in names})

    def vision_features(self, inputs) -> torch.Tensor:
        """What the decoder takes of the images: embeddings, and beside them any features for deeper layers."""
        if self.family.tile_size:
            return self.model.model.get_image_features(inputs["pixel_values"]).pooler_output.flatten(0, 1)
        output = self.model.model.visual(inputs["pixel_values"], grid_thw=inputs["image_grid_thw"])
        return torch.cat([output.pooler_output, *(getattr(output, "deepstack_features", None) or [])], 1)

    @torch.no_grad()
    def add_forward(self) -> None:
        """Positions, vision features, hidden states, logits, log-probabilities."""
        full = self.full
        self.tensors["position_ids"], self.tensors["rope_deltas"] = self.positions(full)
        if self.family.has_images:
            if not self.compact and not self.family.tile_size:
                self.tensors["vision.patch_embed"] = self.model.model.visual.patch_embed(full["pixel_values"])
            self.tensors["vision.embeddings"] = self.vision_features(full)
        output = self.model(**full, output_hidden_states=True)
        self.add_logits("logits", output.logits)
        self.base_logits = output.logits
        self.tensors["logprobs"] = token_logprobs(output.logits, self.full_ids, self.prompt_len)[0]
        if not self.compact:
            for index in {0, 1, len(output.hidden_states) - 1}:
                self.tensors[f"hidden_states.{index}"] = output.hidden_states[index]

    @torch.no_grad()
    def add_two_images(self) -> None:
        """A prompt with both images, of different sizes."""
        if not self.family.has_images:
            return
        messages = [
            {
                "role": "user",
                "content": [{"type": "image"}, {"type": "text", "text": "Compare with "}, {"type": "image"}],
            }
        ]
        text = self.processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        inputs = self.processor(text=[text], images=[self.image, self.other], return_tensors="pt")
        self.two_images = inputs
        self.notes["two_images"] = {"messages": messages, "rendered": text}
        self.tensors["two_images.input_ids"] = inputs["input_ids"]
        self.tensors["two_images.position_ids"] = self.positions(inputs)[0]
        self.tensors["two_images.embeddings"] = self.vision_features(inputs)
        self.tensors["two_images.last_logits"] = self.model(**inputs).logits[0, -1]

    @torch.no_grad()
    def add_greedy(self, steps: int = 24) -> None:
        """Greedy tokens, and how far the runner-up was: a small gap means rounding could change the choice."""
        greedy = self.model.generate(
            **self.inputs, max_new_tokens=steps, do_sample=False, eos_token_id=None, repetition_penalty=1.0
        )
        self.tensors["generate.greedy_ids"] = greedy[0, self.prompt_len :]
        generated = greedy[:, self.prompt_len :]
        full = with_completions(self.inputs, generated, torch.ones_like(generated))
        scores = self.model(**full).logits[0, self.prompt_len - 1 : -1]
        top = scores.topk(2, -1)
        self.notes["greedy"] = {
            "min_gap": float((top.values[:, 0] - top.values[:, 1]).min()),
            "cached_equals_full": bool((top.indices[:, 0] == greedy[0, self.prompt_len :]).all()),
        }

    def add_batch(self) -> None:
        """Two prompts with two completions each, padded on both sides as GRPO trainers do."""
        target = self.other_records[0]
        question = "Find the " + target["color"] + " " + target["shape"] + "."
        other_rendered = self.processor.apply_chat_template(
            self.question(question), tokenize=False, add_generation_prompt=True
        )
        completions = [
            self.completion,
            "<think>short</think><answer>[]</answer>" + self.family.end,
            "no format at all",
            answer_text(target["bbox"], target["color"], target["shape"]) + self.family.end,
        ]
        self.batch, self.mask, self.batch_prompt = self.batch_inputs(
            [self.rendered, self.rendered, other_rendered, other_rendered],
            [self.image, self.image, self.other, self.other],
            completions,
        )
        for key in ("input_ids", "attention_mask"):
            self.tensors[f"batch.{key}"] = self.batch[key]
        self.tensors["batch.completion_mask"] = self.mask
        self.advantages = torch.tensor([1.0, -1.0, -0.5, 0.5])
        self.tensors["batch.advantages"] = self.advantages
        with torch.no_grad():
            self.tensors["batch.position_ids"] = self.positions(self.batch)[0]
            logits = self.model(**self.batch).logits
            self.reference = token_logprobs(logits, self.batch["input_ids"], self.batch_prompt)
            self.tensors["batch.logprobs"] = self.reference * self.mask
            # The last row has the shorter prompt, so it is padded on the left: it must not matter.
            alone, _, alone_prompt = self.batch_inputs([other_rendered], [self.other], completions[3:])
            single = token_logprobs(self.model(**alone).logits, alone["input_ids"], alone_prompt)[0]
        self.notes["batch"] = {
            "completions": completions,
            "prompt_length": self.batch_prompt,
            "texts": [self.rendered, other_rendered],
            "questions": [self.asked, question],
            "left_padding_of_last_row": self.batch_prompt - alone_prompt,
            "last_row_vs_alone_max_abs_diff": float((self.reference[3][: len(single)] - single).abs().max()),
        }

    def add_full_gradients(self) -> None:
        """Gradient norms of full fine-tuning."""
        self.model.zero_grad()
        token_logprobs(self.model(**self.full).logits, self.full_ids, self.prompt_len).sum().backward()
        self.notes["full_gradient_norms"] = {
            self.family.hub_name(name): float(p.grad.norm()) for name, p in self.model.named_parameters() if p.grad is not None
        }
        self.model.zero_grad(set_to_none=True)

    def add_lora(self) -> None:
        """An adapter, its logits and its gradients. Wraps the model: what follows sees the adapter."""
        from peft import LoraConfig, get_peft_model

        lora = get_peft_model(
            self.model,
            LoraConfig(
                r=8,
                lora_alpha=32,
                lora_dropout=0.0,
                bias="none",
                task_type="CAUSAL_LM",
                target_modules=list(self.family.lora_targets) or LORA_TARGETS,
                # Encoders have layers of the same names.
                exclude_modules=r".*vision_tower.*" if self.family.tile_size else r".*visual.*",
            ),
        ).eval()
        generator = torch.Generator().manual_seed(self.seed + 2)
        with torch.no_grad():
            for name, parameter in sorted(lora.named_parameters()):
                if "lora_" in name:
                    scale = 1.0 / math.sqrt(parameter.shape[1]) if "lora_A" in name else 0.01
                    parameter.copy_(scale * torch.randn(parameter.shape, generator=generator))
        write_adapter(self.folder / "adapter", lora)
        adapted = lora(**self.full).logits
        self.add_logits("lora.logits", adapted)
        logprobs = token_logprobs(adapted, self.full_ids, self.prompt_len)
        self.tensors["lora.logprobs"] = logprobs[0].detach()
        logprobs.sum().backward()
        for name, parameter in lora.named_parameters():
            if "lora_" in name:
                self.tensors["lora.grad." + name.replace(".default", "")] = parameter.grad.clone()
        lora.zero_grad(set_to_none=True)
        self.notes["lora"] = {
            "trainable_parameters": sum(p.numel() for p in lora.parameters() if p.requires_grad),
            "modules": sum("lora_A" in name for name, _ in lora.named_parameters()),
            "adapter_vs_base_max_abs_diff": float((adapted.detach() - self.base_logits).abs().max()),
        }
        self.lora = lora

    def add_grpo(self) -> None:
        """The GRPO objective of the padded batch: policy = adapter, reference = base."""
        lora = self.lora
        policy = token_logprobs(lora(**self.batch).logits, self.batch["input_ids"], self.batch_prompt)
        self.tensors["grpo.logprobs"] = (policy * self.mask).detach()
        losses = group_loss(policy, self.reference, self.advantages, self.mask, beta=0.04)
        losses["grpo"].backward()
        adapter = {name: p.grad for name, p in lora.named_parameters() if "lora_" in name}
        self.notes["grpo"] = {
            "beta": 0.04,
            "epsilon": 0.2,
            **{key: float(value.detach()) for key, value in losses.items()},
            "gradient_norm": float(torch.sqrt(sum(grad.pow(2).sum() for grad in adapter.values()))),
        }
        for name, grad in adapter.items():
            if "layers.0." in name:
                self.tensors["grpo.grad." + name.replace(".default", "")] = grad.clone()

    def write(self) -> None:
        """Write ``golden.safetensors`` and ``golden.json``."""
        tensors = {key: value.detach().contiguous().clone() for key, value in self.tensors.items()}
        save_file(tensors, str(self.folder / "golden.safetensors"))
        write_json(self.folder / "golden.json", self.notes)


def library_versions() -> dict:
    """Return the versions of the libraries that the values come from."""
    import peft
    import tokenizers
    import transformers

    return {module.__name__: module.__version__ for module in (torch, transformers, tokenizers, peft)}


def write_golden(out: Path, seed: int, family: Family, compact: bool) -> dict:
    """Compute and write ``out/golden/``; return its notes."""
    torch.set_num_threads(1)  # one summation order
    golden = Golden(out, seed, family, compact)
    golden.add_tokenizer()
    golden.add_images()
    golden.add_prompt()
    golden.add_forward()
    golden.add_two_images()
    golden.add_greedy()
    golden.add_batch()
    golden.add_full_gradients()
    golden.add_lora()
    golden.add_grpo()
    golden.notes["bf16_error"] = measure(golden)
    golden.write()
    return golden.notes
