"""The separate holes of a mask."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from atelier.media.boxes import Box


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
    hole = (mask != 0).astype(np.uint8)
    labels, boxes, areas = _label(hole)
    if reach and len(areas) > 1:
        # Squares of reach + 1 pixels touch exactly where the pixels they grew from are at most reach + 1 apart.
        dilated = cv2.dilate(hole, np.ones((reach + 1, reach + 1), np.uint8)).astype(np.uint8, copy=False)
        labels, boxes, areas = _merge(labels, boxes, areas, dilated)
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


def _merge(
    labels: NDArray[np.int32], boxes: NDArray[np.int32], areas: NDArray[np.int32], dilated: NDArray[np.uint8]
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
    """Give labels in one part of ``dilated`` one label; boxes and areas stay those of the holes' pixels."""
    groups = _label(dilated)[0]
    # A hole lies wholly in one group, so each of its pixels writes the same value.
    group_of = np.zeros(len(areas) + 1, np.int32)
    group_of[labels.ravel()] = groups.ravel()
    group_of[0] = 0
    count = int(group_of.max())
    merged = np.empty((count, 4), np.int32)
    merged[:, :2], merged[:, 2:] = np.iinfo(np.int32).max, 0
    index = group_of[1:] - 1
    np.minimum.at(merged[:, :2], index, boxes[:, :2])
    np.maximum.at(merged[:, 2:], index, boxes[:, 2:])
    sums = np.zeros(count, np.int32)
    np.add.at(sums, index, areas)
    return group_of[labels], merged, sums
