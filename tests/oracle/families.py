# SPDX-License-Identifier: Apache-2.0
"""The model families of the fixtures: how their published directories look, at small sizes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import internvl
from sizes import SIZES
from tokenizer import CHATML, GLM4V, LLAMA3, TokenizerStyle, Tokenizer

#: CLIP normalisation constants used by Qwen's image processor.
IMAGE_MEAN = [0.48145466, 0.4578275, 0.40821073]
IMAGE_STD = [0.26862954, 0.26130258, 0.27577711]


def common_config(dims: dict, tokenizer: Tokenizer, style: TokenizerStyle, tie: bool, dtype: str) -> dict:
    """Return what every flat ``config.json`` has."""
    return {
        "attention_dropout": 0.0,
        "bos_token_id": tokenizer.token_to_id(style.bos),
        "eos_token_id": tokenizer.token_to_id(style.end),
        "hidden_act": "silu",
        "hidden_size": dims["hidden"],
        "initializer_range": 0.02,
        "intermediate_size": dims["intermediate"],
        "max_position_embeddings": 32768,
        "num_attention_heads": dims["heads"],
        "num_hidden_layers": dims["layers"],
        "num_key_value_heads": dims["kv_heads"],
        "rms_norm_eps": 1e-06,
        "rope_theta": 1000000.0,
        "tie_word_embeddings": tie,
        "torch_dtype": dtype,
        "transformers_version": "4.41.2",
        "use_cache": True,
        # Published checkpoints round the embedding table up; these rows never appear in the tokenizer.
        "vocab_size": math.ceil(tokenizer.get_vocab_size() / 64) * 64,
    }


def qwen_windows(dims: dict) -> dict:
    """Return the keys of sliding windows, which the published files switch off."""
    return {"max_window_layers": dims["layers"], "sliding_window": 32768, "use_sliding_window": False}


def qwen2_part(dims: dict, _tokenizer: Tokenizer) -> dict:
    """Qwen2: biased queries, keys and values."""
    return {"architectures": ["Qwen2ForCausalLM"], **qwen_windows(dims)}


def qwen3_part(dims: dict, _tokenizer: Tokenizer) -> dict:
    """Qwen3: normalised queries and keys, heads wider than the hidden size divided among them."""
    return {
        "architectures": ["Qwen3ForCausalLM"],
        "attention_bias": False,
        "head_dim": 2 * dims["hidden"] // dims["heads"],
        **qwen_windows(dims),
    }


def llama_part(dims: dict, _tokenizer: Tokenizer) -> dict:
    """Llama 3.1: scaled rotary frequencies, with all three ranges of wavelengths in a small head."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": False,
        "head_dim": dims["hidden"] // dims["heads"],
        "mlp_bias": False,
        "rms_norm_eps": 1e-05,
        "rope_theta": 500000.0,
        "rope_scaling": {
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 256,
            "rope_type": "llama3",
        },
    }


def qwen_vl_part(dims: dict, tokenizer: Tokenizer) -> dict:
    """What the Qwen families with images share."""
    token = tokenizer.token_to_id
    return {
        "vision_start_token_id": token("<|vision_start|>"),
        "vision_end_token_id": token("<|vision_end|>"),
        "vision_token_id": token("<|vision_pad|>"),
        "image_token_id": token("<|image_pad|>"),
        "video_token_id": token("<|video_pad|>"),
        **qwen_windows(dims),
        "rope_scaling": {"type": "mrope", "mrope_section": dims["mrope_section"]},
    }


def qwen2_vl_part(dims: dict, tokenizer: Tokenizer) -> dict:
    """Qwen2-VL: vision blocks with LayerNorm and attention over the whole image."""
    return {
        "architectures": ["Qwen2VLForConditionalGeneration"],
        **qwen_vl_part(dims, tokenizer),
        "vision_config": {
            "depth": dims["vision_depth"],
            "embed_dim": dims["vision_dim"],
            "mlp_ratio": 4,
            "num_heads": dims["vision_heads"],
            "in_chans": 3,
            "hidden_size": dims["hidden"],
            "patch_size": 14,
            "spatial_merge_size": 2,
            "spatial_patch_size": 14,
            "temporal_patch_size": 2,
        },
    }


def qwen2_5_vl_part(dims: dict, tokenizer: Tokenizer) -> dict:
    """Qwen2.5-VL: vision blocks with RMSNorm and attention in windows."""
    return {
        "architectures": ["Qwen2_5_VLForConditionalGeneration"],
        **qwen_vl_part(dims, tokenizer),
        "vision_config": {
            "depth": dims["vision_depth"],
            "hidden_act": "silu",
            "hidden_size": dims["vision_dim"],
            "intermediate_size": dims["vision_intermediate"],
            "num_heads": dims["vision_heads"],
            "in_chans": 3,
            "out_hidden_size": dims["hidden"],
            "patch_size": 14,
            "spatial_merge_size": 2,
            "spatial_patch_size": 14,
            "window_size": dims["window_size"],
            "fullatt_block_indexes": dims["fullatt"],
            "tokens_per_second": 2,
            "temporal_patch_size": 2,
        },
    }


def qwen3_vl_part(dims: dict, tokenizer: Tokenizer) -> dict:
    """Qwen3-VL: Qwen3's decoder, interleaved M-RoPE, learned positions, DeepStack."""
    pairs = dims["hidden"] // dims["heads"]  # heads are twice as wide as the hidden size divided among them
    side = pairs // 4
    return {
        "architectures": ["Qwen3VLForConditionalGeneration"],
        **qwen_vl_part(dims, tokenizer),
        "attention_bias": False,
        "head_dim": 2 * pairs,
        "rope_theta": 5000000.0,
        "rope_scaling": {
            "mrope_interleaved": True,
            "mrope_section": [pairs - 2 * side, side, side],
            "rope_type": "default",
        },
        "vision_config": {
            "depth": dims["vision_depth"],
            "deepstack_visual_indexes": list(range(dims["vision_depth"] - 1)),
            "hidden_act": "gelu_pytorch_tanh",
            "hidden_size": dims["vision_dim"],
            "in_channels": 3,
            "intermediate_size": dims["vision_intermediate"],
            "num_heads": dims["vision_heads"],
            "num_position_embeddings": 36,
            "out_hidden_size": dims["hidden"],
            "patch_size": 16,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
        },
    }


def glm4v_part(dims: dict, tokenizer: Tokenizer) -> dict:
    """GLM-4.1V: norms behind each part, one gate and up projection, half of every head rotates, learned positions."""
    token = tokenizer.token_to_id
    pairs = dims["hidden"] // dims["heads"] // 4  # that rotate
    side = 3 * pairs // 8
    return {
        "architectures": ["Glm4vForConditionalGeneration"],
        "image_start_token_id": token("<|begin_of_image|>"),
        "image_end_token_id": token("<|end_of_image|>"),
        "video_start_token_id": token("<|begin_of_video|>"),
        "video_end_token_id": token("<|end_of_video|>"),
        "image_token_id": token("<|image|>"),
        "video_token_id": token("<|video|>"),
        "attention_bias": True,
        "pad_token_id": token(GLM4V.pad),
        "partial_rotary_factor": 0.5,
        "rms_norm_eps": 1e-05,
        "rope_theta": 10000.0,
        "rope_scaling": {"rope_type": "default", "mrope_section": [pairs - 2 * side, side, side]},
        "vision_config": {
            "attention_bias": False,
            "depth": dims["vision_depth"],
            "hidden_act": "silu",
            "hidden_size": dims["vision_dim"],
            "image_size": 84,
            "in_channels": 3,
            "intermediate_size": dims["vision_intermediate"],
            "num_heads": dims["vision_heads"],
            "out_hidden_size": dims["hidden"],
            "patch_size": 14,
            "rms_norm_eps": 1e-05,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
        },
    }


def internvl_part(dims: dict, tokenizer: Tokenizer) -> dict:
    """InternVL 3: the smaller encoder, Qwen2's decoder with dynamic RoPE."""
    dynamic = {"factor": 2.0, "rope_type": "dynamic", "type": "dynamic"}
    return {**qwen_windows(dims), "rope_scaling": dynamic, **internvl.config_part(dims, tokenizer)}


def internvl_6b_part(dims: dict, tokenizer: Tokenizer) -> dict:
    """InternVL with the larger encoder and Qwen3's decoder."""
    return {**qwen3_part(dims, tokenizer), **internvl.config_part(dims, tokenizer, internvl.LARGE)}


#: What stays at the top of a nested ``config.json``.
TOP_KEYS = (
    "architectures",
    "model_type",
    "tie_word_embeddings",
    "transformers_version",
    "vision_config",
    "image_token_id",
    "video_token_id",
    "vision_start_token_id",
    "vision_end_token_id",
    "vision_token_id",
    "image_start_token_id",
    "image_end_token_id",
    "video_start_token_id",
    "video_end_token_id",
    *internvl.TOP_KEYS,
)


@dataclass(frozen=True)
class Family:
    """One family: its part of ``config.json``, its tokenizer, and what transformers loads it with."""

    name: str
    part: object
    style: TokenizerStyle
    has_images: bool
    processor_class: str | None = None
    ties: bool = False  # as most published checkpoints of this size do
    patch_size: int = 14
    is_nested: bool = False  # text_config in config.json
    has_paths: bool = False  # tensor names by module path in published files, too
    image_mean: tuple[float, ...] = tuple(IMAGE_MEAN)
    image_std: tuple[float, ...] = tuple(IMAGE_STD)
    image_processor: str = "Qwen2VLImageProcessor"
    lora_targets: tuple[str, ...] = ()  # layers that LoRA adapts, if not those of the Llama pattern
    stops: tuple[str, ...] = ()  # eos_token_id of generation_config.json, if not the end of a turn and the padding
    text_type: str = ""  # model_type of the decoder, if not this one's with "_text"
    tile_size: int = 0  # pixels a side, if images are cut into tiles; a token is 28 pixels a side
    model_type: str = ""  # if not the name
    #: Module paths of transformers 5, and what published files have instead.
    hub_names: tuple[tuple[str, str], ...] = (("model.visual.", "visual."), ("model.language_model.", "model."))

    @property
    def end(self) -> str:
        """The token that ends a turn."""
        return self.style.end

    def hub_name(self, name: str) -> str:
        """Map a tensor name of current ``transformers`` to the name used in published files."""
        for path, published in self.hub_names:
            if name.startswith(path):
                return published + name[len(path) :]
        return name

    def auto_class(self):
        """The class of transformers that loads the model."""
        from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

        return AutoModelForImageTextToText if self.has_images else AutoModelForCausalLM

    def load_processor(self, path: Path):
        """The processor, or the tokenizer alone."""
        from transformers import AutoProcessor, AutoTokenizer

        return (AutoProcessor if self.has_images else AutoTokenizer).from_pretrained(path)

    def stop_tokens(self) -> tuple[str, ...]:
        """The tokens that end a completion."""
        return self.stops or (self.style.end, self.style.pad)

    def smart_resize(self, height: int, width: int, low: int, high: int) -> tuple[int, int]:
        """The size to which the image processor resizes."""
        factor = 2 * self.patch_size
        if self.image_processor == "Glm4vImageProcessor":
            from transformers.models.glm4v.image_processing_glm4v import smart_resize

            return smart_resize(2, height, width, 2, factor, low, high)
        from transformers.models.qwen2_vl.image_processing_qwen2_vl import smart_resize

        return smart_resize(height, width, factor, low, high)

    def hub_config(self, size: str, tokenizer: Tokenizer, tie: bool, dtype: str) -> dict:
        """Return ``config.json`` in the form of the published repositories."""
        dims = SIZES[size]
        config = common_config(dims, tokenizer, self.style, tie, dtype)
        config = {**config, "model_type": self.model_type or self.name, **self.part(dims, tokenizer)}
        if not self.is_nested:
            return config
        text = {key: value for key, value in config.items() if key not in TOP_KEYS}
        text["model_type"] = self.text_type or self.name + "_text"
        return {**{key: config[key] for key in TOP_KEYS if key in config}, "text_config": text}

    def preprocessor_config(self, size: str) -> dict:
        """Return ``preprocessor_config.json``."""
        dims = SIZES[size]
        if self.tile_size:
            return internvl.preprocessor_config(self.tile_size)
        limits = {"min_pixels": dims["min_pixels"], "max_pixels": dims["max_pixels"]}
        if self.image_processor == "Glm4vImageProcessor":  # counts both frames of a patch
            limits = {
                "size": {"shortest_edge": 2 * dims["min_pixels"], "longest_edge": 2 * dims["max_pixels"]},
            }
        return {
            **limits,
            "patch_size": self.patch_size,
            "temporal_patch_size": 2,
            "merge_size": 2,
            "image_mean": list(self.image_mean),
            "image_std": list(self.image_std),
            "image_processor_type": self.image_processor,
            "processor_class": self.processor_class,
        }


FAMILIES = {
    family.name: family
    for family in (
        Family("qwen2", qwen2_part, CHATML["qwen2"], has_images=False),
        Family("qwen3", qwen3_part, CHATML["qwen3"], has_images=False, ties=True),
        Family("llama", llama_part, LLAMA3, has_images=False),
        Family("qwen2_vl", qwen2_vl_part, CHATML["qwen_vl"], True, "Qwen2VLProcessor", ties=True),
        Family("qwen2_5_vl", qwen2_5_vl_part, CHATML["qwen_vl"], True, "Qwen2_5_VLProcessor"),
        Family(
            "qwen3_vl",
            qwen3_vl_part,
            CHATML["qwen3_vl"],
            has_images=True,
            processor_class="Qwen3VLProcessor",
            ties=True,
            patch_size=16,
            is_nested=True,
            has_paths=True,
            image_mean=(0.5, 0.5, 0.5),
            image_std=(0.5, 0.5, 0.5),
        ),
        Family(
            "glm4v",
            glm4v_part,
            GLM4V,
            has_images=True,
            processor_class="Glm4vProcessor",
            is_nested=True,
            has_paths=True,
            image_processor="Glm4vImageProcessor",
            lora_targets=("q_proj", "k_proj", "v_proj", "o_proj", "gate_up_proj", "down_proj"),
            stops=("<|endoftext|>", "<|user|>", "<|observation|>", "</answer>"),
        ),
        Family("internvl", internvl_part, CHATML["internvl"], text_type="qwen2", **internvl.FAMILY),
        Family("internvl_6b", internvl_6b_part, CHATML["internvl"], text_type="qwen3", **internvl.FAMILY),
    )
}
