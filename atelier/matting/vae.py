"""Both halves of the VAE as GVM calls them: Stable Video Diffusion's, whose decoder sees neighbouring frames."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class VaeEncoder(nn.Module):
    """Pictures to scaled latents.

    Args:
        vae: diffusers' `AutoencoderKLTemporalDecoder`.
    """

    def __init__(self, vae: Any) -> None:
        super().__init__()
        self.encoder, self.quant_conv = vae.encoder, vae.quant_conv
        self.scale = float(vae.config.scaling_factor)

    def forward(self, frames: Tensor) -> Tensor:
        """[N, 3, H, W] in -1..1 to [N, 4, H / 8, W / 8]: the distribution's mode, times the VAE's factor."""
        mean, _ = self.quant_conv(self.encoder(frames)).chunk(2, dim=1)
        latents: Tensor = mean * self.scale
        return latents


class VaeDecoder(nn.Module):
    """Scaled latents of neighbouring frames to their alpha.

    Args:
        vae: diffusers' `AutoencoderKLTemporalDecoder`.
    """

    def __init__(self, vae: Any) -> None:
        super().__init__()
        self.decoder = vae.decoder
        self.scale = float(vae.config.scaling_factor)

    def forward(self, latents: Tensor) -> Tensor:
        """[N, 4, h, w] to [N, 8 h, 8 w] in 0..1: the mean over the colours. N frames are seen together."""
        frames = latents.shape[0]
        indicator = torch.zeros(1, frames, dtype=latents.dtype, device=latents.device)
        decoded = self.decoder(latents / self.scale, num_frames=frames, image_only_indicator=indicator)
        alpha: Tensor = (decoded.mean(dim=1) * 0.5 + 0.5).clamp(0, 1)
        return alpha
