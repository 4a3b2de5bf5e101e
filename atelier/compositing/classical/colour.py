"""Colours in CIE Lab, where distances are about what the eye sees, and how to move them towards a picture's."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from atelier.compositing.jobs import Pixels

Floats = NDArray[np.float32]

RATIOS = ((0.7, 0.7, 0.7), (1.4, 1.0, 1.0))
"""Least and most that `match` scales the spread of L, a and b by. Colours are never spread: surroundings of several
hues would make an object garish."""

SHIFTS = (14.0, 5.0, 5.0)
"""Most that `match` moves the means of L, a and b: surroundings say how bright and warm the light is, not what
colour an object has; unclamped, a white object on a meadow turns green."""


def to_lab(rgb: NDArray[Any]) -> Floats:
    """CIE Lab (D65) of sRGB.

    Args:
        rgb: uint8, or float32 in 0..255, [H, W, 3].

    Returns:
        float32 [H, W, 3]: L 0..100, a and b about -127..127.
    """
    return np.asarray(cv2.cvtColor(rgb.astype(np.float32) / 255, cv2.COLOR_RGB2LAB), np.float32)


def to_rgb(lab: Floats) -> Floats:
    """SRGB of CIE Lab: float32 [H, W, 3] in 0..255."""
    rgb = cv2.cvtColor(np.ascontiguousarray(lab, np.float32), cv2.COLOR_LAB2RGB)
    return np.asarray(np.clip(rgb, 0, 1) * 255, np.float32)


def shrink(picture: Pixels, side: int) -> Pixels:
    """A copy whose longer side has at most so many pixels; averaged, so that it is no sample."""
    scale = side / max(picture.shape[:2])
    if scale >= 1:
        return picture
    height, width = (max(1, round(old * scale)) for old in picture.shape[:2])
    return np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def match(lab: Floats, weight: Floats, context: Floats, strength: float = 0.6) -> Floats:
    """Colours moved towards those of their surroundings.

    Source: Reinhard et al. 2001, "Color Transfer between Images", equations 10 and 11: mean and standard deviation of
    each Lab channel; ratios and shifts clamped (`RATIOS`, `SHIFTS`), as surroundings are no picture of the object.

    Args:
        lab: of the object, float32 [H, W, 3].
        weight: of its pixels, float32 [H, W]; they do not sum to 0.
        context: Lab of the surroundings, float32 [N, 3]; with none the colours stay.
        strength: 0 leaves them, 1 moves them all the way.

    Returns:
        float32 [H, W, 3].
    """
    if not len(context):
        return lab
    share = (weight / weight.sum())[..., None]
    mean = (lab * share).sum((0, 1))
    spread = np.sqrt((np.square(lab - mean) * share).sum((0, 1)))
    ratio = np.divide(context.std(0), spread, out=np.ones(3, np.float32), where=spread > 1e-3)
    limits = np.array(SHIFTS, np.float32)
    shift = np.clip(context.mean(0) - mean, -limits, limits)
    moved = (lab - mean) * np.clip(ratio, *RATIOS) + mean + shift
    return np.asarray(lab + strength * (moved - lab), np.float32)


def main_colours(lab: Floats, most: int) -> list[tuple[Floats, float]]:
    """The main colours of pixels by k-means (Lloyd 1982), started farthest-first, so that nothing is drawn at random.

    Args:
        lab: float32 [N, 3], N >= 1.
        most: colours at most; fewer where the pixels have fewer.

    Returns:
        Colours and their shares, the largest first.
    """
    centres = lab.mean(0, keepdims=True)
    while len(centres) < most:
        far = _distances(lab, centres).min(1)
        if far.max() < 3:  # nobody could tell them apart
            break
        # Of the far tenth the middle, not the single farthest pixel: that is often noise.
        farthest = lab[far >= max(np.quantile(far, 0.9), 1e-3)].mean(0, keepdims=True)
        centres = np.concatenate([centres, farthest])
    for _ in range(10):
        nearest = _distances(lab, centres).argmin(1)
        centres = np.stack([lab[nearest == i].mean(0) for i in range(len(centres)) if (nearest == i).any()])
    nearest = _distances(lab, centres).argmin(1)
    shares = np.bincount(nearest, minlength=len(centres)) / len(lab)
    order = sorted(range(len(centres)), key=lambda i: -shares[i])
    return [(centres[i], float(shares[i])) for i in order if shares[i] > 0]


def hexadecimal(lab: Floats) -> str:
    """One Lab colour as ``#rrggbb``."""
    red, green, blue = np.rint(to_rgb(lab.reshape(1, 1, 3))[0, 0]).astype(int)
    return f"#{red:02x}{green:02x}{blue:02x}"


def name(lab: Floats) -> str:
    """The everyday English word for a Lab colour: black, grey, white, or a hue; dark orange is brown."""
    lightness, a, b = (float(value) for value in lab)
    if math.hypot(a, b) < 9:
        return "black" if lightness < 22 else "white" if lightness > 86 else "grey"
    hue = math.degrees(math.atan2(b, a)) % 360
    words = ((20, "pink"), (50, "red"), (78, "orange"), (105, "yellow"), (170, "green"), (225, "turquoise"))
    word = next((word for limit, word in words if hue < limit), "blue" if hue < 300 else "purple")
    if word in ("red", "orange", "yellow") and lightness < 55 - 25 * (word == "red"):
        return "brown"
    return "beige" if word in ("orange", "yellow") and lightness > 65 and math.hypot(a, b) < 30 else word


def _distances(lab: Floats, centres: Floats) -> Floats:
    return np.asarray(np.linalg.norm(lab[:, None] - centres[None], axis=2), np.float32)
