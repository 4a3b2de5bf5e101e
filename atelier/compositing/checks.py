"""What every stage asks of its input."""

from __future__ import annotations

import math

import numpy as np

from atelier.compositing.jobs import Pixels
from atelier.errors import InvalidInput

Corners = tuple[float, float, float, float]


def picture(pixels: Pixels, name: str, max_pixels: int, *, channels: tuple[int, ...] = (3,)) -> None:
    """See that an array is a picture.

    Raises:
        InvalidInput: it is not UINT8 [H, W, C] with pixels, or has too many of them.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] not in channels or pixels.size == 0:
        kinds = " or ".join(f"[H, W, {count}]" for count in channels)
        raise InvalidInput(f"{name} is {pixels.dtype} {list(pixels.shape)}; UINT8 {kinds} with pixels is accepted.")
    height, width = pixels.shape[:2]
    if height * width > max_pixels:
        raise InvalidInput(f"{name} has {width}x{height} pixels; at most {max_pixels} are accepted.")


def box(corners: Corners, name: str, height: int, width: int) -> None:
    """See that a box is one, and inside its picture.

    Args:
        corners: left, top, right, bottom, pixels.
        name: of the request's tensor.
        height: of the picture.
        width: of the picture.

    Raises:
        InvalidInput: it is not.
    """
    left, top, right, bottom = corners
    size = f"of the picture's {width}x{height} pixels"
    if not all(math.isfinite(value) for value in corners):
        raise InvalidInput(f"{name} is {_shown(corners)}; four numbers left, top, right, bottom are accepted, {size}.")
    if not (left < right and top < bottom):
        raise InvalidInput(f"{name} {_shown(corners)} has no area; left < right and top < bottom are needed, {size}.")
    if left < 0 or top < 0 or right > width or bottom > height:
        raise InvalidInput(
            f"{name} {_shown(corners)} leaves the picture; 0 to {width} across and 0 to {height} down are accepted."
        )


def point(place: tuple[float, float], name: str, height: int, width: int) -> None:
    """See that a point is one, and inside its picture; its lower and right border count.

    Raises:
        InvalidInput: it is not.
    """
    x, y = place
    if not (math.isfinite(x) and math.isfinite(y) and 0 <= x <= width and 0 <= y <= height):
        raise InvalidInput(
            f"{name} {_shown(place)} is not in the picture; 0 to {width} across and 0 to {height} down are accepted."
        )


def _shown(numbers: tuple[float, ...]) -> str:
    return f"[{', '.join(f'{number:g}' for number in numbers)}]"
