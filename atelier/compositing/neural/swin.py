"""The Swin transformer that BiRefNet sees with (Liu et al. 2021, arXiv 2103.14030).

Its parameters have the names of the published checkpoints. Written anew: a folder of weights brings code of its own,
which is never run.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

PATCH = 4  # pixels a side that become one token


def windows_of(x: Tensor, size: int) -> Tensor:
    """Cut [B, H, W, C], whose sides are multiples of the size, into [B·windows, size², C], row by row."""
    batch, height, width, channels = x.shape
    x = x.view(batch, height // size, size, width // size, size, channels)
    return x.transpose(2, 3).reshape(-1, size * size, channels)


def joined(windows: Tensor, size: int, height: int, width: int) -> Tensor:
    """The inverse of `windows_of`: [B, H, W, C]."""
    channels = windows.shape[-1]
    x = windows.view(-1, height // size, width // size, size, size, channels)
    return x.transpose(2, 3).reshape(-1, height, width, channels)


def offsets(size: int) -> Tensor:
    """For every pair of a window's places, the row of the bias table that their distance has: [size², size²]."""
    place = torch.arange(size)
    rows, columns = place.repeat_interleave(size), place.repeat(size)
    down, right = rows[:, None] - rows[None, :], columns[:, None] - columns[None, :]
    return (down + size - 1) * (2 * size - 1) + (right + size - 1)


def apart(height: int, width: int, size: int, shift: int, device: torch.device) -> Tensor:
    """Which places of a shifted window were no neighbours before the shift: -inf there, else 0.

    The picture was rolled by the shift, so that the last windows hold what came from opposite borders.

    Returns:
        [windows, size², size²].
    """
    region = torch.zeros(1, height, width, 1, device=device)
    for axis, length in ((1, height), (2, width)):
        place = torch.arange(length, device=device)
        kind = (place >= length - size).int() + (place >= length - shift).int()
        region = region + kind.view(1, -1, 1, 1) * 3 if axis == 1 else region + kind.view(1, 1, -1, 1)
    parts = windows_of(region, size).squeeze(-1)
    different = parts[:, None, :] != parts[:, :, None]
    return torch.zeros(different.shape, device=device).masked_fill(different, float("-inf"))


class WindowAttention(nn.Module):
    """Attention among the tokens of one window, with a learned bias by distance."""

    def __init__(self, width: int, heads: int, size: int) -> None:
        super().__init__()
        self.heads = heads
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * size - 1) ** 2, heads))
        self.register_buffer("relative_position_index", offsets(size))
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """[B·windows, N, C] to the same; a mask [windows, N, N] is added to the scores."""
        count, length, width = x.shape
        q, k, v = self.qkv(x).view(count, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        index: Tensor = self.get_buffer("relative_position_index")
        bias = self.relative_position_bias_table[index].permute(2, 0, 1)[None]
        if mask is not None:
            bias = bias + mask.to(bias.dtype).repeat(count // len(mask), 1, 1)[:, None]
        attended = functional.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        out: Tensor = self.proj(attended.transpose(1, 2).reshape(count, length, width))
        return out


class Perceptron(nn.Module):
    """Two layers, token by token."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """[…, width] to the same."""
        out: Tensor = self.fc2(functional.gelu(self.fc1(x)))
        return out


class Block(nn.Module):
    """Attention in windows, shifted or not, and a perceptron, each added to what came in."""

    def __init__(self, width: int, heads: int, size: int, shift: int, hidden: int) -> None:
        super().__init__()
        self.size, self.shift = size, shift
        self.norm1 = nn.LayerNorm(width)
        self.attn = WindowAttention(width, heads, size)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = Perceptron(width, hidden)

    def forward(self, x: Tensor) -> Tensor:
        """[B, H, W, C] to the same."""
        _, height, width, _ = x.shape
        inner = functional.pad(self.norm1(x), (0, 0, 0, -width % self.size, 0, -height % self.size))
        tall, wide = inner.shape[1:3]
        mask = None
        if self.shift:
            inner = inner.roll((-self.shift, -self.shift), (1, 2))
            mask = apart(tall, wide, self.size, self.shift, x.device)
        inner = joined(self.attn(windows_of(inner, self.size), mask), self.size, tall, wide)
        if self.shift:
            inner = inner.roll((self.shift, self.shift), (1, 2))
        x = x + inner[:, :height, :width]
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class Merging(nn.Module):
    """Four neighbouring tokens become one of twice the width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * width)
        self.reduction = nn.Linear(4 * width, 2 * width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[B, H, W, C] to [B, ⌈H/2⌉, ⌈W/2⌉, 2·C]."""
        x = functional.pad(x, (0, 0, 0, x.shape[2] % 2, 0, x.shape[1] % 2))
        four = [x[:, row::2, column::2] for column in (0, 1) for row in (0, 1)]
        out: Tensor = self.reduction(self.norm(torch.cat(four, -1)))
        return out


class Stage(nn.Module):
    """Blocks of one width; every second shifts its windows by half."""

    def __init__(self, width: int, depth: int, heads: int, size: int, hidden: int, last: bool) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            Block(width, heads, size, size // 2 if number % 2 else 0, hidden) for number in range(depth)
        )
        self.downsample = None if last else Merging(width)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[B, H, W, C] to this stage's tokens and the next one's."""
        for block in self.blocks:
            x = block(x)
        return x, x if self.downsample is None else self.downsample(x)


class PatchEmbedding(nn.Module):
    """Squares of pixels become tokens."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, PATCH, PATCH)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """[B, 3, H, W] to [B, H/4, W/4, C]."""
        x = functional.pad(x, (0, -x.shape[3] % PATCH, 0, -x.shape[2] % PATCH))
        out: Tensor = self.norm(self.proj(x).permute(0, 2, 3, 1))
        return out


class Swin(nn.Module):
    """The whole of it.

    Args:
        width: of the first stage's tokens; each stage doubles it.
        depths: blocks of each stage.
        heads: of each stage.
        window: tokens a side.
        ratio: of the perceptrons' inner width to the tokens'.
    """

    def __init__(
        self, width: int, depths: tuple[int, ...], heads: tuple[int, ...], window: int, ratio: float = 4
    ) -> None:
        super().__init__()
        self.patch_embed = PatchEmbedding(width)
        widths = [width << stage for stage in range(len(depths))]
        self.layers = nn.ModuleList(
            Stage(wide, depth, head, window, int(wide * ratio), number == len(depths) - 1)
            for number, (wide, depth, head) in enumerate(zip(widths, depths, heads, strict=True))
        )
        for number, wide in enumerate(widths):
            self.add_module(f"norm{number}", nn.LayerNorm(wide))

    def forward(self, x: Tensor) -> list[Tensor]:
        """[B, 3, H, W] to features of each stage, [B, width·2^stage, H/2^(stage+2), W/2^(stage+2)]."""
        tokens, found = self.patch_embed(x), []
        for number, layer in enumerate(self.layers):
            here, tokens = layer(tokens)
            found.append(self.get_submodule(f"norm{number}")(here).permute(0, 3, 1, 2).contiguous())
        return found
