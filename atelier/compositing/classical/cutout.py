"""An object's alpha without networks: from a plain background, or by GrabCut from a box."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from atelier.compositing.classical.colour import shrink, to_lab
from atelier.compositing.jobs import Pixels
from atelier.media.boxes import Box

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

PLAIN_SIDE = 1024
"""Longer side in pixels of the copy on which a plain background is found."""

GRABCUT_SIDE = 256
"""Likewise for GrabCut, whose time grows faster than the pixels: 0.7 s here, minutes at 2.8 megapixels."""

PLAIN_SHARE = 0.75
"""Share of the border that must have the background's colour, so that it counts as plain."""

NEAR = 9.0
"""Lab distance up to which a pixel may be background."""

EDGE = 3
"""Pixels that a blurred edge is wide, on that copy."""

SPECK = 0.01
"""Parts smaller than this share of the largest are dropped."""


def plain(picture: Pixels) -> Floats | None:
    """The alpha of what stands before a plain background, which may change evenly from side to side.

    The background's colour is a plane through the border's Lab colours; background is what is near it and connected
    with the border, so that a white shirt before a white wall stays whole.

    Args:
        picture: uint8 [H, W, 3].

    Returns:
        float32 [H, W] in 0..1, all 0 where there is nothing but background; None: the background is not plain.
    """
    copy = shrink(picture, PLAIN_SIDE)
    lab = to_lab(cv2.GaussianBlur(copy, (0, 0), 0.8) if min(copy.shape[:2]) > 8 else copy)
    distance = _background_distance(lab)
    if distance is None:
        return None
    near = distance < NEAR
    # One more pixel all around, so that the background on all sides is one region.
    frame = np.pad(near.astype(np.uint8), 1, constant_values=1)
    _, labels = cv2.connectedComponents(frame, connectivity=4)
    solid = _without_specks(labels[1:-1, 1:-1] != labels[0, 0])
    alpha = _soft_edge(solid, distance)
    return alpha if copy.shape == picture.shape else refine(picture, alpha, radius=2, eps=1e-4)


def grabcut(picture: Pixels, box: Box) -> Floats | None:
    """The alpha of what is in a box, by GrabCut (Rother et al. 2004) on a small copy, with edges from the picture.

    Args:
        picture: uint8 [H, W, 3].
        box: inside the picture.

    Returns:
        float32 [H, W] in 0..1; None where box or picture are too small to tell two sets of colours.
    """
    copy = shrink(picture, GRABCUT_SIDE)
    height, width = copy.shape[:2]
    down, across = height / picture.shape[0], width / picture.shape[1]
    top, left = max(1, math.floor(box.top * down)), max(1, math.floor(box.left * across))
    bottom, right = min(height - 1, math.ceil(box.bottom * down)), min(width - 1, math.ceil(box.right * across))
    if bottom - top < 4 or right - left < 4:  # each side is modelled by five clusters
        return None
    labels = np.full((height, width), cv2.GC_BGD, np.uint8)
    labels[top:bottom, left:right] = cv2.GC_PR_FGD
    cv2.setRNGSeed(0)  # its clusters start at random
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(cv2.cvtColor(copy, cv2.COLOR_RGB2BGR), labels, None, *models, 5, cv2.GC_INIT_WITH_MASK)  # type: ignore[call-overload]
    solid = np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD))
    return refine(picture, _without_specks(solid).astype(np.float32), radius=4, eps=1e-4)


def part_at(alpha: Floats, x: float, y: float) -> Floats | None:
    """Of an alpha the connected part at a point; None where there is none."""
    _, labels = cv2.connectedComponents((alpha > 0.02).astype(np.uint8))
    row, column = min(int(y), alpha.shape[0] - 1), min(int(x), alpha.shape[1] - 1)
    if not labels[row, column]:
        return None
    return np.where(labels == labels[row, column], alpha, np.float32(0))


def refine(picture: Pixels, target: Floats, radius: int, eps: float) -> Floats:
    """An alpha for the whole picture from that of a small copy, with the picture's edges.

    Source: He et al. 2013, "Guided Image Filtering", equations 5, 6 and 8, with a grey guide; the coefficients are
    found on the copy and scaled up, as in He and Sun 2015, "Fast Guided Filter".

    Args:
        picture: uint8 [H, W, 3], the guide.
        target: float32 [h, w] in 0..1, the copy's alpha; it may be hard.
        radius: half side of the filter's window, pixels of the copy.
        eps: below which variance of the guide (0..1) a window counts as flat.

    Returns:
        float32 [H, W] in 0..1, exactly 0 and 1 away from the edges.
    """
    height, width = target.shape
    guide = np.multiply(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), 1 / 255, dtype=np.float32)
    small = np.asarray(cv2.resize(guide, (width, height), interpolation=cv2.INTER_AREA), np.float32)
    mean_guide, mean_target = _mean(small, radius), _mean(target, radius)
    covariance = _mean(small * target, radius) - mean_guide * mean_target
    variance = _mean(small * small, radius) - mean_guide * mean_guide
    slope = np.asarray(covariance / (variance + eps), np.float32)
    offset = np.asarray(mean_target - slope * mean_guide, np.float32)
    size = (picture.shape[1], picture.shape[0])
    slopes, offsets = (cv2.resize(_mean(values, radius), size) for values in (slope, offset))
    # The filter's halo away from the edge is cut off; further away the copy's alpha stays.
    alpha = np.clip((slopes * guide + offsets - 0.15) / 0.7, 0, 1)
    square = np.ones((2 * radius + 1, 2 * radius + 1), np.uint8)
    outer = cv2.resize(cv2.dilate(target, square), size)
    inner = cv2.resize(cv2.erode(target, square), size)
    return np.asarray(np.clip(alpha, inner, outer), np.float32)


def _background_distance(lab: Floats) -> Floats | None:
    """Each pixel's Lab distance from the plane through the border's colours; None where too few lie near it."""
    height, width = lab.shape[:2]
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    places = np.stack([np.ones_like(x), 2 * x / max(width - 1, 1) - 1, 2 * y / max(height - 1, 1) - 1], axis=2)
    rim = np.ones((height, width), bool)
    band = max(1, min(height, width) // 64)
    rim[band:-band, band:-band] = False
    at, colours = places[rim], lab[rim]
    # The first guess is one colour, which an object across a part of the border does not move.
    residual = np.linalg.norm(colours - np.median(colours, axis=0), axis=1)
    plane: NDArray[Any] = np.zeros((3, 3), np.float32)
    for limit in (30.0, 15.0, NEAR):
        fits = residual < limit
        if fits.mean() < PLAIN_SHARE:
            return None
        plane = np.linalg.lstsq(at[fits], colours[fits], rcond=None)[0]
        residual = np.linalg.norm(colours - at @ plane, axis=1)
    if (residual < NEAR).mean() < PLAIN_SHARE:
        return None
    return np.asarray(np.linalg.norm(lab - places @ plane, axis=2), np.float32)


def _soft_edge(solid: Mask, distance: Floats) -> Floats:
    """Alpha along the edge of what stands before a plain background.

    It is how far a pixel's colour is on its way from the background's to the object's, which is that further in.

    Args:
        solid: all that differs from the background, its own blurred edge too.
        distance: from the background's colour, Lab.
    """
    flat = solid.astype(np.uint8)
    inner = cv2.erode(flat, np.ones((2 * EDGE + 1, 2 * EDGE + 1), np.uint8), borderValue=1).astype(np.float32)
    nearby = _mean(inner, 2 * EDGE)
    within = np.divide(
        _mean(inner * distance, 2 * EDGE), nearby, out=distance.copy(), where=nearby > 1e-6
    )  # thin parts have no inside: they stay as they are
    share = np.clip(distance / np.maximum(0.9 * within, NEAR), 0, 1)
    return np.asarray(np.where(inner > 0, 1, np.where(solid, share, 0)), np.float32)


def _without_specks(solid: NDArray[Any]) -> Mask:
    opened = cv2.morphologyEx(solid.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    if not opened.any():  # a line is no speck
        opened = solid.astype(np.uint8)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(opened, connectivity=8)
    areas = stats[:, cv2.CC_STAT_AREA].copy()
    areas[0] = 0
    keep = areas >= max(1.0, SPECK * float(areas.max()))
    keep[0] = False
    return np.asarray(keep[labels], bool)


def _mean(values: Floats, radius: int) -> Floats:
    size = (2 * radius + 1, 2 * radius + 1)
    return np.asarray(cv2.boxFilter(values, -1, size, borderType=cv2.BORDER_REFLECT_101), np.float32)
