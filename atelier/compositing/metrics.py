"""How good a composite is, as far as numbers without networks can tell.

No single one can: Poisson blending had the best seam of all on a picture whose object it had smeared away. They are
reported together, and `score` joins them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import cv2
import numpy as np
from numpy.typing import NDArray

from atelier.compositing.classical.colour import to_lab
from atelier.compositing.jobs import Pixels
from atelier.media.boxes import Box

CHANGED = 2
"""Grey levels up to which a pixel counts as unchanged: rounding."""

SEAM = 2
"""Pixels on either side of the object's outline that are its seam."""

RING = 0.25
"""Width of the object's surroundings, as a share of its longer side."""


def measure(
    background: Pixels, result: Pixels, pre_composite: Pixels, object_mask: Pixels, fill_mask: Pixels
) -> dict[str, float | None]:
    """Measure a composite.

    With O the pixels where the object's alpha is at least 128, F the fill mask, B the background, R the result, P the
    pre-composite, L the lightness of CIE Lab:

    - ``outside_max_difference``: max |R - B| over the pixels outside F and over the channels, grey levels; must be 0.
    - ``seam_gradient_ratio``: mean |grad L| of R within 2 pixels of O's outline, divided by the same of B in the
      surroundings of O (a ring of a quarter of its longer side). 1: the outline is no sharper than the surroundings.
    - ``identity_correlation``: Pearson's correlation of R and P over the pixels of O and the channels, each channel
      less its mean. 1: the object has the shapes of the one that was pasted; colours and brightness may differ.
    - ``lab_gap``: distance of the mean Lab colours of O in R and of its surroundings in R.
    - ``inside_changed_share``: share of F's pixels that differ from B by more than 2 grey levels in some channel.

    Args:
        background: uint8 [H, W, 3].
        result: uint8 [H, W, 3].
        pre_composite: uint8 [H, W, 3].
        object_mask: uint8 [H, W], alpha.
        fill_mask: uint8 [H, W], not 0 where pixels may change.

    Returns:
        The five; None where there is nothing to measure: no pixels, or nothing varies.

    Raises:
        ValueError: shapes do not agree.
    """
    pictures, masks = (background, result, pre_composite), (object_mask, fill_mask)
    if len({picture.shape for picture in pictures}) > 1 or any(mask.shape != background.shape[:2] for mask in masks):
        raise ValueError(f"shapes do not agree: {[array.shape for array in (*pictures, *masks)]}")
    filled = fill_mask != 0
    change = cv2.absdiff(background, result).max(axis=2)
    return {
        "outside_max_difference": float(change[~filled].max()) if not filled.all() else None,
        "inside_changed_share": float((change[filled] > CHANGED).mean()) if filled.any() else None,
        **_of_object(background, result, pre_composite, object_mask >= 128),
    }


def score(metrics: Mapping[str, float | None]) -> float:
    """One number to choose the best of several results for the same place by; higher is better.

    ``identity - 0.1 min(|log2 seam|, 3) - 0.004 min(gap, 50) - [outside > 0]``: what is not measured counts as 0.
    Identity leads: a smeared object loses more by it than the best seam can bring. The weights were set so that the
    cases of ``tests/compositing/test_metrics.py`` rank as they look; no people were asked.
    """
    identity = metrics.get("identity_correlation") or 0.0
    seam = metrics.get("seam_gradient_ratio")
    # A perfectly flat seam is as far from 1 as the limit allows.
    unevenness = 0.0 if seam is None else 3.0 if seam <= 0 else min(abs(math.log2(seam)), 3.0)
    gap = min(metrics.get("lab_gap") or 0.0, 50.0)
    spilled = float((metrics.get("outside_max_difference") or 0.0) > 0)
    return identity - 0.1 * unevenness - 0.004 * gap - spilled


def _of_object(
    background: Pixels, result: Pixels, pre_composite: Pixels, solid: NDArray[np.bool_]
) -> dict[str, float | None]:
    if not solid.any():
        return dict.fromkeys(("seam_gradient_ratio", "identity_correlation", "lab_gap"))
    left, top, width, height = cv2.boundingRect(solid.astype(np.uint8))
    reach = max(SEAM + 1, round(RING * max(width, height)))
    # Only what is near the object is looked at, which in a large picture is little of it.
    room = Box(top, left, height, width).grow(reach).clip(*solid.shape)
    solid, before, after = solid[room.slices], background[room.slices], result[room.slices]
    flat = solid.astype(np.uint8)
    distance_out = cv2.distanceTransform(1 - flat, cv2.DIST_L2, 3) if not solid.all() else np.zeros(flat.shape)
    inner = cv2.erode(flat, np.ones((2 * SEAM + 1, 2 * SEAM + 1), np.uint8))
    seam = (distance_out <= SEAM) & (inner == 0)
    ring = distance_out > SEAM
    usual = _mean_gradient(before, ring)
    sharp = _mean_gradient(after, seam) if not solid.all() else None
    gap = float(np.linalg.norm(_mean_lab(after, solid) - _mean_lab(after, ring))) if ring.any() else None
    return {
        "seam_gradient_ratio": sharp / usual if sharp is not None and usual else None,
        "identity_correlation": _correlation(after[solid], pre_composite[room.slices][solid]),
        "lab_gap": gap,
    }


def _mean_lab(picture: Pixels, where: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Of at most about a million of the pixels, evenly taken; some are needed."""
    pixels = picture[where]
    return np.asarray(to_lab(pixels[None, :: 1 + len(pixels) // 1_000_000])[0].mean(0), np.float32)


def _mean_gradient(picture: Pixels, where: NDArray[np.bool_]) -> float | None:
    """Of L in its 8 bits, which take a tenth of the time of floats."""
    if not where.any():
        return None
    lightness = np.multiply(cv2.cvtColor(picture, cv2.COLOR_RGB2LAB)[..., 0], 100 / 255, dtype=np.float32)
    across, down = (cv2.Sobel(lightness, cv2.CV_32F, *order, scale=1 / 8) for order in ((1, 0), (0, 1)))
    return float(np.hypot(across, down)[where].mean())


def _correlation(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float | None:
    """Pearson's, of pixels [N, 3], each channel less its mean; None where one of them does not vary."""
    first, second = (pixels - pixels.mean(0, dtype=np.float64) for pixels in (one, other))
    scale = math.sqrt(float(np.square(first).sum()) * float(np.square(second).sum()))
    return float((first * second).sum()) / scale if scale > 1e-9 else None
