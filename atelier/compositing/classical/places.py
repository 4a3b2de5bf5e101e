"""Where an object might stand, and what room it needs."""

from __future__ import annotations

import math

import cv2
import numpy as np

from atelier.compositing.classical.colour import shrink, to_lab
from atelier.compositing.jobs import Pixels
from atelier.media.boxes import Box

SIDE = 192
"""Longer side in pixels of the copy on which a place is looked for."""

HEIGHT = 0.35
"""Of an object that nobody gave a size, as a share of the background's height."""

WIDTH = 0.45
"""Of it at most, as a share of the background's width."""

GROUND = 0.88
"""Where an object most likely stands, as a share of the background's height."""


def fit(aspect: float, width: float, height: float) -> tuple[int, int]:
    """The largest whole height and width of an aspect (width over height) in a room, both at least 1."""
    wide = min(width, height * aspect)
    return max(1, math.floor(wide / aspect + 1e-6)), max(1, math.floor(wide + 1e-6))


def resting(rows: int, columns: int, middle: float, bottom: float, height: int, width: int) -> Box:
    """A box of that size standing on a line, centred on a column, moved inwards at the picture's borders."""
    top = min(max(round(bottom) - rows, 0), height - rows)
    left = min(max(round(middle - columns / 2), 0), width - columns)
    return Box(top, left, rows, columns)


def calm_place(background: Pixels, rows: int, columns: int) -> Box:
    """A calm place in the lower part of a picture, the same each time.

    For every place the mean Lab gradient under the object is found, plus a price for standing off the middle or away
    from where the ground usually is; the cheapest place wins. It knows nothing of what the picture shows.

    Args:
        background: uint8 [H, W, 3].
        rows: the object's height.
        columns: its width.
    """
    height, width = background.shape[:2]
    copy = shrink(background, SIDE)
    scale = copy.shape[0] / height
    lightness = cv2.GaussianBlur(to_lab(copy)[..., 0], (0, 0), 1)
    gradient = np.hypot(cv2.Sobel(lightness, cv2.CV_32F, 1, 0), cv2.Sobel(lightness, cv2.CV_32F, 0, 1))
    tall = min(max(1, round(rows * scale)), copy.shape[0])
    wide = min(max(1, round(columns * scale)), copy.shape[1])
    # What the object stands on counts most: the lower third of its place, and as much below it is not looked at.
    foot = max(1, tall // 3)
    unrest = _window_means(gradient, tall, wide) + 2 * _window_means(gradient, foot, wide)[tall - foot :]
    tops, lefts = np.mgrid[0 : unrest.shape[0], 0 : unrest.shape[1]]
    sideways = np.abs((lefts + wide / 2) / copy.shape[1] - 0.5)
    upright = np.abs((tops + tall) / copy.shape[0] - GROUND)
    usual = max(float(gradient.mean()), 1e-3)
    price = unrest / usual + 1.5 * sideways + 6 * upright
    top, left = np.unravel_index(int(np.argmin(price)), price.shape)
    return resting(rows, columns, (left + wide / 2) / scale, (top + tall) / scale, height, width)


def shadow_room(box: Box, light: tuple[float, float], reach: float) -> tuple[tuple[float, float], tuple[float, float]]:
    """The ellipse on the ground into which an object's shadow may fall.

    Args:
        box: of the object.
        light: unit vector towards the light, y downwards; (0, 0): from nowhere in particular.
        reach: of the shadow, as a share of the object's height.

    Returns:
        Middle (x, y) and half axes (across, down), pixels.
    """
    length = reach * box.height
    middle = box.left + box.width / 2 - light[0] * length / 2, float(box.bottom)
    return middle, (box.width / 2 + length / 2, min(length / 2, box.width / 2) + 1)


def _window_means(values: np.ndarray, rows: int, columns: int) -> np.ndarray:
    total = cv2.integral(values, sdepth=cv2.CV_64F)
    sums = total[rows:, columns:] - total[:-rows, columns:] - total[rows:, :-columns] + total[:-rows, :-columns]
    return np.asarray(sums / (rows * columns))
