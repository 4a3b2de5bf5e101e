"""A random GVM checkpoint, on disk as the public one lies there: UNet with its LoRA, VAE, scheduler.

Its alpha is nonsense; its files go through every step that published ones do.
"""

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLTemporalDecoder, UNetSpatioTemporalConditionModel
from safetensors.torch import save_file

from export.synthetic import Size

_UNET: dict[Size, dict[str, Any]] = {
    "tiny": {
        # 64 channels somewhere: with 32 in 32 groups the network would not see the timestep.
        "block_out_channels": [32, 64, 32, 32],
        "layers_per_block": 1,
        "num_attention_heads": [2, 2, 4, 4],
        "down_block_types": ["CrossAttnDownBlockSpatioTemporal", *["DownBlockSpatioTemporal"] * 3],
        "up_block_types": [*["UpBlockSpatioTemporal"] * 3, "CrossAttnUpBlockSpatioTemporal"],
    },
    "full": {
        "block_out_channels": [320, 640, 1280, 1280],
        "layers_per_block": 2,
        "num_attention_heads": [5, 10, 20, 20],
        "down_block_types": [*["CrossAttnDownBlockSpatioTemporal"] * 3, "DownBlockSpatioTemporal"],
        "up_block_types": ["UpBlockSpatioTemporal", *["CrossAttnUpBlockSpatioTemporal"] * 3],
    },
}
_VAE: dict[Size, list[int]] = {"tiny": [32, 32, 32, 32], "full": [128, 256, 512, 512]}
_SCHEDULER = {"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000, "shift": 3.0}
RANK, ALPHA = 4, 2
TARGETS = ("to_q", "to_k", "to_v", "conv_in", "conv_out")


def write(size: Size, output: Path, seed: int) -> None:
    """Write ``unet/``, ``vae/`` and ``scheduler/``; weights in float16, as the public file's size says.

    Args:
        size: ``tiny``, or ``full``: the public model's settings, 3.5 GB.
        output: the folder.
        seed: of the weights.
    """
    torch.manual_seed(seed)
    common = {"in_channels": 8, "out_channels": 4, "cross_attention_dim": 1024, "num_frames": 25, "sample_size": 96}
    config = common | _UNET[size]
    unet: Any = UNetSpatioTemporalConditionModel.from_config(config)
    weights = {name: value for name, value in unet.state_dict().items() if not name.startswith("add_embedding.")}
    # What GVM adds to stock settings; nothing reads it.
    described = {
        "_class_name": "UNetSpatioTemporalConditionModel",
        "act_fn": "silu",
        "class_embed_type": None,
        **config,
    }
    _save(output / "unet", described, weights)
    _write_lora(output / "unet", weights)
    channels = _VAE[size]
    settings = {
        "block_out_channels": channels,
        "down_block_types": ["DownEncoderBlock2D"] * len(channels),
        "layers_per_block": 2,
        "latent_channels": 4,
        "scaling_factor": 0.18215,
        "sample_size": 768,
        "force_upcast": True,
    }
    vae: Any = AutoencoderKLTemporalDecoder.from_config(settings)
    _save(output / "vae", {"_class_name": "AutoencoderKLTemporalDecoder", **settings}, vae.state_dict())
    (output / "scheduler").mkdir(parents=True, exist_ok=True)
    (output / "scheduler" / "scheduler_config.json").write_text(json.dumps(_SCHEDULER, indent=2) + "\n", "utf-8")


def _save(folder: Path, config: dict[str, Any], weights: dict[str, torch.Tensor]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({**config, "synthetic": True}, indent=2) + "\n", "utf-8")
    half = {name: value.to(torch.float16).contiguous() for name, value in weights.items()}
    save_file(half, folder / "diffusion_pytorch_model.safetensors", metadata={"format": "pt"})


def _write_lora(folder: Path, weights: dict[str, torch.Tensor]) -> None:
    """An adapter as the public one is laid out: PEFT's settings, and a plain dictionary of tensors."""
    config = {"peft_type": "LORA", "r": RANK, "lora_alpha": ALPHA, "target_modules": list(TARGETS), "bias": "none"}
    state = {}
    for name, weight in weights.items():
        layer = name.removesuffix(".weight")
        if layer == name or layer.split(".")[-1] not in TARGETS:
            continue
        kernel = weight.shape[2:]
        state[f"model.{layer}.lora_A.weight"] = torch.randn(RANK, weight.shape[1], *kernel) / weight[0].numel() ** 0.5
        state[f"model.{layer}.lora_B.weight"] = torch.randn(weight.shape[0], RANK, *[1] * len(kernel)) * 0.1
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n", "utf-8")
    torch.save(state, folder / "pytorch_lora_weights.pt")
