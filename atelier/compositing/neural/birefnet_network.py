"""BiRefNet's network (Zheng et al. 2024, arXiv 2401.03407), as its published checkpoints and RMBG-2.0 have it.

A Swin transformer looks at the picture and at its half; a decoder goes back to full size and is shown the picture
itself again at every scale. Parameters have the names of the checkpoints; those that training alone needs
(``conv_ms_spvn_*``, ``gdt_convs_pred_*``) are there so that every tensor of a file has its place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from atelier.compositing.neural.swin import Swin

PatchOrder = Literal["channels", "columns"]
"""How squares of the picture are stacked into channels: all squares of red, then of green, then of blue, row by row
(``channels``), or square after square, each with its three colours, column by column (``columns``)."""


@dataclass(frozen=True)
class Shape:
    """What of the network can differ between checkpoints.

    Attributes:
        width, depths, heads, window, ratio: of the Swin transformer.
        inner: channels inside a decoder's block.
        branch: channels of each of its branches.
        kernels: sizes of the deformable convolutions after the first, 1 x 1.
        picture: channels inside what brings the picture to the decoder.
        gate: channels inside the gates.
        patch_order: how the picture is brought to the decoder.
    """

    width: int = 192
    depths: tuple[int, ...] = (2, 2, 18, 2)
    heads: tuple[int, ...] = (6, 12, 24, 48)
    window: int = 12
    ratio: float = 4.0
    inner: int = 64
    branch: int = 256
    kernels: tuple[int, ...] = (1, 3, 7)
    picture: int = 64
    gate: int = 16
    patch_order: PatchOrder = "channels"


def resized(x: Tensor, like: Tensor) -> Tensor:
    """Bilinear, corner on corner, to the height and width of another."""
    return functional.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=True)


def deformed(x: Tensor, offset: Tensor, weight: Tensor, modulation: Tensor, padding: int) -> Tensor:
    """A convolution whose taps are moved and weighted place by place (Zhu et al. 2018, arXiv 1811.11168, equation 1).

    Each tap is read from the picture, bilinear and 0 outside, and multiplied with its slice of the kernel.

    Args:
        x: [B, C, H, W].
        offset: [B, 2·k², H, W]: down and right for each tap, taps row by row, pixels.
        weight: [O, C, k, k].
        modulation: [B, k², H, W].
        padding: k // 2: the output is as large as the input.

    Returns:
        [B, O, H, W].
    """
    batch, _, height, width = x.shape
    size = weight.shape[-1]
    rows = torch.arange(height, device=x.device, dtype=x.dtype).view(1, -1, 1)
    columns = torch.arange(width, device=x.device, dtype=x.dtype).view(1, 1, -1)
    total = x.new_zeros(batch, len(weight), height, width)
    for tap in range(size * size):
        down = rows + (tap // size - padding) + offset[:, 2 * tap]
        right = columns + (tap % size - padding) + offset[:, 2 * tap + 1]
        # Pixel p is at (2·p + 1) / length - 1 where the corners are the pixels' outer ones.
        grid = torch.stack(((2 * right + 1) / width - 1, (2 * down + 1) / height - 1), dim=-1)
        seen = functional.grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        kernel = weight[:, :, tap // size, tap % size]
        total = total + torch.einsum("oc,bchw->bohw", kernel, seen * modulation[:, tap : tap + 1])
    return total


def folded(x: Tensor, like: Tensor, order: PatchOrder) -> Tensor:
    """A picture cut into a grid of squares as large as a feature map, stacked as channels.

    Args:
        x: [B, C, H, W].
        like: [B, ·, h, w], where h divides H and w divides W.
        order: of the channels.

    Returns:
        [B, C·(H/h)·(W/w), h, w].
    """
    batch, channels, height, width = x.shape
    h, w = like.shape[-2:]
    squares = x.view(batch, channels, height // h, h, width // w, w)
    if order == "channels":
        stacked = squares.permute(0, 1, 2, 4, 3, 5)
    else:
        stacked = squares.permute(0, 4, 2, 1, 3, 5)
    return stacked.reshape(batch, -1, h, w)


class DeformableConv(nn.Module):
    """A convolution that finds from its input where its taps look, and how strongly."""

    def __init__(self, inputs: int, outputs: int, size: int) -> None:
        super().__init__()
        self.padding = size // 2
        self.offset_conv = nn.Conv2d(inputs, 2 * size * size, size, padding=self.padding)
        self.modulator_conv = nn.Conv2d(inputs, size * size, size, padding=self.padding)
        self.regular_conv = nn.Conv2d(inputs, outputs, size, padding=self.padding, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, H, W] to [B, outputs, H, W]."""
        modulation = 2 * torch.sigmoid(self.modulator_conv(x))
        return deformed(x, self.offset_conv(x), self.regular_conv.weight, modulation, self.padding)


class Branch(nn.Module):
    """A deformable convolution, normed."""

    def __init__(self, inputs: int, outputs: int, size: int) -> None:
        super().__init__()
        self.atrous_conv = DeformableConv(inputs, outputs, size)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, H, W] to [B, outputs, H, W]."""
        return functional.relu(self.bn(self.atrous_conv(x)))


class Pyramid(nn.Module):
    """Branches of several sizes and the mean of all places, put together."""

    def __init__(self, channels: int, shape: Shape) -> None:
        super().__init__()
        self.aspp1 = Branch(channels, shape.branch, 1)
        self.aspp_deforms = nn.ModuleList(Branch(channels, shape.branch, size) for size in shape.kernels)
        self.global_avg_pool = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, shape.branch, 1, bias=False),
            nn.BatchNorm2d(shape.branch),
            nn.ReLU(),
        )
        self.conv1 = nn.Conv2d(shape.branch * (2 + len(shape.kernels)), channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """[B, channels, H, W] to the same."""
        mean = self.global_avg_pool(x).expand(-1, -1, *x.shape[-2:])
        found = [self.aspp1(x), *(branch(x) for branch in self.aspp_deforms), mean]
        return functional.relu(self.bn1(self.conv1(torch.cat(found, 1))))


class DecoderBlock(nn.Module):
    """From many channels through few to others."""

    def __init__(self, inputs: int, outputs: int, shape: Shape) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(inputs, shape.inner, 3, padding=1)
        self.bn_in = nn.BatchNorm2d(shape.inner)
        self.dec_att = Pyramid(shape.inner, shape)
        self.conv_out = nn.Conv2d(shape.inner, outputs, 3, padding=1)
        self.bn_out = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, H, W] to [B, outputs, H, W]."""
        out: Tensor = self.bn_out(self.conv_out(self.dec_att(functional.relu(self.bn_in(self.conv_in(x))))))
        return out


class Lateral(nn.Module):
    """Features of the encoder on their way to the decoder."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, channels, H, W] to the same."""
        out: Tensor = self.conv(x)
        return out


class PictureConvs(nn.Module):
    """The folded picture on its way to the decoder: two convolutions, nothing between them."""

    def __init__(self, inputs: int, outputs: int, inner: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, inner, 3, padding=1)
        self.conv_out = nn.Conv2d(inner, outputs, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, H, W] to [B, outputs, H, W]."""
        out: Tensor = self.conv_out(self.conv1(x))
        return out


class Decoder(nn.Module):
    """From the encoder's features, coarsest last, to one logit a pixel."""

    def __init__(self, channels: list[int], shape: Shape) -> None:
        super().__init__()
        self.order = shape.patch_order
        shown = [channels[0] // 8, channels[0] // 8, channels[1] // 8, channels[2] // 8, channels[3] // 8]
        outputs = [channels[1], channels[2], channels[3], channels[3] // 2]
        for number, side in zip((5, 4, 3, 2, 1), (32, 16, 8, 4, 1), strict=True):
            block = PictureConvs(3 * side * side, shown[5 - number], shape.picture)
            self.add_module(f"ipt_blk{number}", block)
        for number in (4, 3, 2, 1):
            inputs = channels[4 - number] + shown[4 - number]
            self.add_module(f"decoder_block{number}", DecoderBlock(inputs, outputs[4 - number], shape))
        for number in (4, 3, 2):
            channel = outputs[4 - number]
            self.add_module(f"lateral_block{number}", Lateral(channel))
            self.add_module(f"conv_ms_spvn_{number}", nn.Conv2d(channel, 1, 1))
            gate = nn.Sequential(nn.Conv2d(channel, shape.gate, 3, padding=1), nn.BatchNorm2d(shape.gate), nn.ReLU())
            self.add_module(f"gdt_convs_{number}", gate)
            self.add_module(f"gdt_convs_pred_{number}", nn.Sequential(nn.Conv2d(shape.gate, 1, 1)))
            self.add_module(f"gdt_convs_attn_{number}", nn.Sequential(nn.Conv2d(shape.gate, 1, 1)))
        self.conv_out1 = nn.Sequential(nn.Conv2d(outputs[3] + shown[4], 1, 1))

    def forward(self, picture: Tensor, features: list[Tensor]) -> Tensor:
        """A picture [B, 3, H, W] and its features, finest first, to [B, 1, H, W]."""
        x = features[-1]
        for number in (4, 3, 2):
            x = self.get_submodule(f"decoder_block{number}")(self._with(picture, x, number + 1))
            gate = self.get_submodule(f"gdt_convs_attn_{number}")(self.get_submodule(f"gdt_convs_{number}")(x))
            finer = features[number - 2]
            x = resized(x * torch.sigmoid(gate), finer) + self.get_submodule(f"lateral_block{number}")(finer)
        x = self.get_submodule("decoder_block1")(self._with(picture, x, 2))
        out: Tensor = self.conv_out1(self._with(picture, resized(x, picture), 1))
        return out

    def _with(self, picture: Tensor, x: Tensor, number: int) -> Tensor:
        return torch.cat((x, self.get_submodule(f"ipt_blk{number}")(folded(picture, x, self.order))), 1)


class BiRefNet(nn.Module):
    """The whole network."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.bb = Swin(shape.width, shape.depths, shape.heads, shape.window, shape.ratio)
        channels = [2 * shape.width << stage for stage in (3, 2, 1, 0)]
        self.squeeze_module = nn.Sequential(DecoderBlock(sum(channels), channels[0], shape))
        self.decoder = Decoder(channels, shape)

    def forward(self, x: Tensor) -> Tensor:
        """The object's logits.

        Args:
            x: [B, 3, H, W], ImageNet-normed, H and W multiples of 64.

        Returns:
            [B, 1, H, W].
        """
        half = functional.interpolate(x, scale_factor=0.5, mode="bilinear", align_corners=True)
        both = zip(self.bb(x), self.bb(half), strict=True)
        features = [torch.cat((whole, resized(small, whole)), 1) for whole, small in both]
        last = features[-1]
        context = torch.cat([*(resized(finer, last) for finer in features[:-1]), last], 1)
        return self.decoder(x, [*features[:-1], self.squeeze_module(context)])  # type: ignore[no-any-return]
