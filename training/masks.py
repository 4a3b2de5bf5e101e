"""Masks: what a user wants gone. Strokes of letters, boxes of lines, balloons, brush strokes, scratches.

A mask is H x W, uint8, 255 in the hole and 0 elsewhere, and covers `COVERAGE` of the picture.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from training import drawing, lettering
from training.fonts import FontSet
from training.lettering import Lettering

Mask = NDArray[np.uint8]
KINDS = ("lettering", "boxes", "balloon", "strokes", "scratches")
COVERAGE = (0.01, 0.40)
_TRIES = 20


def draw(kind: str, rng: np.random.Generator, height: int, width: int, fonts: FontSet) -> Mask:
    """A mask of one of `KINDS`."""
    if kind in ("lettering", "boxes"):
        for _ in range(_TRIES):
            block = lettering.draw(rng, height, width, fonts)
            mask = of_lettering(rng, block, boxes=kind == "boxes")
            if fits(mask):
                return mask
        return _within(rng, free_strokes, height, width)
    return _within(rng, {"balloon": _ellipse, "strokes": free_strokes, "scratches": scratches}[kind], height, width)


def fits(mask: Mask) -> bool:
    """Whether the mask covers neither too little nor too much."""
    return COVERAGE[0] <= np.count_nonzero(mask) / mask.size <= COVERAGE[1]


def of_lettering(rng: np.random.Generator, block: Lettering, boxes: bool = False) -> Mask:
    """The hole that takes a block of text away: its strokes widened, or the boxes of its lines.

    One in ten is tight, so that the rim of the letters stays outside of it, as masks of real detectors leave it.
    """
    if boxes:
        mask = np.zeros_like(block.fill)
        if block.boxes:
            margin = int(rng.integers(0, 7))
            for left, top, right, bottom in block.boxes:
                cv2.rectangle(mask, (left - margin, top - margin), (right + margin, bottom + margin), 255, -1)
            return mask
        points = cv2.findNonZero((block.outline > 0).astype(np.uint8))
        if points is not None:
            corners = cv2.boxPoints(cv2.minAreaRect(points))
            cv2.fillPoly(mask, [np.rint(corners).astype(np.int32)], 255)
        return mask
    tight = rng.random() < 0.1
    mask = (block.outline > (100 if tight else 0)).astype(np.uint8) * 255
    if not tight:
        shape = cv2.MORPH_ELLIPSE if rng.random() < 0.7 else cv2.MORPH_RECT
        reach = 2 * int(rng.integers(1, 7)) + 1
        mask = cv2.dilate(mask, cv2.getStructuringElement(shape, (reach, reach))).astype(np.uint8)
    return mask


def inside(rng: np.random.Generator, outline: NDArray[np.float32], height: int, width: int) -> Mask:
    """The inside of a balloon, up to its line or a little less."""
    mask = np.zeros((height, width), np.uint8)
    cv2.fillPoly(mask, [np.rint(outline).astype(np.int32)], 255)
    reach = 2 * int(rng.integers(2, 9)) + 1
    return cv2.erode(mask, np.ones((reach, reach), np.uint8)).astype(np.uint8)


def free_strokes(rng: np.random.Generator, height: int, width: int) -> Mask:
    """A brush, led by hand."""
    mask = np.zeros((height, width), np.uint8)
    for _ in range(int(rng.integers(1, 5))):
        thickness = int(rng.integers(4, max(6, min(height, width) // 5)))
        points = np.rint(drawing.curve(rng, height, width, rng.uniform(0.2, 0.8))).astype(np.int32)
        cv2.polylines(mask, [points], False, 255, thickness)
    return mask


def scratches(rng: np.random.Generator, height: int, width: int) -> Mask:
    """Thin objects: scratches, wires, creases, specks."""
    mask = np.zeros((height, width), np.uint8)
    for _ in range(int(rng.integers(2, 12))):
        thickness = int(rng.integers(1, 6))
        points = np.rint(drawing.curve(rng, height, width, rng.uniform(0.3, 1.5))).astype(np.int32)
        cv2.polylines(mask, [points], False, 255, thickness)
    for _ in range(int(rng.integers(0, 12))):
        x, y = rng.integers(0, width), rng.integers(0, height)
        cv2.circle(mask, (int(x), int(y)), int(rng.integers(1, 7)), 255, -1)
    return mask


def _ellipse(rng: np.random.Generator, height: int, width: int) -> Mask:
    mask = np.zeros((height, width), np.uint8)
    axes = (int(rng.uniform(0.08, 0.36) * width), int(rng.uniform(0.08, 0.36) * height))
    centre = (int(rng.uniform(0.1, 0.9) * width), int(rng.uniform(0.1, 0.9) * height))
    cv2.ellipse(mask, centre, axes, rng.uniform(0, 180), 0, 360, 255, -1)
    return mask


def _within(rng: np.random.Generator, make, height: int, width: int) -> Mask:  # type: ignore[no-untyped-def]
    """Try until the coverage fits; a small square at last, which always does."""
    for _ in range(_TRIES):
        mask: Mask = make(rng, height, width)
        if fits(mask):
            return mask
    side = min(height, width) // 4
    mask = np.zeros((height, width), np.uint8)
    mask[height // 3 : height // 3 + side, width // 3 : width // 3 + side] = 255
    return mask
