"""A picture of pictures: what the methods made of some holes, side by side, to be looked at in a browser."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Pixels = NDArray[np.uint8]

PANEL = 224
"""Side of a panel in pixels. Panels show pixels as they are: a screentone that is scaled turns into moiré."""

LIMIT = 1_500_000
"""Bytes that the file may have."""

_GAP, _HEADING, _CAPTION = 8, 30, 20
_STEPS = (1, 2, 3, 4, 5, 6, 8, 10, 12, 15)  # between the levels of a colour that are tried, the finest first


@dataclass(frozen=True)
class Line:
    """A row of panels.

    Attributes:
        mask: [H, W], not 0 = hole; the part of the pictures with most of the hole is what is shown.
        panels: uint8 [H, W, 3] each, with the caption that goes below.
    """

    mask: Pixels
    panels: Sequence[tuple[Pixels, str]]


def marked(picture: Pixels, mask: Pixels) -> Pixels:
    """A copy of the picture, uint8 [H, W, 3], with the hole in red."""
    copy, hole = picture.copy(), mask > 0
    copy[hole] = copy[hole] // 4 + np.array([190, 20, 60], np.uint8)
    return copy


def window(mask: Pixels, side: int) -> tuple[slice, slice]:
    """The square of a mask, ``side`` pixels or the mask's own where it is smaller, with most of the hole."""
    height, width = min(side, mask.shape[0]), min(side, mask.shape[1])
    totals = cv2.integral((mask > 0).astype(np.uint8))
    inside = totals[height:, width:] - totals[:-height, width:] - totals[height:, :-width] + totals[:-height, :-width]
    top, left = (int(i) for i in np.unravel_index(int(inside.argmax()), inside.shape))
    return slice(top, top + height), slice(left, left + width)


def draw(headings: Sequence[str], lines: Sequence[Line]) -> Image.Image:
    """All rows below each other.

    Args:
        headings: of the columns.
        lines: each with as many panels as there are headings.
    """
    step = PANEL + _GAP
    size = _GAP + step * len(headings), _HEADING + (PANEL + _CAPTION + _GAP) * len(lines)
    sheet = Image.new("RGB", size, "white")
    pen, heading, caption = ImageDraw.Draw(sheet), ImageFont.load_default(18), ImageFont.load_default(14)
    for column, text in enumerate(headings):
        pen.text((_GAP + column * step, 5), text, fill="black", font=heading)
    for row, line in enumerate(lines):
        top, part = _HEADING + row * (PANEL + _CAPTION + _GAP), window(line.mask, PANEL)
        for column, (pixels, text) in enumerate(line.panels):
            left = _GAP + column * step
            sheet.paste(Image.fromarray(np.ascontiguousarray(pixels[part])), (left, top))
            pen.text((left, top + PANEL + 2), text, fill="black", font=caption)
    return sheet


def save(sheet: Image.Image, file: Path) -> None:
    """Write a PNG of `LIMIT` bytes at most, with as many levels of each colour as go into it.

    Rounding to every third level is not seen and takes a fifth of the bytes away; a palette, which would take more,
    makes bands of gradients, as if a method had painted them.

    Raises:
        ValueError: it is larger with the fewest levels too.
    """
    for step in _STEPS:
        encoded = io.BytesIO()
        # White and black stay: paper is most of a page.
        levels = [min(255, round(value / step) * step) if value < 255 else 255 for value in range(256)]
        sheet.point(levels * 3).save(encoded, "png", optimize=True)
        if encoded.tell() <= LIMIT:
            file.write_bytes(encoded.getvalue())
            return
    raise ValueError(f"The sheet takes more than {LIMIT} bytes.")
