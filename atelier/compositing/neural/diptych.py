"""The diptych: object and scene as one picture, of which FLUX paints the right half like the left one.

The form is Insert Anything's (Song et al. 2025, arXiv 2504.15009), which adds an adapter of its own; FLUX.1-Fill
takes it as it is.
"""

from __future__ import annotations

import numpy as np

from atelier.compositing.jobs import Pixels
from atelier.compositing.neural.pictures import MULTIPLE, on_white

SHARE = 0.75
"""Of the side that a crop is worked at by itself: two of them are looked at."""


def side(resolution: int) -> int:
    """The longer side of each half, for a crop's longer side by itself."""
    return max(MULTIPLE, int(resolution * SHARE) // MULTIPLE * MULTIPLE)


def join(picture: Pixels, crop: Pixels, mask: Pixels) -> tuple[Pixels, Pixels]:
    """Object left, crop right.

    Args:
        picture: the object, RGBA.
        crop: RGB [h, w, 3], at the working size.
        mask: [h, w], 255 where it is to be painted.

    Returns:
        RGB [h, 2w, 3], and its mask [h, 2w], 0 in the left half.
    """
    height, width = mask.shape
    left = on_white(picture, width, height)
    return np.concatenate([left, crop], axis=1), np.concatenate([np.zeros_like(mask), mask], axis=1)


def right(joined: Pixels) -> Pixels:
    """The right half."""
    return joined[:, joined.shape[1] // 2 :]


def prompt(text: str) -> str:
    """The prompt for both halves."""
    return (
        "A diptych of two pictures side by side. On the left, an object on a white background. On the right, the very "
        f"same object in a scene: {text}"
    )
