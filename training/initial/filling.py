"""Blocks that find mean colours, walk with them into the hole, and paint them.

Division is what ReLUs cannot do at once. With A a sum of colours and S how many were summed, a whole number, and for
n = 1, 2, ..., the pair relu(a A + c (n + 1/2 - S)) - relu(c (n + 1/2 - S)) is a A where S <= n and 0 elsewhere, for
colours in 0..1, a = 1/n - 1/(n + 1) and c >= 2/n; for the last n, a is 1/n and c 0. Added up over n, the a from S on
make 1/S: the sum is A / S. The half keeps S away from where a pair opens, so that a little more or less of it does not
matter; and no c is larger than it must be: half precision has no digits to spare for large offsets.
"""

from __future__ import annotations

import torch
from torch import Tensor

from atelier.inpainting.generator import SpectralTransform
from training.initial.layout import (
    COLOURS,
    FAR,
    GLOBAL,
    KNOWS,
    LOCAL,
    LUMINANCE,
    MASK,
    MEAN,
    MINUS,
    MORE,
    NEIGHBOURS,
    NOISE,
    OFFSET,
    PIXELS,
    PLUS,
    SEVERAL,
    SIDE,
    SOME,
    VALUES,
    Block,
    Layer,
    hold,
    places,
    silence,
)

_NEAR = torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
_ITSELF = torch.tensor([[0.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
_SHUT = NEIGHBOURS + 1  # weight of what a place knows itself: it shuts every gate
_LEAST = 2.25  # n c, which must be 2
_ALMOST_ALL = 12.0  # of an orthonormal spectrum: what bin 0 of 128 x 128 pixels exceeds, and little else
_LOW, _HIGH = 0.25, 0.75  # below it nobody knows, above it somebody does

# Channels between the two convolutions of a block that walks: the parts of the mean, the pairs' second halves, ...
_PARTS = 0
_SECOND = _PARTS + COLOURS * (NEIGHBOURS + 1)
_ABOVE_LOW = _SECOND + NEIGHBOURS + 1
_ABOVE_HIGH = _ABOVE_LOW + 1
_COPY = _ABOVE_HIGH + 1
_END = _COPY + 1


def see(block: Block) -> None:
    """Let places find the mean colours of their known pixels, and whether they have any."""
    first, second = block.conv1, block.conv2
    pairs = VALUES  # where the first convolution has the pairs' second halves
    silence(first, local=slice(pairs + PIXELS))
    silence(second, local=slice(MEAN, LOCAL), global_=slice(NOISE, GLOBAL))
    l2l, g2l = first.ffc.convl2l.weight[..., 1, 1], first.ffc.convg2l.weight[..., 1, 1]
    means = second.ffc.convl2l.weight[..., 1, 1]
    for n in range(1, PIXELS + 1):
        for colour in range(COLOURS + 1):  # the last one for the second half
            unit = colour * PIXELS + n - 1
            g2l[unit, MASK : MASK + PIXELS] = _slope(n, PIXELS)  # S is 16 less the mask's pixels
            first.bn_l.bias[unit] = _slope(n, PIXELS) * (n + 0.5 - PIXELS)
            if colour < COLOURS:
                l2l[unit, colour * PIXELS : (colour + 1) * PIXELS] = _share(n, PIXELS)
                means[MEAN + colour, unit] = 1
                means[MEAN + colour, pairs + n - 1] = -1
    unit = pairs + PIXELS - 1  # the last pair needs no second half: relu(1/2 - S), for knowledge is 1 less twice that
    g2l[unit, MASK : MASK + PIXELS] = 1
    first.bn_l.bias[unit] = 0.5 - PIXELS
    means[MEAN:KNOWS, unit] = 0
    means[KNOWS, unit] = -2
    second.bn_l.bias[KNOWS] = 1


def walk(block: Block) -> None:
    """Give places without knowledge the mean of their neighbours that have some, twice.

    A and S are sums over the neighbours, and gates are shut where the place knows something itself (k = 1): all have
    - 5 k. Where S is 0, A is but noise, which would grow from place to place; the pair
    relu(A + 1/2 - 2 S - 5 k) - relu(1/2 - 2 S - 5 k) takes it off. Knowledge is made 0 or 1 again each time, as
    2 relu(S - 1/4) - 2 relu(S - 3/4). The first convolution finds all this for the nearest places and the second adds
    it up, and finds the same for the next ones: there every part stays apart, in a channel with a ReLU of its own.
    """
    first, second = block.conv1, block.conv2
    silence(first, local=slice(_END))
    silence(second, local=slice(MEAN, LOCAL), global_=slice(NOISE, GLOBAL))
    for n in range(NEIGHBOURS + 1):
        _walk_near(block, n)
        _walk_next(block, n)
    for unit, threshold in ((_ABOVE_LOW, _LOW), (_ABOVE_HIGH, _HIGH)):
        _gate(first, unit, 1, -threshold)
    _knowledge(first, _COPY, _ITSELF)
    second.ffc.convl2l.weight[KNOWS, _ABOVE_LOW] += 2 * _ITSELF
    second.ffc.convl2l.weight[KNOWS, _ABOVE_HIGH] -= 2 * _ITSELF
    for target, threshold in ((SOME, _LOW), (SEVERAL, _HIGH)):
        _gate_next(second.ffc.convl2g.weight[target], 1)
        second.bn_g.bias[target] = -threshold


def guess(block: Block) -> None:
    """Give places that nobody reached the mean of the whole picture, more or less.

    Bin 0 of a spectrum is the mean times the square root of the area; a threshold that little else exceeds leaves it
    alone, less the threshold. With K and C, what is left of the knowledge's and of a colour's spectrum, transformed
    back, C - K is free of the threshold: it is (mean - 1) times the share of places with knowledge, nearly 1. So the
    guess is 1 - K + C, exact for white, and too bright for dark colours by what that share lacks.
    """
    first, second = block.conv1, block.conv2
    # First, knowledge and colours as global features; what is to be taken off them comes through the spectral
    # transform, whose Fourier unit stays silent.
    rows = slice(COLOURS + 1)
    silence(first, local=slice(1), global_=rows)
    _knowledge(first, 0, _ITSELF)
    spectral = first.ffc.convg2g
    spectral.conv1[0].weight[rows] = 0
    spectral.fu.conv_layer.weight[: 2 * rows.stop] = 0
    for colour in range(COLOURS):
        window = _ITSELF
        first.ffc.convl2g.weight[colour, MEAN + colour] = window
        first.ffc.convl2g.weight[colour, MORE + colour : LOCAL : COLOURS] = window
        spectral.conv1[0].weight[colour, NOISE + colour] = 1
        spectral.conv1[0].weight[colour, OFFSET] = -1
        spectral.conv1[0].weight[colour, OFFSET + 1 : OFFSET + 1 + NEIGHBOURS] = 1
        spectral.conv2.weight[colour, colour] = -1
    first.ffc.convl2g.weight[COLOURS, KNOWS] = _ITSELF
    spectral.conv1[0].weight[COLOURS, SOME] = 2
    spectral.conv1[0].weight[COLOURS, SEVERAL] = -2
    spectral.conv2.weight[COLOURS, COLOURS] = 1
    _hold_spectral(spectral, rows)
    # Then what is left of their spectra, where nobody knows anything: 1 - (k + K) + (c + C) - 2 k.
    silence(second, local=slice(MEAN, LOCAL), global_=slice(NOISE, GLOBAL))
    spectral = second.ffc.convg2g
    spectral.conv1[0].weight[rows] = 0
    spectral.fu.conv_layer.weight[: 2 * rows.stop] = 0
    for unit in range(rows.stop):
        spectral.conv1[0].weight[unit, unit] = 1
        for part in (0, 1):  # real, imaginary
            spectral.fu.conv_layer.weight[2 * unit + part, 2 * unit + part] = 1
    spectral.fu.bn.bias[: 2 * rows.stop] = -_ALMOST_ALL
    for colour in range(COLOURS):
        spectral.conv2.weight[FAR + colour, colour] = 1
        spectral.conv2.weight[FAR + colour, COLOURS] = -1
        second.ffc.convl2g.weight[FAR + colour, 0] = -2 * _ITSELF
    second.bn_g.bias[FAR:GLOBAL] = 1
    _hold_spectral(spectral, rows)


def _hold_spectral(spectral: SpectralTransform, rows: slice) -> None:
    """Hold the first channels inside a spectral transform."""
    hold(spectral.conv1[0].weight, rows)
    for weight in (spectral.fu.conv_layer.weight, spectral.fu.bn.weight, spectral.fu.bn.bias):
        hold(weight, slice(2 * rows.stop))


def paint(block: Block) -> None:
    """Put the mean colours, interpolated, into the hole's pixels: relu(colour + m - 1), m being 1 there."""
    first, second = block.conv1, block.conv2
    silence(first, local=slice(VALUES))
    silence(second, local=slice(VALUES), global_=slice(PLUS, MINUS))
    first.bn_l.bias[:VALUES] = -1
    for pixel, (y, x) in enumerate(places()):
        for colour in range(COLOURS):
            unit = colour * PIXELS + pixel
            first.ffc.convg2l.weight[unit, MASK + pixel, 1, 1] = 1
            mean(first, unit, colour, torch.outer(_linear(y), _linear(x)))
            second.ffc.convl2l.weight[unit, unit, 1, 1] = 1
            second.ffc.convl2g.weight[PLUS + pixel, unit, 1, 1] = LUMINANCE[colour]


def mean(layer: Layer, unit: int, colour: int, window: Tensor) -> None:
    """Let a local output see the mean colours, all their parts together, through a 3 x 3 window."""
    local, global_ = layer.ffc.convl2l.weight[unit], layer.ffc.convg2l.weight[unit]
    local[MEAN + colour] += window
    global_[NOISE + colour] -= window
    global_[OFFSET] += window
    global_[FAR + colour] += window
    for n in range(NEIGHBOURS):
        local[MORE + n * COLOURS + colour] += window
        global_[OFFSET + 1 + n] -= window


def _knowledge(layer: Layer, unit: int, window: Tensor) -> None:
    """Let a local output see who knows a colour."""
    layer.ffc.convl2l.weight[unit, KNOWS] += window
    layer.ffc.convg2l.weight[unit, SOME] += 2 * window
    layer.ffc.convg2l.weight[unit, SEVERAL] -= 2 * window


def _share(n: int, last: int) -> float:
    """The part a of 1/S; see above."""
    return 1 / n - (1 / (n + 1) if n < last else 0)


def _slope(n: int, last: int) -> float:
    """The factor c of n + 1/2 - S; see above."""
    return _LEAST / n if n < last else 0


def _part(n: int) -> tuple[float, float, float, int]:
    """Of a pair of `walk`: a, the weight of S, the offset, and the sign with which it is added up. Pair 0 is noise."""
    if n == 0:
        return 1, -2, 0.5, -1
    slope = _slope(n, NEIGHBOURS)
    # The last pair, always open, has an offset as well: a k that is not quite 0 would take a little off one half alone.
    return _share(n, NEIGHBOURS), -slope, slope * (n + 0.5) or 0.5, 1


def _gate(first: Layer, unit: int, slope: float, offset: float) -> None:
    """Slope S + offset - 5 k, in an output of the first convolution."""
    _knowledge(first, unit, slope * _NEAR - _SHUT * _ITSELF)
    first.bn_l.bias[unit] = offset


def _gate_next(row: Tensor, slope: float) -> None:
    """Slope S - 5 k, in the weights of an output of the second one, by what the first one found."""
    window = slope * _NEAR - _SHUT * _ITSELF
    row[_ABOVE_LOW] += 2 * window
    row[_ABOVE_HIGH] -= 2 * window
    row[_COPY] -= _SHUT * _ITSELF


def _walk_near(block: Block, n: int) -> None:
    """Pair ``n`` of the nearest places, and its sum."""
    a, slope, offset, sign = _part(n)
    row = block.conv2.ffc.convl2l.weight
    _gate(block.conv1, _SECOND + n, slope, offset)
    for colour in range(COLOURS):
        unit = _PARTS + n * COLOURS + colour
        _gate(block.conv1, unit, slope, offset)
        mean(block.conv1, unit, colour, a * _NEAR)
        row[MEAN + colour, unit] += sign * _ITSELF
        row[MEAN + colour, _SECOND + n] -= sign * _ITSELF


def _walk_next(block: Block, n: int) -> None:
    """Pair ``n`` of the next places: what follows is linear in what the first convolution found."""
    a, slope, offset, _ = _part(n)
    second = block.conv2
    _gate_next(second.ffc.convl2g.weight[OFFSET + n], slope)
    second.bn_g.bias[OFFSET + n] = offset
    for colour in range(COLOURS):
        if n:
            row, bias, unit = second.ffc.convl2l.weight, second.bn_l.bias, MORE + (n - 1) * COLOURS + colour
        else:
            row, bias, unit = second.ffc.convl2g.weight, second.bn_g.bias, NOISE + colour
        _gate_next(row[unit], slope)
        bias[unit] = offset
        for other in range(NEIGHBOURS + 1):
            sign = _part(other)[-1]
            row[unit, _PARTS + other * COLOURS + colour] += sign * a * _NEAR
            row[unit, _SECOND + other] -= sign * a * _NEAR


def _linear(offset: int) -> Tensor:
    """Weights of the places before, at and after for a pixel of a place, counted from its first."""
    shift = (offset + 0.5) / SIDE - 0.5
    return torch.tensor([max(0.0, -shift), 1 - abs(shift), max(0.0, shift)])
