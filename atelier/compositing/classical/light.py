"""Where a picture's light comes from, and what else its statistics tell."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from atelier.compositing.classical.colour import hexadecimal, main_colours, name, shrink, to_lab
from atelier.compositing.jobs import Light, Pixels

SIDE = 256
"""Longer side in pixels of the copy that is looked at: what is asked for are large areas."""

COLOURS = 5
"""Of the palette, at most."""


@dataclass(frozen=True)
class Statistics:
    """What a picture looks like.

    Attributes:
        light: without description.
        palette: main colours, ``#rrggbb``, the largest first.
        colours: the words for them, each once, English.
        lightness: mean L, 0..100.
        contrast: L from the 5th to the 95th percentile.
        chroma: mean distance from grey.
        warmth: of the light: above 0 yellowish, below bluish (b of Lab).
        roughness: of the lower third: mean L step between neighbouring pixels of the copy.
        ground: the word for the lower third's colour.
        depth: sharpness of the middle against the rim; well above 1: a blurred rim.
        wide: width over height.
    """

    light: Light
    palette: tuple[str, ...]
    colours: tuple[str, ...]
    lightness: float
    contrast: float
    chroma: float
    warmth: float
    roughness: float
    ground: str
    depth: float
    wide: float


def look(picture: Pixels) -> Statistics:
    """The statistics of a picture RGB [H, W, 3] of any size."""
    copy = shrink(picture, SIDE)
    lab = to_lab(copy)
    lightness = lab[..., 0]
    low, high = (float(value) for value in np.percentile(lightness, (5, 95)))
    colours = main_colours(to_lab(shrink(copy, 64)).reshape(-1, 3), COLOURS)
    steps = _steps(lightness)
    lower = slice(2 * lab.shape[0] // 3, None)
    tint = _light_colour(copy)
    return Statistics(
        light=Light(_direction(lightness), _softness(lightness), tint),
        palette=tuple(dict.fromkeys(hexadecimal(colour) for colour, _ in colours)),
        colours=tuple(dict.fromkeys(name(colour) for colour, _ in colours)),
        lightness=float(lightness.mean()),
        contrast=high - low,
        chroma=float(np.hypot(lab[..., 1], lab[..., 2]).mean()),
        warmth=float(to_lab(np.array([[tint]], np.uint8))[0, 0, 2]),
        roughness=float(steps[lower].mean()),
        ground=name(lab[lower].mean((0, 1))),
        depth=_depth(steps),
        wide=picture.shape[1] / picture.shape[0],
    )


def _direction(lightness: np.ndarray) -> tuple[float, float]:
    """From the middle towards the centroid of what is brighter than most; (0, 0) where that is the middle itself.

    Blurred first: a white wall counts, a highlight on a spoon does not.
    """
    height, width = lightness.shape
    smooth = cv2.GaussianBlur(lightness, (0, 0), max(height, width) / 16)
    weight = np.maximum(smooth - np.percentile(smooth, 75), 0)
    if weight.sum() < 1e-3 * weight.size:  # evenly lit
        return 0.0, 0.0
    y, x = np.mgrid[0:height, 0:width]
    along_x = float((weight * (2 * (x + 0.5) / width - 1)).sum() / weight.sum())
    along_y = float((weight * (2 * (y + 0.5) / height - 1)).sum() / weight.sum())
    length = math.hypot(along_x, along_y)
    return (0.0, 0.0) if length < 0.15 else (along_x / length, along_y / length)


def _softness(lightness: np.ndarray) -> float:
    """1 for an even picture, 0 for one of deep shadows beside bright light: the range of its large areas."""
    smooth = cv2.GaussianBlur(lightness, (0, 0), max(lightness.shape) / 64 + 0.5)
    low, high = np.percentile(smooth, (5, 95))
    return float(np.clip(1 - (high - low) / 90, 0, 1))


def _light_colour(picture: Pixels) -> tuple[int, int, int]:
    """The light's colour, its brightest channel 255.

    Source: Finlayson and Trezzi 2004, "Shades of Grey and Colour Constancy": the Minkowski mean of order 6.
    """
    linear = picture.reshape(-1, 3).astype(np.float64) / 255
    mean = np.power(np.power(linear, 6).mean(0), 1 / 6)
    scaled = np.rint(255 * mean / mean.max()) if mean.max() > 0 else np.full(3, 255)
    red, green, blue = (int(value) for value in scaled)
    return red, green, blue


def _steps(lightness: np.ndarray) -> np.ndarray:
    """How much L changes from pixel to pixel."""
    across = np.abs(np.diff(lightness, axis=1, append=lightness[:, -1:]))
    down = np.abs(np.diff(lightness, axis=0, append=lightness[-1:]))
    return np.asarray(np.maximum(across, down))


def _depth(steps: np.ndarray) -> float:
    height, width = steps.shape
    middle = np.zeros(steps.shape, bool)
    middle[height // 4 : height - height // 4, width // 4 : width - width // 4] = True
    rim = steps[~middle].mean() if not middle.all() else 0.0
    return float((steps[middle].mean() + 0.1) / (rim + 0.1)) if middle.any() else 1.0
