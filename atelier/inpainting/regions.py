"""What the network is given: canonical tiles around the mask's parts, or the whole page.

Triton closes a batch at the first request of another shape, so tiles come in few, canonical sizes: each side is one of
``tile_sizes``, since lettering is wide and a square around it would be mostly page. A plan is
geometry alone: a tile's pixels are cut when it is sent and dropped when its answer is pasted, so that a picture's
memory does not grow with the number of its tiles.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from atelier.errors import InvalidInput
from atelier.inpainting.settings import InpaintSettings
from atelier.media import Box, Picture, Region, connected_regions, cut, pad_to_modulus, window_around

Pixels = NDArray[np.uint8]
Labels = NDArray[np.int32] | NDArray[np.uint8]
Check = Callable[[], None]

MODULUS = 8
"""The network halves height and width three times; upstream pads to this (``pad_out_to_modulo``)."""

SMALLEST_PAGE = 9
"""Smallest side of a page: padded to 16, it is the least that reflect padding at the bottleneck accepts."""

JOIN = 16
"""Parts with a gap of at most this many pixels are one: the strokes of a letter, the letters of a word."""

RING = 6
"""Width in pixels of the surroundings that decide whether a part lies on a flat ground."""

LOOK_BACK = 64
"""A part looks for company among this many clusters before it: speckled masks have thousands of parts."""

LEAST_CONTEXT = 32
"""The largest tile's side over this is the context below which a part is scaled rather than given less of it."""

SHARED_CONTEXT = 4
"""The largest tile's side over this is the context that parts give up last, where each its own tile is too much."""

SCALED_CONTEXT = 8
"""Context of a scaled part is at most its longer side over this: more would only make it smaller."""

FLAT_SHARE = 4
"""Flat surroundings are looked for in so many times the picture's pixels: the windows of nested parts have more."""

SCALING_SHARE = 8
"""Cutting and pasting so many pixels of a scaled window counts as much work as one pixel of the network."""

STRIP = 1 << 20
"""Pixels at a time where whole windows would need large temporary arrays."""

CHECK_EVERY = 256
"""Parts between two looks at whether somebody still waits."""


def _nobody_asks() -> None:
    """The check of a caller that waits in any case."""


@dataclass(frozen=True)
class Tile:
    """One input of the network.

    Attributes:
        window: the part of the picture that it shows.
        shape: its height and width, two of the canonical sides, or those of the padded page.
        regions: the mask's parts that it answers for; none: every hole in the window.
        scale: tile pixels per picture pixel; 1 unless the part was too large for the largest tile.
        margin: pixels of context around its parts, where the picture has so many; of a page None.
    """

    window: Box
    shape: tuple[int, int]
    regions: tuple[Region, ...] = ()
    scale: float = 1
    margin: int | None = None

    @property
    def parts(self) -> int:
        """How many of the mask's parts it answers for; a page counts as one."""
        return max(1, len(self.regions))

    def cut(self, image: Pixels, mask: Pixels) -> tuple[Pixels, Pixels]:
        """The network's input: uint8 [*shape, 3] RGB, and uint8 [*shape], not 0 = hole.

        Args:
            image: the picture's uint8 [H, W, C] in one of the kinds of ``Picture``.
            mask: uint8 [H, W], not 0 = hole.
        """
        colours = Picture(image[self.window.slices], None, "png").rgb
        hole = mask[self.window.slices]
        if not self.regions:
            return pad_to_modulus(colours, MODULUS), pad_to_modulus(hole, MODULUS)
        if self.scale != 1:
            colours, hole = _shrink(colours, hole, *_scaled(self.window, self.scale))
        whole = Box(0, 0, *hole.shape)
        return cut(colours, whole, *self.shape), cut(hole, whole, *self.shape)

    def own(self, labels: Labels) -> NDArray[np.bool_]:
        """The hole's pixels that are pasted back from it, bool [window], by the plan's labels."""
        if not self.regions:
            return np.asarray(labels[self.window.slices] != 0)
        return _members(labels[self.window.slices], [region.label for region in self.regions])

    def patch(self, output: Pixels) -> Pixels:
        """The network's output [*shape, 3] at the window's place and size."""
        height, width = _scaled(self.window, self.scale)
        inside = output[:height, :width]
        if self.scale == 1:
            return inside
        size = (self.window.width, self.window.height)
        return np.asarray(cv2.resize(inside, size, interpolation=cv2.INTER_CUBIC), dtype=np.uint8)


@dataclass(frozen=True)
class Flat:
    """A part that is filled with one colour: its window, some surroundings included, and the colour uint8 [3]."""

    window: Box
    region: Region
    colour: Pixels

    def own(self, labels: Labels) -> NDArray[np.bool_]:
        """The part's pixels, bool [window], by the plan's labels."""
        return _members(labels[self.window.slices], [self.region.label])


@dataclass(frozen=True)
class Plan:
    """What is to be done; nothing of the picture itself.

    Attributes:
        tiles: what goes to the network.
        flats: parts that need no network.
        labels: which part each pixel is in, [H, W], 0 outside; of a page the mask. Large: dropped with the work done.
    """

    tiles: tuple[Tile, ...] = ()
    flats: tuple[Flat, ...] = ()
    labels: Labels | None = None


def plan_page(image: Pixels, mask: Pixels, settings: InpaintSettings, check: Check = _nobody_asks) -> Plan:
    """The whole picture as one tile, padded as upstream does (symmetric, bottom and right, to a multiple of 8).

    Args:
        image: uint8 [H, W, C].
        mask: uint8 [H, W], not 0 = hole.
        settings: ``max_page_pixels`` applies.
        check: raises when nobody waits any more.

    Raises:
        InvalidInput: a side is under 9 pixels, or the picture is too large for the network at once.
    """
    check()
    height, width = mask.shape
    if min(height, width) < SMALLEST_PAGE:
        raise InvalidInput(
            f"IMAGE is {width}x{height}; strategy page takes sides of {SMALLEST_PAGE} pixels and more (use regions)."
        )
    if height * width > settings.max_page_pixels:
        limit = settings.max_page_pixels / 1e6
        raise InvalidInput(f"IMAGE is {width}x{height}; strategy page takes at most {limit:.1f} MP (use regions).")
    shape = (-(-height // MODULUS) * MODULUS, -(-width // MODULUS) * MODULUS)
    return Plan((Tile(Box(0, 0, height, width), shape),), labels=mask)


def plan_regions(image: Pixels, mask: Pixels, settings: InpaintSettings, check: Check = _nobody_asks) -> Plan:
    """Canonical tiles around the mask's parts, with context; flat surroundings need no tile.

    Args:
        image: the picture's uint8 [H, W, C] in one of the kinds of ``Picture``.
        mask: uint8 [H, W], not 0 = hole.
        settings: ``margin``, ``tile_sizes``, ``fill_flat``, ``flat_deviation`` and ``max_network_pixels`` apply.
        check: raises when nobody waits any more.

    Raises:
        InvalidInput: the tiles hold more pixels than ``max_network_pixels``.
    """
    check()
    labels, parts = connected_regions(mask, reach=JOIN)
    flats = _flats(image, mask, labels, parts, settings.flat_deviation, check) if settings.fill_flat else ()
    filled = {flat.region.label for flat in flats}
    rest = [part for part in parts if part.label not in filled]
    # The whole margin for every part where that can be paid for; where not, parts give up some of it and share.
    for margin in sorted({settings.margin, min(settings.margin, settings.tile_sizes[-1] // SHARED_CONTEXT)})[::-1]:
        tiles = _tiles(rest, mask.shape, settings, margin, check)
        if tiles is not None:
            return Plan(tiles, flats, labels)
    limit = settings.max_network_pixels / 1e6
    raise InvalidInput(
        f"MASK has {len(rest)} parts, and tiles with MARGIN {settings.margin} around them hold more than the "
        f"{limit:.1f} MP that one request may give to the network; ask for a smaller MARGIN or strategy page, join "
        "neighbouring parts of MASK, or send the picture in pieces."
    )


def _tiles(
    parts: Sequence[Region], shape: tuple[int, ...], settings: InpaintSettings, shared: int, check: Check
) -> tuple[Tile, ...] | None:
    """Tiles for all parts, sharing where ``shared`` pixels of context are left; ``None`` where they are too much."""
    height, width = shape
    tiles: list[Tile] = []
    work = 0
    for group in group_parts([part.box for part in parts], settings.tile_sizes, shared, (height, width), check):
        if len(tiles) % CHECK_EVERY == 0:
            check()
        tile = _tile([parts[i] for i in group], (height, width), settings)
        work += max(tile.shape[0] * tile.shape[1], tile.window.area // SCALING_SHARE)
        if work > settings.max_network_pixels:
            return None
        tiles.append(tile)
    return tuple(tiles)


def group_parts(
    boxes: Sequence[Box], sizes: Sequence[int], margin: int, shape: tuple[int, int], check: Check = _nobody_asks
) -> list[list[int]]:
    """Which parts share a tile: neighbours whose context fits one, where that costs no more pixels than apart.

    Args:
        boxes: the parts' bounding boxes.
        sizes: sides of the tiles, ascending.
        margin: pixels of context on every side, as far as the picture reaches.
        shape: the picture's height and width.
        check: raises when nobody waits any more.

    Returns:
        Groups of indices into ``boxes``; every index stands in exactly one.
    """
    groups = [_Group(box, [i]) for i, box in enumerate(boxes)]
    for size in sizes:  # first what shares the smallest tile, then whether a larger one pays for several smaller
        merged: list[_Group] = []
        for cluster in _cluster(groups, size, margin, shape, check):
            together = _Group.of(cluster)
            apart = sum(_cost(group.box, sizes, margin, shape) for group in cluster)
            merged += [together] if _cost(together.box, sizes, margin, shape) <= apart else cluster
        groups = merged
    return [group.members for group in groups]


@dataclass(frozen=True)
class _Group:
    """Parts that share a tile: their common box, and their indices."""

    box: Box
    members: list[int]

    @classmethod
    def of(cls, groups: Sequence[_Group]) -> _Group:
        return cls(_union([group.box for group in groups]), [i for group in groups for i in group.members])


def _union(boxes: Sequence[Box]) -> Box:
    union = boxes[0]
    for box in boxes[1:]:
        union = union.union(box)
    return union


def _cluster(
    groups: Sequence[_Group], size: int, margin: int, shape: tuple[int, int], check: Check
) -> list[list[_Group]]:
    """Neighbours whose common box fits a tile with its context, or is one of them; greedy, from the top left."""
    clusters: list[list[_Group]] = []
    # Boxes as (-top, -left, bottom, right): the union is the maximum, and the picture clips from above.
    unions, areas = np.empty((len(groups), 4), np.int64), np.empty(len(groups), np.int64)
    limits = np.array([0, 0, *shape])
    for n, group in enumerate(sorted(groups, key=lambda group: group.box)):
        if n % CHECK_EVERY == 0:
            check()
        box = group.box
        first, count = max(0, len(clusters) - LOOK_BACK), len(clusters)
        union = np.maximum(unions[first:count], (-box.top, -box.left, box.bottom, box.right))
        area = (union[:, 0] + union[:, 2]) * (union[:, 1] + union[:, 3])
        seen = np.minimum(union + margin, limits)
        fits = np.maximum(seen[:, 0] + seen[:, 2], seen[:, 1] + seen[:, 3]) <= size
        fits |= (area == areas[first:count]) | (area == box.area)
        if fits.any():
            best = int(np.where(fits, area - areas[first:count], np.iinfo(np.int64).max).argmin())
            clusters[first + best].append(group)
            unions[first + best], areas[first + best] = union[best], area[best]
        else:
            clusters.append([group])
            unions[count], areas[count] = (-box.top, -box.left, box.bottom, box.right), box.area
    return clusters


def _needed(box: Box, margin: int, shape: tuple[int, int]) -> tuple[int, int]:
    """Height and width of what shows the box and as much of its context as the picture has."""
    seen = box.grow(margin).clip(*shape)
    return seen.height, seen.width


def _canonical(needed: Sequence[float], sizes: Sequence[int]) -> tuple[int, int]:
    """Height and width of the smallest tile that holds so much, or of the largest along a side that none holds."""
    height, width = (next((size for size in sizes if size >= side), sizes[-1]) for side in needed)
    return height, width


def _cost(box: Box, sizes: Sequence[int], margin: int, shape: tuple[int, int]) -> int:
    """Pixels of the tile that the box gets."""
    height, width = _canonical(_needed(box, margin, shape), sizes)
    return height * width


def _tile(parts: Sequence[Region], shape: tuple[int, int], settings: InpaintSettings) -> Tile:
    """The smallest tile for these parts; where none is large enough, the largest, with less context or scaled."""
    box = _union([part.box for part in parts])
    margin, largest = settings.margin, settings.tile_sizes[-1]
    scale = 1.0
    if max(_needed(box, margin, shape)) > largest:
        least = min(margin, largest // LEAST_CONTEXT)
        if max(_needed(box, least, shape)) <= largest:
            margin = bisect_right(range(margin + 1), largest, key=lambda m: max(_needed(box, m, shape))) - 1
        else:
            margin = min(margin, max(least, max(box.height, box.width) // SCALED_CONTEXT))
            scale = largest / max(_needed(box, margin, shape))
    needed = _needed(box, margin, shape)
    tile = _canonical([round(side * scale) for side in needed], settings.tile_sizes)
    # Of a scaled window, what is left of the tile's shorter side shows more of the page.
    rows, columns = (max(side, int(size / scale)) for side, size in zip(needed, tile, strict=True))
    window = window_around(box.grow(margin).clip(*shape), rows, columns, *shape)
    return Tile(window, tile, tuple(parts), scale, margin)


def _shrink(image: Pixels, mask: Pixels, height: int, width: int) -> tuple[Pixels, Pixels]:
    """Scale down; a pixel that saw a piece of the hole is hole, so that nothing of what it covers shines through."""
    small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    hole = cv2.resize((mask != 0).astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(small, dtype=np.uint8), (hole > 0).astype(np.uint8)


def _scaled(window: Box, scale: float) -> tuple[int, int]:
    return max(1, round(window.height * scale)), max(1, round(window.width * scale))


def _members(labels: Labels, wanted: Sequence[int]) -> NDArray[np.bool_]:
    """Where ``labels`` is one of these."""
    if len(wanted) == 1:
        return np.asarray(labels == wanted[0])
    found = np.empty(labels.shape, np.bool_)
    rows = max(1, STRIP // labels.shape[1])
    for top in range(0, len(labels), rows):
        found[top : top + rows] = np.isin(labels[top : top + rows], wanted)
    return found


def _flats(
    image: Pixels, mask: Pixels, labels: Labels, parts: Sequence[Region], deviation: float, check: Check
) -> tuple[Flat, ...]:
    """The parts on flat ground, the smallest first; what nested parts make too much work of counts as not flat."""
    flats: list[Flat] = []
    budget = FLAT_SHARE * mask.size
    for n, part in enumerate(sorted(parts, key=lambda part: part.box.area)):
        if n % CHECK_EVERY == 0 or part.box.area > STRIP:
            check()
        window = part.box.grow(RING).clip(*mask.shape)
        budget -= window.area
        if budget < 0:
            break
        own = labels[window.slices] == part.label
        colour = _ground(image[window.slices], mask[window.slices], own, deviation)
        if colour is not None:
            flats.append(Flat(window, part, colour))
    return tuple(flats)


def _ground(image: Pixels, mask: Pixels, own: NDArray[np.bool_], deviation: float) -> Pixels | None:
    """The median colour of a part's surroundings in its window, where they are flat; ``None`` where they are not."""
    around = cv2.dilate(own.view(np.uint8), np.ones((2 * RING + 1, 2 * RING + 1), np.uint8)).astype(np.bool_)
    around &= mask == 0
    colours = image[around][:, : 1 if image.shape[2] <= 2 else 3]
    if len(colours) < RING * RING:
        return None
    least, most = colours.min(axis=0).astype(float), colours.max(axis=0).astype(float)
    # Most parts end here, without the median of all their surroundings.
    if (most - least).max() > 2 * deviation:
        return None
    median = np.median(colours, axis=0)
    if np.maximum(most - median, median - least).max() > deviation:
        return None
    return np.broadcast_to(np.round(median).astype(np.uint8), 3)
