"""One small pass through Wan's network, to see whether something changes its answer."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

TOKENS = 4
SEED = 20240607


@torch.no_grad()
def probe(transformer: Any) -> Tensor:
    """The network's answer to one small input, the same at every call.

    Args:
        transformer: a diffusers `WanTransformer3DModel`.

    Returns:
        float32 [1, C, frames, h, w], on the host.
    """
    config = transformer.config
    generator = torch.Generator().manual_seed(SEED)
    frames, height, width = (2 * side for side in config.patch_size)
    parameter = next(transformer.parameters())
    device = getattr(getattr(transformer, "_hf_hook", None), "execution_device", None) or parameter.device
    dtype = transformer.dtype if transformer.dtype.itemsize > 1 else torch.bfloat16

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).to(device, dtype)

    image = draw(1, TOKENS, config.image_dim) if config.image_dim else None
    (answer,) = transformer(
        hidden_states=draw(1, config.in_channels, frames, height, width),
        timestep=torch.tensor([500], device=device),
        encoder_hidden_states=draw(1, TOKENS, config.text_dim),
        encoder_hidden_states_image=image,
        return_dict=False,
    )
    found: Tensor = answer
    return found.float().cpu()
