"""Blocks that continue what is periodic."""

from __future__ import annotations

import torch

from training.initial.filling import mean
from training.initial.layout import (
    BLUR,
    COLOURS,
    FIRM,
    INNER,
    LUMINANCE,
    MASK,
    MINUS,
    PIXELS,
    PLUS,
    THRESHOLDS,
    VALUES,
    Block,
    Layer,
    hold,
    silence,
)

_RING = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, 1.0], [1.0, 1.0, 1.0]]) / 8


def blur_means(block: Block) -> None:
    """Blur the mean colours' luminance, twice over the eight places around, beside what else the block does."""
    unit = VALUES
    silence(block.conv1, local=slice(unit, unit + 1))
    for colour in range(COLOURS):
        mean(block.conv1, unit, colour, LUMINANCE[colour] * _RING)
    _blurred(block, unit, 0)


def proceed(block: Block, number: int) -> None:
    """Move the luminance in the hole to what the strong waves of its surroundings make of it.

    Its detail d, plus less minus less blur, goes through as relu(d) and relu(-d); the Fourier unit gives the opposite
    of the soft threshold's result e, in two halves likewise. With the shortcut around it, this makes d - e.

    Args:
        block: To set.
        number: Of `THRESHOLDS`; there is a wider blur for each.
    """
    first, spectral = block.conv1, block.conv1.ffc.convg2g
    silence(first, local=slice(PIXELS), global_=slice(INNER))
    for weight, rows in (
        (spectral.conv1[0].weight, slice(INNER)),
        (spectral.fu.conv_layer.weight, slice(2 * INNER)),
    ):
        weight[rows] = 0
        hold(weight, rows)
    hold(spectral.fu.bn.weight, slice(2 * INNER))
    hold(spectral.fu.bn.bias, slice(2 * INNER))
    spectral.fu.bn.bias[: 2 * INNER] = -THRESHOLDS[number]
    for pixel in range(PIXELS):
        positive, negative = pixel, pixel + PIXELS
        for half, sign in ((positive, 1), (negative, -1)):
            for source, weight in ((PLUS + pixel, 1), (MINUS + pixel, -1), (BLUR + number, -1)):
                spectral.conv1[0].weight[half, source] = sign * weight
            for part in (0, 1):  # real, imaginary
                spectral.fu.conv_layer.weight[2 * half + part, 2 * positive + part] = -sign
                spectral.fu.conv_layer.weight[2 * half + part, 2 * negative + part] = sign
            spectral.conv2.weight[positive, half] = -sign
            spectral.conv2.weight[negative, half] = sign
        first.ffc.convg2l.weight[pixel, MASK + pixel, 1, 1] = 1
    _correct(block.conv2)
    if number + 1 < len(THRESHOLDS):
        _blur_again(block, number + 1)


def _correct(layer: Layer) -> None:
    """Add what was found to the luminance, and to what is to be taken off it, in the hole: relu(found + m - 1)."""
    spectral, rows = layer.ffc.convg2g, slice(PLUS, BLUR)
    silence(layer, global_=rows, held=False)
    spectral.conv1[0].weight[:INNER] = 0
    spectral.fu.conv_layer.weight[: 2 * INNER] *= FIRM
    layer.bn_g.bias[rows] = -1
    for half in range(INNER):
        target = PLUS + half  # those to be taken off follow
        spectral.conv1[0].weight[half, half] = 1
        spectral.conv2.weight[target, half] = 1
        layer.ffc.convl2g.weight[target, half % PIXELS, 1, 1] = 1


def _blur_again(block: Block, number: int) -> None:
    """Blur the last blur."""
    unit = PIXELS
    silence(block.conv1, local=slice(unit, unit + 1))
    block.conv1.ffc.convg2l.weight[unit, BLUR + number - 1] = _RING
    _blurred(block, unit, number)


def _blurred(block: Block, unit: int, number: int) -> None:
    """Put what the first convolution has in a channel, blurred once more, where the blurs are."""
    rows = slice(BLUR + number, BLUR + number + 1)
    silence(block.conv2, global_=rows)
    block.conv2.ffc.convl2g.weight[rows, unit] = _RING
