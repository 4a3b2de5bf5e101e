"""GVM's network: Stable Video Diffusion's UNet without its conditions, over diffusers' own layers.

What GVM leaves out of `UNetSpatioTemporalConditionModel` follows from how it calls it. There is no added embedding. The
cross-attention sees one token of zeros, so that it adds its output's bias and nothing else: that bias is all that is
kept of it, exactly. In checkpoints of the kind ``dav`` the position of a frame is a rotation of queries and keys (RoPE,
Su et al. 2021, arXiv 2104.09864) in place of an added embedding.

The forward pass is written here so that frames, height and width stay variables when it is exported: diffusers' own
asks Python whether sizes divide by eight.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from diffusers import UNetSpatioTemporalConditionModel
from torch import Tensor, nn
from torch.nn import functional

Kind = Literal["svd", "dav"]

ROPE_BASE = 10000.0


class ConstantAttention(nn.Module):
    """What a cross-attention to zeros comes to: its output's bias."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        output = nn.Module()
        output.register_parameter("bias", nn.Parameter(torch.empty(channels)))
        self.to_out = nn.ModuleList([output])

    def forward(self, x: Tensor) -> Tensor:
        """Add the bias to ``x`` [..., channels]."""
        return x + self.to_out[0].get_parameter("bias")


class MattingUNet(nn.Module):
    """The network, without weights until ``load_state_dict``.

    Args:
        config: ``unet/config.json``.
        kind: how frames know their position: ``svd`` by an added embedding, ``dav`` by rotation.

    The names of the parameters are those of the checkpoint, which has more: the cross-attentions' projections, and what
    upstream loads and never calls.
    """

    def __init__(self, config: Mapping[str, Any], kind: Kind) -> None:
        super().__init__()
        self.kind = kind
        stock: Any = UNetSpatioTemporalConditionModel.from_config(dict(config))  # type: ignore[no-untyped-call]
        self.conv_in, self.time_proj, self.time_embedding = stock.conv_in, stock.time_proj, stock.time_embedding
        self.down_blocks, self.mid_block, self.up_blocks = stock.down_blocks, stock.mid_block, stock.up_blocks
        self.conv_norm_out, self.conv_act, self.conv_out = stock.conv_norm_out, stock.conv_act, stock.conv_out
        module: Any
        for module in self.modules():
            if hasattr(module, "attn2"):
                module.attn2 = ConstantAttention(module.attn2.to_out[0].out_features)
                module.norm2 = None
            if kind == "dav" and hasattr(module, "time_pos_embed"):
                module.time_pos_embed = None

    def forward(self, sample: Tensor, timestep: Tensor) -> Tensor:
        """Predict latents.

        Args:
            sample: [B, F, 8, h, w]: the noise's or the last step's 4 channels, then the pictures' 4; h and w multiples
                of 4.
            timestep: float [1], 0 to 1000, the same for all.

        Returns:
            [B, F, 4, h, w].
        """
        frames = sample.shape[1]
        embedding = self.time_embedding(self.time_proj(timestep).to(sample.dtype))
        x = self.conv_in(sample.flatten(0, 1))
        skips = [x]
        for block in self.down_blocks:
            attentions = getattr(block, "attentions", [None] * len(block.resnets))
            for resnet, attention in zip(block.resnets, attentions, strict=True):
                x = self._layer(resnet, attention, x, embedding, frames)
                skips.append(x)
            for downsample in block.downsamplers or ():
                x = downsample(x)
                skips.append(x)
        x = self._layer(self.mid_block.resnets[0], None, x, embedding, frames)
        for attention, resnet in zip(self.mid_block.attentions, self.mid_block.resnets[1:], strict=True):
            x = _residual(resnet, self._transform(attention, x, frames), embedding, frames)
        for block in self.up_blocks:
            attentions = getattr(block, "attentions", [None] * len(block.resnets))
            for resnet, attention in zip(block.resnets, attentions, strict=True):
                x = self._layer(resnet, attention, torch.cat([x, skips.pop()], dim=1), embedding, frames)
            for upsample in block.upsamplers or ():  # to the skip's size, which need not be twice this one's
                x = upsample.conv(functional.interpolate(x, size=skips[-1].shape[2:], mode="nearest"))
        x = self.conv_out(self.conv_act(self.conv_norm_out(x)))
        output: Tensor = x.reshape(sample.shape[0], frames, *x.shape[1:])
        return output

    def _layer(self, resnet: Any, attention: Any, x: Tensor, embedding: Tensor, frames: int) -> Tensor:
        x = _residual(resnet, x, embedding, frames)
        return x if attention is None else self._transform(attention, x, frames)

    def _transform(self, module: Any, x: Tensor, frames: int) -> Tensor:
        """Attention over each frame, then over each place's frames; ``x`` [B × F, C, h, w]."""
        count, channels, height, width = x.shape
        y = module.norm(x).permute(0, 2, 3, 1).reshape(count, height * width, channels)
        y = module.proj_in(y)
        for spatial, temporal in zip(module.transformer_blocks, module.temporal_transformer_blocks, strict=True):
            y = spatial.attn1(spatial.norm1(y)) + y
            y = spatial.attn2(y)
            y = spatial.ff(spatial.norm3(y)) + y
            video = y.reshape(-1, frames, height * width, y.shape[-1])
            mixed = video
            if module.time_pos_embed is not None:
                positions = module.time_proj(torch.arange(frames, device=y.device)).to(y.dtype)
                mixed = video + module.time_pos_embed(positions)[:, None]
            mixed = self._over_time(temporal, mixed.transpose(1, 2), frames).transpose(1, 2)
            y = _mix(module.time_mixer, video, mixed).reshape(y.shape)
        y = module.proj_out(y)
        output: Tensor = y.reshape(count, height, width, channels).permute(0, 3, 1, 2) + x
        return output

    def _over_time(self, block: Any, x: Tensor, frames: int) -> Tensor:
        """``x`` [B, places, F, C]."""
        shape = x.shape
        y = x.reshape(-1, frames, shape[-1])
        y = block.ff_in(block.norm_in(y)) + y
        y = self._attend(block.attn1, block.norm1(y), frames) + y
        y = block.attn2(y)
        y = block.ff(block.norm3(y)) + y
        output: Tensor = y.reshape(shape)
        return output

    def _attend(self, attention: Any, x: Tensor, frames: int) -> Tensor:
        if self.kind == "svd":
            output: Tensor = attention(x)
            return output
        heads = attention.heads
        query, key, value = (
            project(x).reshape(-1, frames, heads, x.shape[-1] // heads).transpose(1, 2)
            for project in (attention.to_q, attention.to_k, attention.to_v)
        )
        cos, sin = rotation(frames, x.shape[-1] // heads, x.device)
        query, key = _rotate(query, cos, sin), _rotate(key, cos, sin)
        y = functional.scaled_dot_product_attention(query, key, value)
        projected: Tensor = attention.to_out[0](y.transpose(1, 2).reshape(x.shape))
        return projected


def _residual(block: Any, x: Tensor, embedding: Tensor, frames: int) -> Tensor:
    """A residual block over space, then over time; ``x`` [B × F, C, h, w], ``embedding`` [1, E]."""
    x = block.spatial_res_block(x, embedding)
    video = x.reshape(-1, frames, *x.shape[1:]).transpose(1, 2)
    mixed = block.temporal_res_block(video, embedding[:, None])
    return _mix(block.time_mixer, video, mixed).transpose(1, 2).reshape(x.shape)


def _mix(mixer: Any, spatial: Tensor, temporal: Tensor) -> Tensor:
    share = torch.sigmoid(mixer.mix_factor).to(spatial.dtype)
    return share * spatial + (1 - share) * temporal


def rotation(frames: int, channels: int, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
    """Cosine and sine of the angles by which pairs of channels are turned, float32 [F, channels / 2] each."""
    exponents = torch.arange(0, channels, 2, dtype=torch.float64) / channels
    frequencies = (ROPE_BASE**-exponents).to(torch.float32).to(device)
    angles = torch.arange(frames, device=device, dtype=torch.float32)[:, None] * frequencies
    return angles.cos(), angles.sin()


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn neighbouring pairs of channels; ``x`` [..., F, channels], computed in float32."""
    even, odd = x.float().reshape(*x.shape[:-1], -1, 2).unbind(-1)
    return torch.stack([even * cos - odd * sin, even * sin + odd * cos], -1).flatten(-2).to(x.dtype)
