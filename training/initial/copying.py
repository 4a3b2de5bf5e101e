"""The first and the last layers: pixels taken apart, and put together again."""

from __future__ import annotations

from torch import nn

from atelier.inpainting.generator import LamaGenerator
from training.initial.layout import (
    ALL,
    COLOURS,
    GLOBAL,
    HALVINGS,
    LOCAL,
    LUMINANCE,
    MASK,
    MEAN,
    MINUS,
    PIXELS,
    PLUS,
    VALUES,
    Layer,
    hold,
    moves,
)

_FAINT = 0.001  # of the random channels' first say in the result


def copy(generator: LamaGenerator) -> None:
    """Carry colours and mask to the bottleneck, and the colours back, with the luminance that was found there."""
    layers = list(generator.model)
    first, *downs = layers[1 : 2 + HALVINGS]
    ups = layers[3 + HALVINGS + generator.config.n_blocks :: 3][:HALVINGS]
    for channel in range(COLOURS + 1):
        first.ffc.convl2l.weight[channel] = 0
        first.ffc.convl2l.weight[channel, channel, 3, 3] = 1
    _hold(first, COLOURS + 1, 0)
    for level, down in enumerate(downs[:-1]):
        _take_apart(down, level)
        _hold(down, (COLOURS + 1) * 4 ** (level + 1), 0)
    _take_apart(downs[-1], HALVINGS - 1)
    _see_luminance(downs[-1])
    _hold(downs[-1], LOCAL, GLOBAL)
    for level, up in zip(reversed(range(HALVINGS)), ups, strict=True):
        _put_together(up, level, generator.config.global_channels)
    _show(next(layer for layer in reversed(layers) if isinstance(layer, nn.Conv2d)))
    for layer in layers[3 + HALVINGS + generator.config.n_blocks :]:
        for weight in layer.parameters():
            hold(weight, ALL)


def _take_apart(down: Layer, level: int) -> None:
    for kind, source, target, row, column in moves(4**level):
        if kind == COLOURS and down.ffc.convl2g is not None:
            weight, target = down.ffc.convl2g.weight, target - VALUES + MASK
        else:
            weight = down.ffc.convl2l.weight
        weight[target] = 0
        weight[target, source, row, column] = 1


def _see_luminance(down: Layer) -> None:
    """Of each pixel; and nothing yet in the channels that blocks are to fill."""
    down.ffc.convl2l.weight[MEAN:LOCAL] = 0
    down.ffc.convl2g.weight[PLUS:GLOBAL] = 0
    for kind, source, target, row, column in moves(PIXELS // 4):
        if kind < COLOURS:
            down.ffc.convl2g.weight[PLUS + target % PIXELS, source, row, column] = LUMINANCE[kind]


def _put_together(up: nn.ConvTranspose2d, level: int, global_channels: int) -> None:
    """Colours go back where they came from; behind the blocks, with the luminance found in place of their own."""
    nn.init.zeros_(up.bias)
    up.weight[:, : COLOURS * 4**level] = 0
    for kind, target, source, row, column in moves(4**level):
        if kind == COLOURS:
            continue
        up.weight[source, target, row, column] += 1
        if level == HALVINGS - 1:
            first_global, pixel = len(up.weight) - global_channels, source % PIXELS
            up.weight[first_global + PLUS + pixel, target, row, column] = 1
            up.weight[first_global + MINUS + pixel, target, row, column] = -1
            for colour in range(COLOURS):
                up.weight[colour * PIXELS + pixel, target, row, column] -= LUMINANCE[colour]


def _show(last: nn.Conv2d) -> None:
    """The first three channels, and but a trace of the others."""
    last.weight.mul_(_FAINT)
    nn.init.zeros_(last.bias)
    for channel in range(COLOURS):
        last.weight[channel, channel] = 0
        last.weight[channel, channel, 3, 3] = 1


def _hold(layer: Layer, local: int, global_: int) -> None:
    """Hold the first outputs of a layer that has no global input."""
    for conv, norm, rows in (
        (layer.ffc.convl2l, layer.bn_l, slice(local)),
        (layer.ffc.convl2g, layer.bn_g, slice(global_)),
    ):
        if rows.stop:
            for weight in (conv.weight, norm.weight, norm.bias):
                hold(weight, rows)
