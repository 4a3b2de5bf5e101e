"""The separate holes of a mask."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from atelier.media.boxes import Box

# Counting takes 8 bytes a pixel; so it is done so many pixels at a time.
_STRIP_PIXELS = 1 << 20


@dataclass(frozen=True, slots=True)
class Region:
    """One hole, or several that lie close together.

    Attributes:
        box: bounding box of the hole's pixels.
        area: number of the hole's pixels.
        label: the hole's value in the label map, from 1.
    """

    box: Box
    area: int
    label: int


def connected_regions(mask: NDArray[Any], reach: int = 0) -> tuple[NDArray[np.int32], list[Region]]:
    """Find the holes of a mask.

    Args:
        mask: [H, W]; every value other than 0 is hole.
        reach: pixels that may lie between parts of one hole: what is at most ``reach + 1`` rows and at most
            ``reach + 1`` columns apart belongs together. 0 is plain 8-connectivity.

    Returns:
        The label map int32 [H, W], 0 outside the holes, and the regions: ``regions[i]`` has label ``i + 1``.

    Raises:
        ValueError: ``mask`` is not [H, W] with pixels, or ``reach`` is negative.
    """
    if mask.ndim != 2 or mask.size == 0:
        raise ValueError(f"a mask [H, W] with pixels is needed, got shape {mask.shape}")
    if reach < 0:
        raise ValueError(f"reach must be at least 0, got {reach}")
    labels, boxes, areas = _join(mask, reach) if reach else _label((mask != 0).view(np.uint8))
    regions = [
        Region(Box(top, left, bottom - top, right - left), area, label)
        for label, ((top, left, bottom, right), area) in enumerate(
            zip(boxes.tolist(), areas.tolist(), strict=True), start=1
        )
    ]
    return labels, regions


def _label(hole: NDArray[np.uint8]) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
    """The label map, and of each label from 1 its (top, left, bottom, right) and its number of pixels."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(hole, connectivity=8, ltype=cv2.CV_32S)
    left, top, width, height, area = stats[1:].T
    boxes = np.stack([top, left, top + height, left + width], axis=1)
    return labels.astype(np.int32, copy=False), boxes.astype(np.int32, copy=False), area.astype(np.int32, copy=False)


def _join(mask: NDArray[Any], reach: int) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
    """As ``_label``, of the holes grown to squares of ``reach + 1``: these touch where at most ``reach`` lies between.

    Made for large masks: there is one label map, and nothing else of its size but masks.
    """
    height, width = mask.shape
    padded = np.zeros((height + 2 * reach, width + 2 * reach), np.uint8)
    inside = slice(reach, reach + height), slice(reach, reach + width)
    hole = padded[inside]
    np.not_equal(mask, 0, out=hole.view(np.bool_))
    # In the middle of a frame a hole's box is cut nowhere, so that it can be told from that of its squares.
    grown, boxes, _ = _label(cv2.dilate(padded, np.ones((reach + 1, reach + 1), np.uint8)).astype(np.uint8, copy=False))
    after = (reach + 1) // 2
    boxes += np.array([reach - after, reach - after, -after, -after], np.int32) - reach
    labels = grown[inside]
    areas = np.zeros(len(boxes) + 1, np.int64)
    rows = max(1, _STRIP_PIXELS // width)
    for top in range(0, height, rows):
        strip = labels[top : top + rows]
        strip *= hole[top : top + rows]
        areas += np.bincount(strip.ravel(), minlength=len(areas))
    return labels, boxes, areas[1:].astype(np.int32)
