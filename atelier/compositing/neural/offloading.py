"""What of a pipeline waits on the host while it does not compute."""

from __future__ import annotations

from typing import Any

import torch
from diffusers.hooks.group_offloading import apply_group_offloading

from atelier.compositing.neural import devices
from atelier.compositing.neural.holding import Holding


def place(pipe: Any, holding: Holding) -> None:
    """Bring the networks to where they belong.

    Args:
        pipe: diffusers' pipeline with ``transformer``, ``vae`` and text encoders.
        holding: how. Groups are never offloaded to a disk: diffusers names the files by the layers alone, and never
            writes one that is there anew.
    """
    device = torch.device(holding.device)
    if holding.vae_tiling:
        pipe.vae.enable_tiling()
    if holding.offload == "model":
        pipe.enable_model_cpu_offload(device=device)
    elif holding.offload == "sequential":
        pipe.enable_sequential_cpu_offload(device=device)
    elif holding.offload == "group":
        stream = devices.is_gpu(holding.device)  # the next block is brought while the last one computes
        for name, module in pipe.components.items():
            if not isinstance(module, torch.nn.Module):
                continue
            if name == "transformer":
                module.enable_group_offload(  # type: ignore[operator]
                    device, offload_type="block_level", num_blocks_per_group=1, use_stream=stream
                )
            elif name == "vae":
                module.to(device)
            else:
                apply_group_offloading(module, device, offload_type="leaf_level", use_stream=stream)
    else:
        pipe.to(device)


def free(pipe: Any, holding: Holding) -> None:
    """After every picture, and after what ended one early: offloaded networks go back to the host."""
    pipe.maybe_free_model_hooks()
    if holding.offload == "model":
        devices.release(holding.device)
