"""Networks of FLUX.1-Fill, FLUX.1-Redux and FLUX.2 klein without weights: the published settings, and tiny ones."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import diffusers
import torch
import transformers
from accelerate import init_empty_weights  # type: ignore[import-untyped]
from diffusers.pipelines.flux.modeling_flux import ReduxImageEncoder
from torch import nn

from export.synthetic import Size

_CLIP: dict[Size, dict[str, Any]] = {
    "tiny": {
        "vocab_size": 516,
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "projection_dim": 16,
    },
    "full": {
        "vocab_size": 49408,
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "projection_dim": 768,
    },
}
# The published settings name token 2 as the last one, which makes the network look for the highest token instead.
_CLIP_COMMON: dict[str, Any] = {"bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1, "hidden_act": "quick_gelu"}
_T5: dict[Size, dict[str, int]] = {
    # Heads and widths are multiples of 64, the block in which nf4 keeps its scales.
    "tiny": {"vocab_size": 256, "d_model": 64, "d_kv": 32, "d_ff": 128, "num_layers": 2, "num_heads": 2},
    "full": {"vocab_size": 32128, "d_model": 4096, "d_kv": 64, "d_ff": 10240, "num_layers": 24, "num_heads": 64},
}
_T5_COMMON: dict[str, Any] = {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}
_FILL: dict[Size, dict[str, Any]] = {
    "tiny": {
        "num_layers": 1,
        "num_single_layers": 2,
        "attention_head_dim": 32,
        "num_attention_heads": 2,
        "joint_attention_dim": 64,
        "pooled_projection_dim": 16,
        "axes_dims_rope": (8, 12, 12),
    },
    "full": {
        "num_layers": 19,
        "num_single_layers": 38,
        "attention_head_dim": 128,
        "num_attention_heads": 24,
        "joint_attention_dim": 4096,
        "pooled_projection_dim": 768,
        "axes_dims_rope": (16, 56, 56),
    },
}
# 64 of the latents, 64 of the masked picture's, 256 of the mask.
_FILL_COMMON: dict[str, Any] = {"in_channels": 384, "out_channels": 64, "guidance_embeds": True}
_VAE: dict[Size, dict[str, Any]] = {
    "tiny": {"block_out_channels": (4, 4, 8, 8), "layers_per_block": 1, "norm_num_groups": 2},
    "full": {"block_out_channels": (128, 256, 512, 512), "layers_per_block": 2, "norm_num_groups": 32},
}
_VAE_COMMON: dict[str, Any] = {
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "sample_size": 1024,
}
_FILL_VAE: dict[str, Any] = {
    "latent_channels": 16,
    "scaling_factor": 0.3611,
    "shift_factor": 0.1159,
    "use_quant_conv": False,
    "use_post_quant_conv": False,
}
_SIGLIP: dict[Size, dict[str, Any]] = {
    "tiny": {
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 56,
    },
    "full": {
        "hidden_size": 1152,
        "intermediate_size": 4304,
        "num_hidden_layers": 27,
        "num_attention_heads": 16,
        "image_size": 384,
    },
}
_QWEN3: dict[Size, dict[str, Any]] = {
    # The text is read off layers 9, 18 and 27, so that there are no fewer.
    "tiny": {
        "vocab_size": 272,
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 28,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 8,
    },
    "full": {
        "vocab_size": 151936,
        "hidden_size": 2560,
        "intermediate_size": 9728,
        "num_hidden_layers": 36,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 128,
    },
}
_KLEIN: dict[Size, dict[str, Any]] = {
    "tiny": {
        "num_layers": 1,
        "num_single_layers": 2,
        "attention_head_dim": 32,
        "num_attention_heads": 2,
        "axes_dims_rope": (8, 8, 8, 8),
    },
    "full": {
        "num_layers": 5,
        "num_single_layers": 20,
        "attention_head_dim": 128,
        "num_attention_heads": 24,
        "axes_dims_rope": (32, 32, 32, 32),
    },
}


@dataclass(frozen=True)
class Component:
    """A network and how it lies on disk.

    Attributes:
        module: on the meta device.
        stem: what its files' names begin with.
        name: from its parameters to the names in the files.
        tied: names that no file holds, as the tensor is another one's too.
    """

    module: Any
    stem: str
    name: Callable[[str], str] = str
    tied: tuple[str, ...] = ()


def fill(size: Size) -> dict[str, Component]:
    """Networks of FLUX.1-Fill, by folder: the settings of ``FLUX.1-Fill-dev`` for ``full``."""
    with _without_memory():
        transformer: Any = diffusers.FluxTransformer2DModel
        return {
            "text_encoder": Component(
                transformers.CLIPTextModel(transformers.CLIPTextConfig(**_CLIP_COMMON, **_CLIP[size])),
                "model",
                lambda name: f"text_model.{name}",
            ),
            "text_encoder_2": Component(
                transformers.T5EncoderModel(transformers.T5Config(**_T5_COMMON, **_T5[size])), "model"
            ),
            "transformer": Component(transformer(**_FILL_COMMON, **_FILL[size]), "diffusion_pytorch_model"),
            "vae": Component(_vae(diffusers.AutoencoderKL, size, _FILL_VAE), "diffusion_pytorch_model"),
        }


def redux(size: Size) -> dict[str, Component]:
    """Networks of FLUX.1-Redux, by folder; its text encoders are those of the pipeline that it is used with."""
    vision = transformers.SiglipVisionConfig(**_SIGLIP[size], patch_size=14, hidden_act="gelu_pytorch_tanh")
    with _without_memory():
        embedder: Any = ReduxImageEncoder
        return {
            "image_encoder": Component(
                transformers.SiglipVisionModel(vision), "model", lambda name: f"vision_model.{name}"
            ),
            "image_embedder": Component(
                embedder(redux_dim=vision.hidden_size, txt_in_features=_T5[size]["d_model"]), "diffusion_pytorch_model"
            ),
        }


def klein(size: Size) -> dict[str, Component]:
    """Networks of FLUX.2 klein, by folder: the settings of ``FLUX.2-klein-4B`` for ``full``."""
    text = transformers.Qwen3Config(
        **_QWEN3[size],
        tie_word_embeddings=True,
        max_position_embeddings=40960,
        rope_parameters={"rope_type": "default", "rope_theta": 1_000_000},
    )
    with _without_memory():
        transformer: Any = diffusers.Flux2Transformer2DModel
        return {
            "text_encoder": Component(transformers.Qwen3ForCausalLM(text), "model", tied=("lm_head.weight",)),
            "transformer": Component(
                transformer(
                    in_channels=128,
                    joint_attention_dim=3 * text.hidden_size,
                    guidance_embeds=False,
                    **_KLEIN[size],
                ),
                "diffusion_pytorch_model",
            ),
            "vae": Component(
                _vae(diffusers.AutoencoderKLFlux2, size, {"latent_channels": 32}), "diffusion_pytorch_model"
            ),
        }


def _vae(model: Any, size: Size, settings: dict[str, Any]) -> nn.Module:
    network: nn.Module = model(**_VAE_COMMON, **_VAE[size], **settings)
    return network


@contextmanager
def _without_memory() -> Iterator[None]:
    """Networks are made on the meta device, and none of the random numbers of others are used up."""
    with torch.random.fork_rng(devices=[]), init_empty_weights(include_buffers=False):
        yield
