"""The colours of what an alpha cuts out, so that it can stand before another background without a fringe."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

RADII = (90, 6)
"""Half sides of the two passes' windows, pixels, for pictures of about a megapixel: first far, then near."""


def estimate_foreground(
    picture: NDArray[np.uint8], alpha: NDArray[np.float32], radii: tuple[int, ...] = RADII
) -> NDArray[np.uint8]:
    """Blur-fusion foreground estimation.

    Source: Forte 2021, "Approximate Fast Foreground Colour Estimation" (ICIP 2021), algorithm 1: means of foreground
    and background weighted by alpha around each pixel, corrected so that both blend to the picture; once with a wide
    window, once with a narrow one.

    Args:
        picture: uint8 [H, W, 3].
        alpha: float32 [H, W] in 0..1.
        radii: half sides of the windows, pixels.

    Returns:
        uint8 [H, W, 3]; where alpha is 1 the picture's own colours.
    """
    image = picture.astype(np.float32) / 255
    weight = alpha[..., None].astype(np.float32)
    foreground = background = image
    for radius in radii:
        size = (2 * radius + 1, 2 * radius + 1)
        near, far = cv2.blur(weight, size)[..., None], cv2.blur(1 - weight, size)[..., None]
        mean = cv2.blur(foreground * weight, size) / (near + 1e-5)
        background = cv2.blur(background * (1 - weight), size) / (far + 1e-5)
        foreground = mean + weight * (image - weight * mean - (1 - weight) * background)
        foreground = np.clip(foreground, 0, 1)
    output: NDArray[np.uint8] = np.rint(np.where(weight >= 1, image, foreground) * 255).astype(np.uint8)
    return output
