"""What the channels at the bottleneck stand for, and how outputs of a layer are cleared and held."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

# An FFCBnAct and an FFCResnetBlock: as such, parts that these have are Optional for the type checker.
Layer = Any
Block = Any

HALVINGS = 2
COLOURS = 3
SIDE = 2**HALVINGS  # pixels, of a place
PIXELS = SIDE**2  # of a place
VALUES = COLOURS * PIXELS
LUMINANCE = (0.25, 0.5, 0.25)  # of red, green and blue; like most weights here exact in half precision
NEIGHBOURS = 4  # of a place, that it learns from
THRESHOLDS = (0.7, 0.4, 0.2)
"""Of the real and the imaginary parts of the orthonormal spectra of luminances in 0..1, block by block."""

# Local channels: the pixels' colours; the mean colours, and who knows one; more of the mean colours.
MEAN = VALUES
KNOWS = MEAN + COLOURS
MORE = KNOWS + 1
LOCAL = MORE + NEIGHBOURS * COLOURS

# Global ones: the mask's pixels; the luminance and what is to be taken off it (nothing is ever negative); its blurs;
# what is to be taken off and added to the mean colours; who else knows one, and what is to be taken off that; the mean
# colours of places that nobody reached.
MASK = 0
PLUS = MASK + PIXELS
MINUS = PLUS + PIXELS
BLUR = MINUS + PIXELS
NOISE = BLUR + len(THRESHOLDS)
OFFSET = NOISE + COLOURS
SOME = OFFSET + NEIGHBOURS + 1
SEVERAL = SOME + 1
FAR = SEVERAL + 1
GLOBAL = FAR + COLOURS

INNER = 2 * PIXELS  # channels inside a spectral transform that continues waves: positive and negative halves
FIRM = 0.0002  # first gain of a residual branch on channels that stand for something
NONE = slice(0)
ALL = slice(None)

_EVEN, _ODD = 1, 2  # the taps of a 3 x 3 window of stride 2 that hit even and odd pixels, there and back alike


def silence(layer: Layer, local: slice = NONE, global_: slice = NONE, held: bool = True) -> None:
    """Clear the weights of some local and global outputs, which so depend on what is set afterwards alone.

    Args:
        layer: With local and global inputs and outputs.
        local: Which local outputs.
        global_: Which global ones.
        held: Whether they are to learn nothing.
    """
    ffc = layer.ffc
    for weight, rows in (
        (ffc.convl2l.weight, local),
        (ffc.convg2l.weight, local),
        (ffc.convl2g.weight, global_),
        (ffc.convg2g.conv2.weight, global_),
    ):
        weight[rows] = 0
        if held:
            hold(weight, rows)
    for norm, rows in ((layer.bn_l, local), (layer.bn_g, global_)):
        norm.weight[rows] = 1
        if held:
            hold(norm.weight, rows)
            hold(norm.bias, rows)


def hold(weight: Tensor, rows: slice) -> None:
    """Let these rows learn nothing: their gradient is 0. An optimiser that decays weights would still change them."""
    if rows == NONE:
        return
    indices = torch.arange(len(weight))[rows]
    weight.register_hook(lambda gradient: gradient.index_fill(0, indices.to(gradient.device), 0))


def moves(planes: int) -> Iterator[tuple[int, int, int, int, int]]:
    """Which channel goes where when a halving turns ``planes`` of each colour into four times as many.

    Yields:
        Which colour (3 is the mask), its channel before, its channel after, and the tap in y and x.
    """
    for kind in range(COLOURS + 1):
        for plane in range(planes):
            for quarter, (row, column) in enumerate(((_EVEN, _EVEN), (_EVEN, _ODD), (_ODD, _EVEN), (_ODD, _ODD))):
                yield kind, kind * planes + plane, kind * planes * 4 + plane * 4 + quarter, row, column


def places() -> list[tuple[int, int]]:
    """Where in its place of the bottleneck each pixel lies, y and x, in the order that `moves` leads to."""
    found = [(0, 0)]
    for level in range(HALVINGS):
        bit = 2**level  # the first halving takes pixels apart by their lowest bit
        found = [(y + bit * row, x + bit * column) for y, x in found for row in (0, 1) for column in (0, 1)]
    return found
