"""Motion between neighbouring frames, and what of the picture does not follow it.

The flow is OpenCV's DIS (Kroeger et al. 2016, "Fast Optical Flow using Dense Inverse Search"), both ways. A pixel
counts as followed where the two agree: |f + b|² < 0.01 (|f|² + |b|²) + 0.5, with b taken where f leads, as Sundaram,
Brox and Keutzer 2010 have it ("Dense Point Trajectories by GPU-Accelerated Large Displacement Optical Flow"), and where
f does not lead out of the frame. The warping error is that of Lai et al. 2018, "Learning Blind Video Temporal
Consistency".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from atelier.evaluation.arrays import Frame, luma

Flow = NDArray[np.float32]
"""[H, W, 2]: by how many pixels to the right and down."""


@dataclass(frozen=True)
class Motion:
    """Of one pair of neighbouring frames.

    Attributes:
        magnitude: mean length of the flow over all pixels, pixels.
        error: mean squared difference, over followed pixels and the channels, between a frame and the next one brought
            back along the flow; levels are 0..1, and it is times 1000. None where no pixel was followed.
        lost: the share of the pixels that were not followed.
    """

    magnitude: float
    error: float | None
    lost: float


def motion(frame: Frame, following: Frame) -> Motion:
    """Motion from a frame to the next: half a second of one CPU core at 1280x704, most of what a video's measures take.

    Args:
        frame: uint8 RGB [H, W, 3], `SMALLEST` pixels a side or more.
        following: likewise, of the same size.
    """
    flow, back = both_flows(frame, following)
    followed = consistent(flow, back)
    squares = _squared(_fetched(following, flow) - frame)[followed]
    error = float(squares.mean(dtype=np.float64)) / (3 * 255**2) * 1e3 if squares.size else None
    return Motion(float(np.sqrt(_squared(flow)).mean(dtype=np.float64)), error, 1 - float(followed.mean()))


def both_flows(frame: Frame, following: Frame) -> tuple[Flow, Flow]:
    """The flow from a frame to the next, and the one back."""
    dis: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    here, there = luma(frame), luma(following)
    # None: DIS otherwise starts from what lies in the array that it is given.
    return dis.calc(here, there, None), dis.calc(there, here, None)


def consistent(flow: Flow, back: Flow) -> NDArray[np.bool_]:
    """Where the flow back leads to where the flow came from, and the flow stays inside.

    Args:
        flow: [H, W, 2].
        back: likewise.

    Returns:
        [H, W].
    """
    returned = _fetched(back, flow)
    apart = _squared(flow + returned)
    allowed = 0.01 * (_squared(flow) + _squared(returned)) + 0.5
    height, width = apart.shape
    columns, rows = np.moveaxis(_targets(flow), 2, 0)
    inside = (columns >= 0) & (columns <= width - 1) & (rows >= 0) & (rows <= height - 1)
    followed: NDArray[np.bool_] = (apart < allowed) & inside
    return followed


def _squared(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Squared lengths over the last axis."""
    lengths: NDArray[np.float32] = np.einsum("hwc,hwc->hw", vectors, vectors)
    return lengths


def _targets(flow: Flow) -> Flow:
    """[H, W, 2]: the column and the row where each pixel is led to."""
    rows, columns = np.mgrid[: flow.shape[0], : flow.shape[1]]
    return flow + np.stack([columns, rows], axis=2).astype(np.float32)


def _fetched(plane: NDArray[np.uint8] | Flow, flow: Flow) -> NDArray[np.float32]:
    """What lies where the flow leads, between pixels by their distances."""
    values, targets = plane.astype(np.float32), _targets(flow)
    found = cv2.remap(values, targets, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]
    return np.asarray(found, np.float32)
