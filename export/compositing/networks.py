"""Networks of the compositor's analyzer and extractor, without memory: tiny, and as published."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from accelerate import init_empty_weights
from torch import Tensor
from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration, Sam2VideoConfig, Sam2VideoModel

from atelier.compositing.neural.birefnet_network import BiRefNet, Shape
from atelier.compositing.neural.swin import offsets
from export.flux.networks import Component
from export.flux.synthetic import Weights
from export.synthetic import Size

SPECIAL = (
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>"),
    *("<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>"),
    *("<|image_pad|>", "<|video_pad|>"),
)
"""Qwen2-VL's special tokens, in the order of their numbers."""

FIRST_SPECIAL: dict[Size, int] = {"tiny": 256, "full": 151643}
"""Number of the first special token; what is before are bytes and, in the published one, what is merged of them."""

_QWEN: dict[Size, dict[str, Any]] = {
    "tiny": {
        "hidden_size": 64,
        "intermediate_size": 96,
        "max_window_layers": 2,
        "num_attention_heads": 4,
        "num_hidden_layers": 2,
        "num_key_value_heads": 2,
        "rope_scaling": {"type": "mrope", "mrope_section": [2, 3, 3]},
        "vision_config": {"depth": 2, "embed_dim": 32, "num_heads": 2, "hidden_size": 64},
        "vocab_size": 272,
    },
    "full": {
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "max_window_layers": 28,
        "num_attention_heads": 28,
        "num_hidden_layers": 28,
        "num_key_value_heads": 4,
        "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]},
        "vision_config": {"depth": 32, "embed_dim": 1280, "num_heads": 16, "hidden_size": 3584},
        "vocab_size": 152064,
    },
}
_SIGHT = {"mlp_ratio": 4, "in_chans": 3, "patch_size": 14, "spatial_merge_size": 2, "temporal_patch_size": 2}
_SAM2: dict[Size, dict[str, Any]] = {
    "tiny": {
        "image_size": 64,
        "hidden": 32,
        "memory": 16,
        "perceptron": 48,
        "widths": [8, 16, 32, 64],
        "blocks": [1, 2, 3, 2],
        "heads": [1, 1, 2, 4],
        "windows": [8, 4, 4, 2],
        "everywhere": [4, 5],  # not a stage's first block, at which windows and the whole picture differ in size
        "layers": 2,
    },
    "full": {
        "image_size": 1024,
        "hidden": 256,
        "memory": 64,
        "perceptron": 2048,
        "widths": [144, 288, 576, 1152],
        "blocks": [2, 6, 36, 4],
        "heads": [2, 4, 8, 16],
        "windows": [8, 4, 16, 8],
        "everywhere": [23, 33, 43],
        "layers": 4,
    },
}
_BIREFNET: dict[Size, Shape] = {
    "tiny": Shape(8, (2, 2, 2, 2), (1, 2, 2, 4), window=4, inner=8, branch=8, picture=4, gate=4),
    "full": Shape(),
}
INPUT_SIZE: dict[Size, int] = {"tiny": 128, "full": 1024}
"""Pixels a side that BiRefNet gets."""


def qwen_config(size: Size) -> dict[str, Any]:
    """``config.json`` as ``Qwen2-VL-7B-Instruct`` has it: language model and whole in one level."""
    first = FIRST_SPECIAL[size]
    numbers = {name: first + number for number, name in enumerate(SPECIAL)}
    settings = _QWEN[size]
    return {
        "architectures": ["Qwen2VLForConditionalGeneration"],
        "attention_dropout": 0.0,
        "bos_token_id": numbers["<|endoftext|>"],
        "eos_token_id": numbers["<|im_end|>"],
        "vision_start_token_id": numbers["<|vision_start|>"],
        "vision_end_token_id": numbers["<|vision_end|>"],
        "vision_token_id": numbers["<|vision_pad|>"],
        "image_token_id": numbers["<|image_pad|>"],
        "video_token_id": numbers["<|video_pad|>"],
        "hidden_act": "silu",
        "initializer_range": 0.02,
        "max_position_embeddings": 32768,
        "model_type": "qwen2_vl",
        "rms_norm_eps": 1e-06,
        "rope_theta": 1000000.0,
        "sliding_window": 32768,
        "tie_word_embeddings": False,
        "torch_dtype": "float32" if size == "tiny" else "bfloat16",
        "transformers_version": "4.41.2",
        "use_cache": True,
        "use_sliding_window": False,
        **settings,
        "vision_config": {**_SIGHT, **settings["vision_config"]},
    }


def qwen(size: Size) -> Component:
    """Qwen2-VL, with the names of tensors that the published files have."""
    with _without_memory():
        module = Qwen2VLForConditionalGeneration(Qwen2VLConfig.from_dict(qwen_config(size)))
    return Component(
        module,
        "model",
        lambda name: name.replace("model.language_model.", "model.").replace("model.visual.", "visual."),
    )


def sam2_config(size: Size) -> dict[str, Any]:
    """``config.json`` as ``sam2.1-hiera-large`` has it: of the network for videos."""
    of = _SAM2[size]
    side, hidden = of["image_size"], of["hidden"]
    backbone = {
        "model_type": "sam2_hiera_det_model",
        "hidden_size": of["widths"][0],
        "num_attention_heads": of["heads"][0],
        "image_size": [side, side],
        "blocks_per_stage": of["blocks"],
        "embed_dim_per_stage": of["widths"],
        "num_attention_heads_per_stage": of["heads"],
        "window_size_per_stage": of["windows"],
        "global_attention_blocks": of["everywhere"],
        "window_positional_embedding_background_size": [7, 7],
    }
    vision = {
        "model_type": "sam2_vision_model",
        "backbone_config": backbone,
        "backbone_channel_list": of["widths"][::-1],
        "backbone_feature_sizes": [[side // step, side // step] for step in (4, 8, 16)],
        "fpn_hidden_size": hidden,
    }
    return {
        "architectures": ["Sam2VideoModel"],
        "model_type": "sam2_video",
        "image_size": side,
        "torch_dtype": "float32",
        "vision_config": vision,
        "prompt_encoder_config": {"hidden_size": hidden, "image_size": side, "mask_input_channels": 16},
        "mask_decoder_config": {
            "hidden_size": hidden,
            "mlp_dim": of["perceptron"],
            "num_attention_heads": 8 if size == "full" else 2,
            "iou_head_hidden_dim": hidden,
        },
        "memory_attention_hidden_size": hidden,
        "memory_attention_num_layers": of["layers"],
        "memory_attention_feed_forward_hidden_size": of["perceptron"],
        "memory_attention_rope_feat_sizes": [side // 16, side // 16],
        "memory_encoder_hidden_size": hidden,
        "memory_encoder_output_channels": of["memory"],
        "mask_downsampler_embed_dim": hidden,
        "memory_fuser_embed_dim": hidden,
        "memory_fuser_intermediate_dim": 4 * hidden,
    }


def sam2(size: Size) -> Component:
    """SAM 2.1, of which pictures need a part."""
    with _without_memory():
        module = Sam2VideoModel(Sam2VideoConfig.from_dict(sam2_config(size)))
    return Component(module, "model")


def birefnet(size: Size) -> Component:
    """BiRefNet."""
    with _without_memory():
        return Component(BiRefNet(_BIREFNET[size]), "model")


class Sam2Weights(Weights):
    """SAM 2's tensors, one of which the published files hold twice."""

    def draw(self, name: str, tensor: Tensor) -> Tensor:
        """Fill a tensor."""
        return super().draw(name.replace("prompt_encoder.shared_embedding", "shared_image_embedding"), tensor)


class BiRefNetWeights(Weights):
    """BiRefNet's tensors; among them whole numbers, which are no weights."""

    def empty(self, name: str) -> Tensor:
        """A tensor's memory, not yet touched."""
        made = super().empty(name)
        return made.long() if name.endswith("relative_position_index") else made

    def draw(self, name: str, tensor: Tensor) -> Tensor:
        """Fill a tensor; that of the last layer so that its sigmoid reaches from 0 to 1."""
        if name.endswith("relative_position_index"):
            return tensor.copy_(offsets(round(tensor.shape[0] ** 0.5)))
        made = super().draw(name, tensor)
        return made.mul_(8) if name == "decoder.conv_out1.0.weight" else made


@contextmanager
def _without_memory() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]), init_empty_weights(include_buffers=False):
        yield
