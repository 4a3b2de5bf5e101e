"""From the padded page back to the original one, as the old worker did it."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]


def restore(page: Pixels, padding: tuple[int, int, int, int], size: tuple[int, int], out: Pixels) -> None:
    """Cut the padding off, scale to the original size, and turn RGB into BGR.

    Args:
        page: H x W x 3, RGB, the padded page.
        padding: pixels to cut off: top, right, bottom, left.
        size: height and width of the original.
        out: height x width x 3, BGR, which is written.
    """
    top, right, bottom, left = padding
    cut = page[top : page.shape[0] - bottom, left : page.shape[1] - right]
    if cut.shape[:2] == tuple(size):
        cv2.cvtColor(cut, cv2.COLOR_RGB2BGR, dst=out)
        return
    scaled = cv2.resize(cut, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)
    cv2.cvtColor(scaled, cv2.COLOR_RGB2BGR, dst=out)
