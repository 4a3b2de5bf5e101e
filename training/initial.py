"""First weights of a generator: a copier, so that all there is to learn is what to put into the hole.

With two halvings the bottleneck has room for every pixel: a place of the feature map stands for 4 x 4 pixels, so 48
numbers hold their colours and 16 whether they are known. The first and the last layers start by carrying those there
and back; colours are never negative, so ReLU lets them pass, and batch normalisation starts as the identity. Residual
blocks begin as little more than their shortcuts (Goyal et al. 2017, arXiv 1706.02677, section 5.1, with a tenth
instead of nothing). All other channels start random, as PyTorch does it.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from atelier.inpainting.config import GeneratorConfig
from atelier.inpainting.generator import FFCResnetBlock, LamaGenerator

HALVINGS = 2
_COLOURS = 3
_QUIET = 0.1  # first gain of a residual branch
_FAINT = 0.1  # of the random channels' first say in the result
_EVEN, _ODD = 1, 2  # the taps of a 3 x 3 window of stride 2 that hit even and odd pixels, there and back alike


def quiet(generator: LamaGenerator) -> None:
    """Let residual blocks begin as little more than their shortcuts."""
    for block in generator.modules():
        if isinstance(block, FFCResnetBlock):
            for norm in (block.conv2.bn_l, block.conv2.bn_g):
                if norm is not None:
                    nn.init.constant_(norm.weight, _QUIET)


def lacking(config: GeneratorConfig) -> str:
    """What a network lacks to be a copier, as a sentence; empty if nothing."""
    values, places = _COLOURS * 4**HALVINGS, 4**HALVINGS
    if config.n_downsampling != HALVINGS or config.activation != "none":
        return f"a copier has {HALVINGS} halvings and no activation at its end"
    if config.channels(HALVINGS) - config.global_channels < values or config.global_channels < places:
        return f"a copier has {values} local and {places} global channels at the bottleneck, or more"
    return ""


@torch.no_grad()
def copier(generator: LamaGenerator) -> None:
    """Make the network return what it is given, 0 in the hole, to within what the quiet branches add.

    Raises:
        ValueError: The network has no room for the pixels, other halvings, or an activation at its end.
    """
    config, values = generator.config, _COLOURS * 4**HALVINGS
    if found := lacking(config):
        raise ValueError(found)
    layers = list(generator.model)
    first, downs, ups = layers[1], layers[2 : 2 + HALVINGS], layers[3 + HALVINGS + config.n_blocks :: 3][:HALVINGS]
    for channel in range(_COLOURS + 1):  # colours and the mask
        _only(first.ffc.convl2l.weight, channel)[channel, 3, 3] = 1
    for level, down in enumerate(downs):
        planes = 4**level
        for kind, source, target, row, column in _moves(planes):
            to_mask = kind == _COLOURS
            if down.ffc.convl2g is not None and to_mask:
                weight, target = down.ffc.convl2g.weight, target - values
            else:
                weight = down.ffc.convl2l.weight
            _only(weight, target)[source, row, column] = 1
    for level, up in zip(reversed(range(HALVINGS)), ups, strict=True):
        nn.init.zeros_(up.bias)
        for kind, target, source, row, column in _moves(4**level):
            if kind == _COLOURS:
                continue
            if row == _EVEN and column == _EVEN:
                up.weight[:, target] = 0
            up.weight[source, target, row, column] = 1
    last = next(layer for layer in reversed(layers) if isinstance(layer, nn.Conv2d))
    last.weight.mul_(_FAINT)
    nn.init.zeros_(last.bias)
    for channel in range(_COLOURS):
        last.weight[channel, channel] = 0
        last.weight[channel, channel, 3, 3] = 1


def _only(weight: Tensor, target: int) -> Tensor:
    """The weights of one output, all 0."""
    weight[target] = 0
    return weight[target]


def _moves(planes: int) -> Iterator[tuple[int, int, int, int, int]]:
    """Which channel goes where when a halving turns ``planes`` into four times as many.

    Yields:
        Which colour (3 is the mask), its channel before, its channel after, and the tap in y and x.
    """
    for kind in range(_COLOURS + 1):
        for plane in range(planes):
            for quarter, (row, column) in enumerate(((_EVEN, _EVEN), (_EVEN, _ODD), (_ODD, _EVEN), (_ODD, _ODD))):
                yield kind, kind * planes + plane, kind * planes * 4 + plane * 4 + quarter, row, column
