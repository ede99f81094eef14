# SPDX-License-Identifier: Apache-2.0
"""What the fixtures of InternVL have that other families' have not: its encoder, and images in tiles."""

from __future__ import annotations

import torch

#: Keys at the top of ``config.json``.
TOP_KEYS = (
    "downsample_ratio",
    "image_seq_length",
    "projector_hidden_act",
    "vision_feature_layer",
    "vision_feature_select_strategy",
)

#: What the larger encoder has: RMSNorm, no bias, normalised queries and keys.  Its positions were learned on tiles of
#: another size here, and it has the norm that models without mean pooling end with.
LARGE = {
    "attention_bias": False,
    "image_size": [42, 42],
    "norm_type": "rms_norm",
    "use_mean_pooling": False,
    "use_qk_norm": True,
}

#: Normalisation is ImageNet's; published files have the tensor names of transformers 4.
FAMILY = {
    "has_images": True,
    "processor_class": "InternVLProcessor",
    "is_nested": True,
    "model_type": "internvl",
    "tile_size": 56,
    "image_mean": (0.485, 0.456, 0.406),
    "image_std": (0.229, 0.224, 0.225),
    "hub_names": (
        ("model.vision_tower.", "vision_tower."),
        ("model.multi_modal_projector.", "multi_modal_projector."),
        ("model.language_model.", "language_model.model."),
        ("lm_head.", "language_model.lm_head."),
    ),
}


def config_part(dims: dict, tokenizer, vision: dict | None = None) -> dict:
    """Return the part of ``config.json`` that is not the decoder's; ``vision`` has what differs in the encoder."""
    return {
        "architectures": ["InternVLForConditionalGeneration"],
        "downsample_ratio": 0.5,
        "image_seq_length": 4,
        "image_token_id": tokenizer.token_to_id("<IMG_CONTEXT>"),
        "projector_hidden_act": "gelu",
        "vision_feature_layer": -1,
        "vision_feature_select_strategy": "default",
        "vision_config": {
            "attention_bias": True,
            "hidden_act": "gelu",
            "hidden_size": dims["vision_dim"],
            "image_size": [56, 56],
            "intermediate_size": dims["vision_intermediate"],
            "layer_norm_eps": 1e-06,
            "model_type": "internvl_vision",
            "norm_type": "layer_norm",
            "num_attention_heads": dims["vision_heads"],
            "num_channels": 3,
            "num_hidden_layers": dims["vision_depth"],
            "patch_size": [14, 14],
            "use_absolute_position_embeddings": True,
            "use_mask_token": False,
            "use_mean_pooling": True,
            "use_qk_norm": False,
            **(vision or {}),
        },
    }


def preprocessor_config(side: int) -> dict:
    """Return ``preprocessor_config.json`` for tiles of ``side`` pixels."""
    return {
        "crop_to_patches": False,  # the processor says otherwise
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": list(FAMILY["image_mean"]),
        "image_processor_type": "GotOcr2ImageProcessorFast",
        "image_std": list(FAMILY["image_std"]),
        "max_patches": 12,
        "min_patches": 1,
        "processor_class": FAMILY["processor_class"],
        "resample": 3,
        "rescale_factor": 1 / 255,
        "size": {"height": side, "width": side},
    }


def patches(processor, picture, side: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return an image's values, one row a patch, and its grid: tiles of ``side`` × ``side`` patches of which the four
    of a token stand behind each other, token by token."""
    values = processor(text=["<IMG_CONTEXT>"], images=[picture], return_tensors="pt")["pixel_values"]
    cut = values.unflatten(3, (side // 2, 2, -1)).unflatten(2, (side // 2, 2, -1))
    rows = cut.permute(0, 2, 5, 3, 6, 1, 4, 7).flatten(0, 4).flatten(1)
    return rows, torch.tensor([[len(values), side, side]])


def tilings(side: int, sizes: list[tuple[int, int]]) -> dict:
    """Return notes on what images of other (height, width) become; limits of pixels are limits of tiles."""
    from transformers.models.got_ocr2.image_processing_got_ocr2 import get_optimal_tiled_canvas

    def resized(height: int, width: int, least: int, most: int) -> tuple[int, int]:
        columns, rows = get_optimal_tiled_canvas((height, width), (side, side), least, most)
        return rows * side, columns * side

    cases = [
        {
            "height": height,
            "width": width,
            "min_pixels": least * side**2,
            "max_pixels": most * side**2 + side,
            "resized": resized(height, width, least, most),
        }
        for height, width in sizes
        for least, most in ((1, 12), (1, 1), (4, 6))
    ]
    return {"smart_resize": cases, "strip_resized": resized(2, 402, 1, 12)}
