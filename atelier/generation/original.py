"""The checkpoint as Wan's own repository publishes it: its files, its names of tensors, and what its shapes tell.

Names and constants are facts of Wan2.2's code (``wan/modules/t5.py``, ``vae2_2.py``, ``model.py``). Of the three
networks only the transformer has a ``config.json``, and that one is short; the rest is read off the tensors' shapes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import Tensor

from atelier.generation.errors import CheckpointError
from atelier.generation.names import original_name as transformer_name

__all__ = [
    "LATENTS_MEAN",
    "LATENTS_STD",
    "SCHEDULER",
    "TEXT_ENCODER_FILE",
    "TOKENIZER_FOLDER",
    "TRANSFORMER_STEM",
    "VAE_FILE",
    "text_encoder_config",
    "text_encoder_name",
    "transformer_config",
    "transformer_name",
    "vae_config",
    "vae_name",
]

TRANSFORMER_STEM = "diffusion_pytorch_model"
TEXT_ENCODER_FILE = "models_t5_umt5-xxl-enc-bf16.pth"
TOKENIZER_FOLDER = "google/umt5-xxl"
VAE_FILE = "Wan2.2_VAE.pth"

SCHEDULER: dict[str, Any] = {
    "_class_name": "UniPCMultistepScheduler",
    "flow_shift": 5.0,
    "num_train_timesteps": 1000,
    "prediction_type": "flow_prediction",
    "use_flow_sigmas": True,
}
"""What Wan's code samples TI2V-5B with, as diffusers writes it down."""

LATENTS_MEAN = (
    *(-0.2289, -0.0052, -0.1323, -0.2339, -0.2799, 0.0174, 0.1838, 0.1557, -0.1382, 0.0542, 0.2813, 0.0891),
    *(0.1570, -0.0098, 0.0375, -0.1825, -0.2246, -0.1207, -0.0698, 0.5109, 0.2665, -0.2108, -0.2158, 0.2502),
    *(-0.2055, -0.0322, 0.1109, 0.1567, -0.0729, 0.0899, -0.2799, -0.1230, -0.0313, -0.1649, 0.0117, 0.0723),
    *(-0.2839, -0.2083, -0.0520, 0.3748, 0.0152, 0.1957, 0.1433, -0.2944, 0.3573, -0.0548, -0.1681, -0.0667),
)
"""Mean of each of the 48 channels of a latent, which Wan2.2's VAE was measured to have; no file holds it."""

LATENTS_STD = (
    *(0.4765, 1.0364, 0.4514, 1.1677, 0.5313, 0.4990, 0.4818, 0.5013, 0.8158, 1.0344, 0.5894, 1.0901),
    *(0.6885, 0.6165, 0.8454, 0.4978, 0.5759, 0.3523, 0.7135, 0.6804, 0.5833, 1.4146, 0.8986, 0.5659),
    *(0.7069, 0.5338, 0.4889, 0.4917, 0.4069, 0.4999, 0.6866, 0.4093, 0.5709, 0.6065, 0.6415, 0.4944),
    *(0.5726, 1.2042, 0.5458, 1.6887, 0.3971, 1.0600, 0.3943, 0.5537, 0.5444, 0.4089, 0.7468, 0.7744),
)
"""Standard deviation of each of the 48 channels of a latent."""

_MAX_DISTANCE = 128  # of T5's relative positions: a constant of the code, in no tensor

_TEXT_ENCODER = (
    (r"^shared\.", "token_embedding."),
    (r"^encoder\.final_layer_norm\.", "norm."),
    (r"^encoder\.block\.(\d+)\.", r"blocks.\1."),
    (r"\.layer\.0\.SelfAttention\.relative_attention_bias\.", ".pos_embedding.embedding."),
    (r"\.layer\.0\.SelfAttention\.", ".attn."),
    (r"\.layer\.0\.layer_norm\.", ".norm1."),
    (r"\.layer\.1\.layer_norm\.", ".norm2."),
    (r"\.layer\.1\.DenseReluDense\.wi_0\.", ".ffn.gate.0."),
    (r"\.layer\.1\.DenseReluDense\.wi_1\.", ".ffn.fc1."),
    (r"\.layer\.1\.DenseReluDense\.wo\.", ".ffn.fc2."),
)
_VAE = (
    (r"^quant_conv\.", "conv1."),
    (r"^post_quant_conv\.", "conv2."),
    (r"\.conv_in\.", ".conv1."),
    (r"\.norm_out\.", ".head.0."),
    (r"\.conv_out\.", ".head.2."),
    (r"\.mid_block\.attentions\.0\.", ".middle.1."),
    (r"\.mid_block\.resnets\.0\.", ".middle.0."),
    (r"\.mid_block\.resnets\.1\.", ".middle.2."),
    (r"\.down_blocks\.(\d+)\.resnets\.(\d+)\.", r".downsamples.\1.downsamples.\2."),
    (r"\.up_blocks\.(\d+)\.resnets\.(\d+)\.", r".upsamples.\1.upsamples.\2."),
    (r"\.norm1\.", ".residual.0."),
    (r"(\.\d+)\.conv1\.", r"\1.residual.2."),  # a block's: the encoder and the decoder have a conv1 of their own
    (r"\.norm2\.", ".residual.3."),
    (r"\.conv2\.", ".residual.6."),
    (r"\.conv_shortcut\.", ".shortcut."),
)


def text_encoder_name(name: str) -> str:
    """The name in Wan's ``T5Encoder`` of a parameter of transformers' ``UMT5EncoderModel``."""
    for pattern, replacement in _TEXT_ENCODER:
        name = re.sub(pattern, replacement, name)
    return name


def vae_name(name: str, num_res_blocks: int) -> str:
    """The name in Wan2.2's ``WanVAE_`` of a parameter of diffusers' ``AutoencoderKLWan``.

    Args:
        name: the parameter.
        num_res_blocks: of the VAE's settings; the original counts a stage's resampling after its residual blocks.
    """
    for pattern, replacement in _VAE:
        name = re.sub(pattern, replacement, name)
    name = re.sub(r"\.down_blocks\.(\d+)\.downsampler\.", rf".downsamples.\1.downsamples.{num_res_blocks}.", name)
    return re.sub(r"\.up_blocks\.(\d+)\.upsampler\.", rf".upsamples.\1.upsamples.{num_res_blocks + 1}.", name)


def transformer_config(config: Mapping[str, Any], tensors: Mapping[str, Tensor], where: str) -> dict[str, Any]:
    """Settings of diffusers' ``WanTransformer3DModel``.

    Args:
        config: the original ``config.json``.
        tensors: the weights by their original names; what the original leaves out of its settings is read off them.
        where: what an error calls the files.

    Raises:
        CheckpointError: another model of Wan's, or settings or tensors are missing.
    """
    if config.get("_class_name", "WanModel") != "WanModel" or config.get("model_type", "ti2v") != "ti2v":
        found = f"{config.get('_class_name')} of type {config.get('model_type')}"
        raise CheckpointError(f"{where}/config.json describes a {found}; accepted: WanModel of type ti2v (TI2V-5B).")
    names = ("dim", "ffn_dim", "freq_dim", "in_dim", "out_dim", "num_heads", "num_layers")
    wrong = [name for name in names if not isinstance(config.get(name), int) or config[name] < 1]
    if wrong:
        raise CheckpointError(f"{where}/config.json has no usable {', '.join(wrong)}.")
    if config["dim"] % config["num_heads"]:
        raise CheckpointError(f"{where}/config.json: dim {config['dim']} is no multiple of num_heads.")
    shape = _shapes(tensors, where)
    return {
        "patch_size": list(shape("patch_embedding.weight", 5)[2:]),
        "num_attention_heads": config["num_heads"],
        "attention_head_dim": config["dim"] // config["num_heads"],
        "in_channels": config["in_dim"],
        "out_channels": config["out_dim"],
        "text_dim": shape("text_embedding.0.weight", 2)[1],
        "freq_dim": config["freq_dim"],
        "ffn_dim": config["ffn_dim"],
        "num_layers": config["num_layers"],
        "eps": config.get("eps", 1e-6),
    }


def text_encoder_config(tensors: Mapping[str, Tensor], where: str) -> dict[str, Any]:
    """Settings of transformers' ``UMT5Config``, read off the shapes of Wan's T5 encoder.

    Raises:
        CheckpointError: the tensors are not those of such an encoder.
    """
    shape = _shapes(tensors, where)
    vocabulary, width = shape("token_embedding.weight", 2)
    buckets, heads = shape("blocks.0.pos_embedding.embedding.weight", 2)
    layers = _count(tensors, r"^blocks\.(\d+)\.")
    return {
        "vocab_size": vocabulary,
        "d_model": width,
        "d_kv": shape("blocks.0.attn.q.weight", 2)[0] // heads,
        "d_ff": shape("blocks.0.ffn.fc1.weight", 2)[0],
        "num_layers": layers,
        "num_decoder_layers": layers,
        "num_heads": heads,
        "relative_attention_num_buckets": buckets,
        "relative_attention_max_distance": _MAX_DISTANCE,
        "layer_norm_epsilon": 1e-6,
        "feed_forward_proj": "gated-gelu",
        "pad_token_id": 0,
        "eos_token_id": 1,
    }


def vae_config(tensors: Mapping[str, Tensor], where: str) -> dict[str, Any]:
    """Settings of diffusers' ``AutoencoderKLWan``, read off the shapes of Wan2.2's VAE.

    Raises:
        CheckpointError: the tensors are not those of Wan2.2's VAE (Wan2.1's has other stages).
    """
    shape = _shapes(tensors, where)
    base, channels = shape("encoder.conv1.weight", 5)[:2]
    out_channels, decoder_first = shape("decoder.head.2.weight", 5)[:2]
    z_dim = shape("conv2.weight", 5)[0]
    if z_dim != len(LATENTS_MEAN):
        raise CheckpointError(f"{where} has latents of {z_dim} channels; Wan2.2's VAE has {len(LATENTS_MEAN)}.")
    stages = _count(tensors, r"^encoder\.downsamples\.(\d+)\.")
    blocks = _count(tensors, r"^encoder\.downsamples\.0\.downsamples\.(\d+)\.residual\.")
    widths = [
        shape(f"encoder.downsamples.{stage}.downsamples.0.residual.2.weight", 5)[0] for stage in range(max(stages, 1))
    ]
    in_time = [f"encoder.downsamples.{stage}.downsamples.{blocks}.time_conv.weight" for stage in range(stages - 1)]
    patch = math.isqrt(max(channels // 3, 1))
    return {
        "base_dim": base,
        "decoder_base_dim": decoder_first * base // widths[0],
        "z_dim": z_dim,
        "dim_mult": [width // base for width in widths],
        "num_res_blocks": blocks,
        "temperal_downsample": [name in tensors for name in in_time],
        "latents_mean": list(LATENTS_MEAN),
        "latents_std": list(LATENTS_STD),
        "is_residual": True,
        "in_channels": channels,
        "out_channels": out_channels,
        "patch_size": patch,
        "scale_factor_temporal": 2 ** sum(name in tensors for name in in_time),
        "scale_factor_spatial": 2 ** (stages - 1) * patch,
    }


def _shapes(tensors: Mapping[str, Tensor], where: str) -> Callable[[str, int], tuple[int, ...]]:
    def shape(name: str, dimensions: int) -> tuple[int, ...]:
        if name not in tensors:
            raise CheckpointError(f"{where} is not what its name says: it lacks {name}.")
        found = tuple(tensors[name].shape)
        if len(found) != dimensions or 0 in found:
            raise CheckpointError(f"{where}: {name} has the shape {list(found)}, not one of {dimensions} dimensions.")
        return found

    return shape


def _count(names: Iterable[str], pattern: str) -> int:
    """How many different numbers stand where the pattern has its group."""
    return len({match[1] for name in names if (match := re.match(pattern, name))})
