"""The shadow of an object on the ground it stands on."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from atelier.compositing.jobs import Light, Pixels

Floats = NDArray[np.float32]

FOOT = 0.08
"""What of an object touches the ground: outline points this share of its height above its lowest, or lower."""

CONTACT = 0.55
"""Darkness right under the object, 0 none to 1 black."""

CAST = 0.4
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
    left, right, bottom = _foot(alpha)
    middle, half = (left + right) / 2, max((right - left) / 2, 1.0)
    depth = max(min(0.16 * half, reach), 1.0)
    # The ellipse's middle lies above the lowest line: the object hides its far half.
    ground = bottom - 0.6 * depth
    contact = _ellipse(alpha.shape, (middle, ground), (0.98 * half, depth), 0.45 * depth + 0.5)
    away = -light.direction[0]
    wide = (middle + away * 0.5 * reach, ground - 0.2 * depth)
    soft = 0.6 + 0.8 * light.softness
    cast = _ellipse(alpha.shape, wide, (half + 0.45 * reach, 1.4 * depth + 0.12 * reach), soft * (depth + 0.1 * reach))
    return np.asarray(np.maximum(CONTACT * contact, CAST * (1 - 0.5 * light.softness) * cast), np.float32)


def darken(picture: Pixels, darkness: Floats) -> Floats:
    """A picture in shadow, float32 [H, W, 3] in 0..255; in sRGB's own scale, where equal steps look about equal."""
    return np.asarray(picture * (1 - darkness[..., None]), np.float32)


def _foot(alpha: Pixels) -> tuple[float, float, float]:
    """Left and right end, and height in the picture, of what of an object touches the ground."""
    solid = alpha >= 128 if (alpha >= 128).any() else alpha > 0
    columns = np.flatnonzero(solid.any(axis=0))
    lowest = alpha.shape[0] - np.argmax(solid[::-1, columns], axis=0)
    top = int(np.argmax(solid.any(axis=1)))
    bottom = int(lowest.max())
    touching = columns[lowest >= bottom - FOOT * (bottom - top) - 1]
    return float(touching.min()), float(touching.max() + 1), float(bottom)


def _ellipse(shape: tuple[int, ...], middle: tuple[float, float], axes: tuple[float, float], sigma: float) -> Floats:
    """A filled ellipse, blurred: 1 inside, 0 far away."""
    canvas = np.zeros(shape, np.float32)
    fixed = 4  # bits behind the point: small ellipses move by less than a pixel
    points = [tuple(round(value * 2**fixed) for value in pair) for pair in (middle, axes)]
    cv2.ellipse(canvas, points[0], points[1], 0, 0, 360, 1.0, -1, cv2.LINE_AA, fixed)
    return np.asarray(cv2.GaussianBlur(canvas, (0, 0), max(sigma, 0.3)), np.float32)
