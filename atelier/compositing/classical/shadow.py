"""The shadow of an object on the ground it stands on."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from atelier.compositing.jobs import Light, Pixels
from atelier.media.boxes import Box

Floats = NDArray[np.float32]

FOOT = 0.12
"""What of an object is near the ground: columns whose lowest point is so far above its lowest, as a share of its
height; with the distance the shadow grows weaker."""

FLATNESS = 0.22
"""Height over width of a circle on the ground, as it is seen in most photographs."""

CONTACT = 0.7
"""Darkness right under the object, 0 none to 1 black."""

CAST = 0.5
"""Darkness of what the object keeps the light from, where that is hard."""


def contact_shadow(alpha: Pixels, light: Light, reach: float) -> Floats:
    """Darkness of the ground around an object: a narrow dark rim where it touches, and a wide soft one behind.

    Two blurred ellipses, the wide one moved away from the light. Plausible on flat ground alone: the ground's shape is
    not known.

    Args:
        alpha: uint8 [H, W] of the object, with something in it; the picture of the ground is as large.
        light: of the scene.
        reach: length of the shadow in pixels.

    Returns:
        float32 [H, W]: 0 as it was to 1 black.
    """
    columns, lowest, height = _outline(alpha)
    bottom = float(lowest.max())
    gap = (bottom - lowest) / (FOOT * height + 1)
    touching = columns[gap <= 1]
    left, right = float(touching.min()), float(touching.max() + 1)
    half, depth = max((right - left) / 2, 1.0), max(min(FLATNESS * (right - left) / 2, reach), 1.0)
    contact = _rim(alpha.shape, columns, lowest, np.exp(-np.square(gap)), 0.3 * depth + 1)
    # The ellipse's middle lies above the lowest line, which is its front edge.
    middle = ((left + right) / 2 - light.direction[0] * 0.5 * reach, bottom - 0.6 * depth)
    axes = (half + 0.35 * reach, depth + 0.1 * reach)
    cast = _ellipse(alpha.shape, middle, axes, (0.25 + 0.4 * light.softness) * axes[1])
    through = (1 - CONTACT * contact) * (1 - CAST * (1 - 0.4 * light.softness) * cast)
    return np.asarray(1 - through, np.float32)


def darken(picture: Pixels, darkness: Floats) -> Pixels:
    """A picture in shadow; in sRGB's own scale, where equal steps look about equal.

    Args:
        picture: uint8 [H, W, 3]; stays as it is.
        darkness: float32 [H, W], 0 as it was to 1 black.
    """
    dark = picture.copy()
    left, top, width, height = cv2.boundingRect((darkness > 0).astype(np.uint8))
    place = Box(top, left, height, width).slices
    dark[place] = np.rint(picture[place] * (1 - darkness[place][..., None]))
    return dark


def _outline(alpha: Pixels) -> tuple[NDArray[np.intp], NDArray[np.intp], int]:
    """Columns that the object covers, the row below its lowest point in each, and its height."""
    solid = alpha >= 128 if (alpha >= 128).any() else alpha > 0
    columns = np.flatnonzero(solid.any(axis=0))
    lowest = alpha.shape[0] - np.argmax(solid[::-1, columns], axis=0)
    return columns, lowest, int(lowest.max()) - int(np.argmax(solid.any(axis=1)))


def _rim(
    shape: tuple[int, ...],
    columns: NDArray[np.intp],
    lowest: NDArray[np.intp],
    weight: NDArray[np.float64],
    depth: float,
) -> Floats:
    """A band along the lower outline, blurred; the object will hide its upper half."""
    canvas = np.zeros(shape, np.float32)
    for column, row, strength in zip(columns.tolist(), lowest.tolist(), weight.tolist(), strict=True):
        canvas[max(0, round(row - 2 * depth)) : round(row + 0.6 * depth), column] = strength
    return np.asarray(cv2.GaussianBlur(canvas, (0, 0), 0.6 * depth), np.float32)


def _ellipse(shape: tuple[int, ...], middle: tuple[float, float], axes: tuple[float, float], sigma: float) -> Floats:
    """A filled ellipse, blurred: 1 inside, 0 far away."""
    canvas = np.zeros(shape, np.float32)
    fixed = 4  # bits behind the point: small ellipses move by less than a pixel
    x, y = (round((value - 0.5) * 2**fixed) for value in middle)  # OpenCV counts from the first pixel's middle
    across, down = (round(value * 2**fixed) for value in axes)
    cv2.ellipse(canvas, (x, y), (across, down), 0, 0, 360, 1.0, -1, cv2.LINE_8, fixed)
    return np.asarray(cv2.GaussianBlur(canvas, (0, 0), max(sigma, 0.3)), np.float32)
