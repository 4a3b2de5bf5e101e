"""Sizes of videos: which are accepted, and what a picture's shape makes of them."""

from __future__ import annotations

import re

from PIL import Image

from atelier.errors import InvalidInput

MULTIPLE = 32
"""Of sides: the VAE's 16 pixels, and two of its values a patch."""
STRIDE = 4
"""Frames of a latent frame; the first has one of its own."""


def read_size(text: str) -> tuple[int, int]:
    """Width and height of ``WIDTH*HEIGHT``.

    Raises:
        InvalidInput: it is no size, or a side is no multiple of 32.
    """
    match = re.fullmatch(r"([1-9]\d{1,4})\*([1-9]\d{1,4})", text)
    if match is None:
        raise InvalidInput(f"{text!r:.40} is no size; accepted: WIDTH*HEIGHT in pixels, 1280*704 for instance.")
    width, height = int(match[1]), int(match[2])
    if width % MULTIPLE or height % MULTIPLE:
        raise InvalidInput(f"{text} is no size: sides are multiples of {MULTIPLE}.")
    return width, height


def nearest_frame_nums(number: int) -> tuple[int, int]:
    """The two accepted numbers of frames, 4n + 1 and at least 1, next to one that is not."""
    below = max(1, (number - 1) // STRIDE * STRIDE + 1)
    return below, below + STRIDE


def fit_area(width: int, height: int, area: int) -> tuple[int, int]:
    """Sides on multiples of 32 for a picture's shape, of an area at most.

    As the official code does (Wan2.2, ``best_output_size``): once from the width, once from the height, and of both the
    shape that is nearer to the picture's.

    Args:
        width: of the picture, pixels.
        height: likewise.
        area: of a frame at most, pixels.

    Raises:
        InvalidInput: the picture is too long and thin for the area.
    """
    ratio = width / height
    wide, high = (area * ratio) ** 0.5, (area / ratio) ** 0.5
    sizes = []
    if first := int(wide // MULTIPLE * MULTIPLE):
        sizes.append((first, int(area / first // MULTIPLE * MULTIPLE)))
    if second := int(high // MULTIPLE * MULTIPLE):
        sizes.append((int(area / second // MULTIPLE * MULTIPLE), second))
    usable = [(w, h) for w, h in sizes if w and h]
    if not usable:
        raise InvalidInput(f"IMAGE is {width}x{height}, too long and thin for {area} pixels a frame.")

    def difference(size: tuple[int, int]) -> float:
        other = size[0] / size[1]
        return max(ratio / other, other / ratio)

    # Where both are as near, the official code takes the one from the height.
    return min(reversed(usable), key=difference)


def fill(picture: Image.Image, width: int, height: int) -> Image.Image:
    """A picture scaled until it covers a size, and cut to it around its centre, as the official code does.

    Args:
        picture: RGB.
        width: pixels.
        height: pixels.
    """
    scale = max(width / picture.width, height / picture.height)
    sides = max(width, round(picture.width * scale)), max(height, round(picture.height * scale))
    scaled = picture.resize(sides, Image.Resampling.LANCZOS)
    left, top = (scaled.width - width) // 2, (scaled.height - height) // 2
    return scaled.crop((left, top, left + width, top + height))
