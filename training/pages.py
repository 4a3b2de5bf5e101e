"""Pages to learn from, drawn by code: comics, web pages, screens and stand-ins for photographs, and what spoils them.

A sample is decided by a seed and an index alone, so that any of them can be drawn again.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from training import drawing, lettering, masks, photographs, tones
from training.fonts import FontSet

CATEGORIES = (
    "flat", "gradient", "dots", "lines", "weave", "noise", "hatching", "line_art",
    "balloon", "screen", "comic", "photograph", "scratches",
)  # fmt: skip
_SURFACES = {
    "flat": tones.flat,
    "gradient": tones.gradient,
    "dots": tones.dots,
    "lines": tones.lines,
    "weave": tones.weave,
    "noise": tones.grain,
}
_MIN_PANEL = 8  # pixels: smaller ones are left out


@dataclass(frozen=True)
class Sample:
    """One picture to repair.

    Attributes:
        picture: H x W x 3, RGB: the page with its lettering or scratches.
        mask: H x W: 255 where it is to be repaired, 0 elsewhere.
        truth: H x W x 3: the page without.
        category: One of `CATEGORIES`.
    """

    picture: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    truth: NDArray[np.uint8]
    category: str


def draw(seed: int, index: int, height: int, width: int, fonts: FontSet, category: str | None = None) -> Sample:
    """Draw sample ``index`` of the series that ``seed`` starts.

    Args:
        seed: The series.
        index: In the series.
        height: In pixels, 32 or more.
        width: Likewise.
        fonts: For the lettering.
        category: One of `CATEGORIES`; drawn as well where it is None.
    """
    rng = np.random.default_rng((seed, index))
    if category is None:
        category = str(rng.choice(CATEGORIES))
    truth, outline = scene(rng, height, width, category)
    if category == "scratches" or rng.random() < 0.2:
        kinds = ("scratches", "strokes") if category == "scratches" else masks.KINDS
        mask = masks.draw(str(rng.choice(kinds)), rng, height, width, fonts)
        picture = truth.copy()
        picture[mask > 0] = np.rint(tones.colour(rng)).astype(np.uint8)
    else:
        picture, mask = _letter(rng, truth, outline, fonts)
    if rng.random() < 0.15:
        quality = int(rng.integers(70, 98))
        picture, truth = _jpeg(picture, quality), _jpeg(truth, quality)
    return Sample(picture, mask, truth, category)


def scene(
    rng: np.random.Generator, height: int, width: int, category: str
) -> tuple[NDArray[np.uint8], NDArray[np.float32] | None]:
    """A clean page of a category, H x W x 3, and the outline of its balloon where it has one."""
    if category in ("photograph", "scratches"):
        return photographs.draw(rng, height, width), None
    if category in _SURFACES:
        surface = _SURFACES[category]
        picture = _fields(rng, [surface(rng, height, width) for _ in range(int(rng.choice([1, 1, 2, 3])))])
        if rng.random() < 0.3:
            drawing.strokes(rng, picture, int(rng.integers(1, 5)))
        return picture, None
    picture = _background(rng, height, width, plain=category in ("line_art", "hatching", "screen"))
    if category == "hatching":
        for _ in range(int(rng.integers(1, 4))):
            drawing.hatching(rng, picture)
    elif category == "line_art":
        _line_art(rng, picture)
    elif category == "screen":
        drawing.screen(rng, picture)
    elif category == "comic":
        return _panels(rng, height, width), None
    else:
        if rng.random() < 0.5:
            _line_art(rng, picture)
        return picture, drawing.balloon(rng, picture)
    return picture, None


def _background(rng: np.random.Generator, height: int, width: int, plain: bool) -> NDArray[np.uint8]:
    plain_surfaces = (tones.flat, tones.flat, tones.gradient)
    choice = plain_surfaces if plain or rng.random() < 0.4 else (*tones.SURFACES, photographs.draw)
    surface = choice[int(rng.integers(len(choice)))]
    return tones.levels(surface(rng, height, width))


def _fields(rng: np.random.Generator, surfaces: list[NDArray[np.float32]]) -> NDArray[np.uint8]:
    """Surfaces beside one another, parted by straight or curved lines, with an outline at times."""
    picture = tones.levels(surfaces[0])
    height, width = picture.shape[:2]
    for surface in surfaces[1:]:
        points = drawing.blob(rng, height, width, rng.uniform(0.3, 1.0) * max(height, width))
        cover = np.zeros((height, width), np.uint8)
        cv2.fillPoly(cover, [np.rint(points * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
        part = cover[..., None] / np.float32(255)
        picture = tones.levels(picture * (1 - part) + surface.clip(0, 255) * part)
        if rng.random() < 0.5:
            drawing.polyline(picture, points, np.zeros(3, np.float32), int(rng.integers(1, 5)), closed=True)
    return picture


def _line_art(rng: np.random.Generator, picture: NDArray[np.uint8]) -> None:
    kind = rng.random()
    if kind < 0.55:
        drawing.strokes(rng, picture, int(rng.integers(3, 14)))
    elif kind < 0.75:
        drawing.strands(rng, picture)
    elif kind < 0.9:
        drawing.speed_lines(rng, picture)
    else:
        for _ in range(int(rng.integers(2, 7))):
            drawing.polygon(picture, drawing.blob(rng, *picture.shape[:2]), tones.colour(rng))
        drawing.strokes(rng, picture, int(rng.integers(1, 5)))


def _panels(rng: np.random.Generator, height: int, width: int) -> NDArray[np.uint8]:
    """A part of a page: up to four panels with gutters, each with a scene of its own."""
    gutter, line = int(rng.integers(4, 20)), int(rng.integers(1, 5))
    picture = np.full((height, width, 3), 255 if rng.random() < 0.85 else 0, np.uint8)
    columns = [0, width] if rng.random() < 0.5 else [0, int(rng.uniform(0.25, 0.75) * width), width]
    rows = [0, height] if rng.random() < 0.4 else [0, int(rng.uniform(0.25, 0.75) * height), height]
    for top, bottom in pairwise(rows):
        for left, right in pairwise(columns):
            high, wide = bottom - top - gutter, right - left - gutter
            if min(high, wide) < _MIN_PANEL:
                continue
            panel = _background(rng, high, wide, plain=rng.random() < 0.3)
            if rng.random() < 0.7:
                _line_art(rng, panel)
            if rng.random() < 0.2:
                drawing.hatching(rng, panel)
            cv2.rectangle(panel, (0, 0), (wide - 1, high - 1), (0, 0, 0), line)
            picture[top + gutter // 2 : top + gutter // 2 + high, left + gutter // 2 : left + gutter // 2 + wide] = (
                panel
            )
    return picture


def _letter(
    rng: np.random.Generator, truth: NDArray[np.uint8], outline: NDArray[np.float32] | None, fonts: FontSet
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Write on the page until there is enough to remove, and give the mask that removes it."""
    height, width = truth.shape[:2]
    picture, mask = truth.copy(), np.zeros((height, width), np.uint8)
    if outline is not None and rng.random() < 0.3:
        mask = masks.inside(rng, outline, height, width)
        if masks.fits(mask):
            block = lettering.draw(rng, height, width, fonts)
            written = lettering.paint(rng, picture, block)
            return np.where(mask[..., None] > 0, written, picture), mask
        mask[:] = 0
    boxes = rng.random() < 0.25
    wanted = rng.uniform(0.01, 0.2)
    for _ in range(12):
        block = lettering.draw(rng, height, width, fonts)
        more = np.maximum(mask, masks.of_lettering(rng, block, boxes))
        if np.count_nonzero(more) > masks.COVERAGE[1] * more.size:
            continue
        picture, mask = lettering.paint(rng, picture, block), more
        if np.count_nonzero(mask) >= wanted * mask.size:
            break
    if not masks.fits(mask):
        mask = np.maximum(mask, masks.draw("strokes", rng, height, width, fonts))
    return picture, mask


def _jpeg(picture: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    _, data = cv2.imencode(".jpg", np.ascontiguousarray(picture[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.ascontiguousarray(cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1])
