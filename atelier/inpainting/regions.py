"""What the network is given: canonical tiles around the mask's parts, or the whole page.

Triton closes a batch at the first request of another shape, so tiles come in few, square, canonical sizes. A tile
carries everything that is needed to put its result back: its window, and the hole's pixels that it answers for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from atelier.errors import InvalidInput
from atelier.inpainting.settings import InpaintSettings
from atelier.media import Box, Region, connected_regions, cut, pad_to_modulus, window_around

Pixels = NDArray[np.uint8]

MODULUS = 8
"""The network halves height and width three times; upstream pads to this (``pad_out_to_modulo``)."""

SMALLEST_PAGE = 9
"""Smallest side of a page: padded to 16, it is the least that reflect padding at the bottleneck accepts."""

JOIN = 16
"""Parts closer than this many pixels are one: the strokes of a letter, the letters of a word."""

RING = 6
"""Width in pixels of the surroundings that decide whether a part lies on a flat ground."""

LOOK_BACK = 64
"""A part looks for company among this many clusters before it: speckled masks have thousands of parts."""


@dataclass(frozen=True)
class Tile:
    """One input of the network.

    Attributes:
        image: uint8 [S, S, 3], or the padded page.
        mask: uint8 [S, S], not 0 = hole.
        window: the part of the picture that it shows.
        own: bool [window], the hole's pixels that are pasted back from it.
        scale: tile pixels per picture pixel; 1 unless the part was too large for the largest tile.
        parts: how many of the mask's parts it answers for.
    """

    image: Pixels
    mask: Pixels
    window: Box
    own: NDArray[np.bool_]
    scale: float
    parts: int

    def patch(self, output: Pixels) -> Pixels:
        """The network's output [S, S, 3] at the window's place and size."""
        height, width = _scaled(self.window, self.scale)
        inside = output[:height, :width]
        if self.scale == 1:
            return inside
        size = (self.window.width, self.window.height)
        return np.asarray(cv2.resize(inside, size, interpolation=cv2.INTER_CUBIC), dtype=np.uint8)


@dataclass(frozen=True)
class Flat:
    """A part that is filled with one colour: its window, its pixels bool [window], the colour uint8 [3]."""

    window: Box
    own: NDArray[np.bool_]
    colour: Pixels


@dataclass(frozen=True)
class Plan:
    """Tiles for the network, and parts that need none."""

    tiles: tuple[Tile, ...]
    flats: tuple[Flat, ...] = ()


def plan_page(image: Pixels, mask: Pixels, settings: InpaintSettings) -> Plan:
    """The whole picture as one tile, padded as upstream does (symmetric, bottom and right, to a multiple of 8).

    Args:
        image: uint8 [H, W, 3] RGB.
        mask: uint8 [H, W], not 0 = hole.
        settings: ``max_page_pixels`` applies.

    Raises:
        InvalidInput: a side is under 9 pixels, or the picture is too large for the network at once.
    """
    height, width = mask.shape
    if min(height, width) < SMALLEST_PAGE:
        raise InvalidInput(
            f"IMAGE is {width}x{height}; strategy page takes sides of {SMALLEST_PAGE} pixels and more (use regions)."
        )
    if height * width > settings.max_page_pixels:
        limit = settings.max_page_pixels / 1e6
        raise InvalidInput(f"IMAGE is {width}x{height}; strategy page takes at most {limit:.1f} MP (use regions).")
    window = Box(0, 0, height, width)
    padded, hole = pad_to_modulus(image, MODULUS), pad_to_modulus(mask, MODULUS)
    return Plan((Tile(padded, hole, window, own=mask != 0, scale=1, parts=1),))


def plan_regions(image: Pixels, mask: Pixels, settings: InpaintSettings) -> Plan:
    """Canonical square tiles around the mask's parts, with context; flat surroundings need no tile.

    Args:
        image: uint8 [H, W, 3] RGB.
        mask: uint8 [H, W], not 0 = hole.
        settings: ``margin``, ``tile_sizes``, ``fill_flat`` and ``flat_deviation`` apply.
    """
    labels, parts = connected_regions(mask, reach=JOIN)
    flats: list[Flat] = []
    rest: list[Region] = []
    for part in parts:
        flat = _flat(image, mask, labels, part, settings.flat_deviation) if settings.fill_flat else None
        if flat is None:
            rest.append(part)
        else:
            flats.append(flat)
    groups = group_parts([part.box for part in rest], settings.tile_sizes, settings.margin)
    tiles = [_tile(image, mask, labels, [rest[i] for i in group], settings) for group in groups]
    return Plan(tuple(tiles), tuple(flats))


def group_parts(boxes: Sequence[Box], sizes: Sequence[int], margin: int) -> list[list[int]]:
    """Which parts share a tile: neighbours whose context fits one, where that costs no more pixels than apart.

    Args:
        boxes: the parts' bounding boxes.
        sizes: sides of the tiles, ascending.
        margin: pixels of context on every side.

    Returns:
        Groups of indices into ``boxes``; every index stands in exactly one.
    """
    groups = [_Group(box, [i]) for i, box in enumerate(boxes)]
    for size in sizes:  # first what shares the smallest tile, then whether a larger one pays for several smaller
        merged: list[_Group] = []
        for cluster in _cluster(groups, size - 2 * margin):
            together = _Group.of(cluster)
            apart = sum(_cost(group.box, sizes, margin) for group in cluster)
            merged += [together] if _cost(together.box, sizes, margin) <= apart else cluster
        groups = merged
    return [group.members for group in groups]


@dataclass(frozen=True)
class _Group:
    """Parts that share a tile: their common box, and their indices."""

    box: Box
    members: list[int]

    @classmethod
    def of(cls, groups: Sequence[_Group]) -> _Group:
        box = groups[0].box
        for group in groups[1:]:
            box = box.union(group.box)
        return cls(box, [i for group in groups for i in group.members])


def _cluster(groups: Sequence[_Group], side: int) -> list[list[_Group]]:
    """Neighbours whose common box is at most ``side`` wide and high, or is one of them; greedy, from the top left."""
    clusters: list[list[_Group]] = []
    unions: list[Box] = []
    for group in sorted(groups, key=lambda group: group.box):
        best, growth = -1, 0
        for c in range(max(0, len(clusters) - LOOK_BACK), len(clusters)):
            union = unions[c].union(group.box)
            grown = union.area - unions[c].area
            fits = max(union.height, union.width) <= side or union in (unions[c], group.box)
            if fits and (best < 0 or grown < growth):
                best, growth = c, grown
        if best < 0:
            clusters.append([group])
            unions.append(group.box)
        else:
            clusters[best].append(group)
            unions[best] = unions[best].union(group.box)
    return clusters


def _size(box: Box, sizes: Sequence[int], margin: int) -> int | None:
    """The smallest tile that holds the box with its context; ``None`` where none does."""
    needed = max(box.height, box.width) + 2 * margin
    return next((size for size in sizes if size >= needed), None)


def _cost(box: Box, sizes: Sequence[int], margin: int) -> int:
    return (_size(box, sizes, margin) or sizes[-1]) ** 2


def _tile(
    image: Pixels, mask: Pixels, labels: NDArray[np.int32], parts: Sequence[Region], settings: InpaintSettings
) -> Tile:
    box = parts[0].box
    for part in parts[1:]:
        box = box.union(part.box)
    size = _size(box, settings.tile_sizes, settings.margin)
    side = size or max(box.height, box.width) + 2 * settings.margin
    size = size or settings.tile_sizes[-1]
    window = window_around(box, side, *mask.shape)
    scale = size / side
    own = np.isin(labels[window.slices], [part.label for part in parts])
    if scale == 1:
        return Tile(cut(image, window, size), cut(mask, window, size), window, own, 1, len(parts))
    small, hole = _shrink(image[window.slices], mask[window.slices], *_scaled(window, scale))
    whole = Box(0, 0, *hole.shape)
    return Tile(cut(small, whole, size), cut(hole, whole, size), window, own, scale, len(parts))


def _shrink(image: Pixels, mask: Pixels, height: int, width: int) -> tuple[Pixels, Pixels]:
    """Scale down; a pixel that saw a piece of the hole is hole, so that nothing of what it covers shines through."""
    small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    hole = cv2.resize((mask != 0).astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(small, dtype=np.uint8), (hole > 0).astype(np.uint8)


def _scaled(window: Box, scale: float) -> tuple[int, int]:
    return max(1, round(window.height * scale)), max(1, round(window.width * scale))


def _flat(image: Pixels, mask: Pixels, labels: NDArray[np.int32], part: Region, deviation: float) -> Flat | None:
    """The part filled with its surroundings' median colour, where these are flat; ``None`` where they are not."""
    window = part.box.grow(RING).clip(*mask.shape)
    own = labels[window.slices] == part.label
    kernel = np.ones((2 * RING + 1, 2 * RING + 1), np.uint8)
    around = cv2.dilate(own.astype(np.uint8), kernel).astype(bool) & (mask[window.slices] == 0)
    colours = image[window.slices][around]
    if len(colours) < RING * RING:
        return None
    median = np.median(colours, axis=0)
    if np.abs(colours - median).max(axis=1).max() > deviation:
        return None
    return Flat(window, own, np.round(median).astype(np.uint8))
