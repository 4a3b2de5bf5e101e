"""Errors of an alpha against the true one: MAD, MSE, Grad, dtSSD and Conn, in the units of the matting literature.

Sources: Rhemann et al. 2009, "A Perceptually Motivated Online Benchmark for Image Matting" (Grad, Conn); Erofeev et al.
2015, "Perceptually Motivated Benchmark for Video Matting" (dtSSD); scales and constants as Robust Video Matting's
evaluation has them (Lin et al. 2021, arXiv 2108.11515), which later work repeats.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from atelier.errors import InvalidInput

Alpha = NDArray[np.floating]

SIGMA = 1.4
"""Of Grad's Gaussian, pixels."""
STEP, TOLERATED = 0.1, 0.15
"""Conn's levels of alpha, and the distance below which a pixel counts as connected."""


@dataclass(frozen=True)
class AlphaErrors:
    """Errors of a clip; 0 is none.

    Attributes:
        mad: mean absolute difference, times 1000.
        mse: mean squared difference, times 1000.
        grad: squared differences of gradients' sizes, summed over a frame, divided by 1000, averaged over frames.
        dtssd: root of the mean squared difference of changes from frame to frame, times 100, averaged over them; NaN
            for one frame.
        conn: differences of connectedness, summed over a frame, divided by 1000, averaged over frames.
    """

    mad: float
    mse: float
    grad: float
    dtssd: float
    conn: float


def alpha_errors(alpha: Alpha, truth: Alpha) -> AlphaErrors:
    """All five.

    Args:
        alpha: [T, H, W] in 0..1.
        truth: likewise.

    Raises:
        InvalidInput: the shapes differ or are not [T, H, W], or a value is outside 0..1.
    """
    if alpha.shape != truth.shape or alpha.ndim != 3 or not alpha.size:
        raise InvalidInput(
            f"alpha is {list(alpha.shape)} and truth {list(truth.shape)}; two equal [T, H, W] are needed."
        )
    for name, values in (("alpha", alpha), ("truth", truth)):
        if not (values.min() >= 0 and values.max() <= 1):
            raise InvalidInput(f"{name} holds values outside 0 to 1.")
    pairs = list(zip(alpha.astype(np.float64), truth.astype(np.float64), strict=True))

    def over_frames(error: Callable[[NDArray[np.float64], NDArray[np.float64]], float]) -> float:
        return float(np.mean([error(*pair) for pair in pairs]))

    return AlphaErrors(
        mad=over_frames(lambda a, t: float(np.abs(a - t).mean())) * 1e3,
        mse=over_frames(lambda a, t: float(np.square(a - t).mean())) * 1e3,
        grad=over_frames(gradient_error),
        dtssd=_temporal_error(alpha, truth),
        conn=over_frames(connectivity_error),
    )


def gradient_error(alpha: NDArray[np.float64], truth: NDArray[np.float64]) -> float:
    """Grad of one frame [H, W]."""
    return float(np.square(_gradient(alpha) - _gradient(truth)).sum()) / 1e3


def _gradient(plane: NDArray[np.float64]) -> NDArray[np.float64]:
    """The gradient's size, by derivatives of a Gaussian whose squares sum to 1."""
    half = math.ceil(SIGMA * math.sqrt(-2 * math.log(math.sqrt(2 * math.pi) * SIGMA * 1e-2)))
    x = np.arange(-half, half + 1, dtype=np.float64)
    gaussian = np.exp(-(x**2) / (2 * SIGMA**2)) / (SIGMA * math.sqrt(2 * math.pi))
    kernel = np.outer(gaussian, -x * gaussian / SIGMA**2)
    kernel /= np.sqrt(np.square(kernel).sum())
    across, down = (cv2.filter2D(plane, -1, k, borderType=cv2.BORDER_REPLICATE) for k in (kernel, kernel.T))
    size: NDArray[np.float64] = np.hypot(across, down)
    return size


def _temporal_error(alpha: Alpha, truth: Alpha) -> float:
    """DtSSD of a clip [T, H, W]."""
    if len(alpha) < 2:
        return math.nan
    changes = np.diff(alpha.astype(np.float64), axis=0) - np.diff(truth.astype(np.float64), axis=0)
    return float(np.sqrt(np.square(changes).mean(axis=(1, 2))).mean()) * 1e2


def connectivity_error(alpha: NDArray[np.float64], truth: NDArray[np.float64]) -> float:
    """Conn of one frame [H, W]: how far pixels are above the level up to which they are part of the subject."""
    levels = np.arange(0, 1 + STEP, STEP)
    reached = np.full(alpha.shape, -1.0)
    for below, level in pairwise(levels):
        largest = _largest_part((alpha >= level) & (truth >= level))
        reached[(reached < 0) & ~largest] = below
    reached[reached < 0] = 1.0
    return float(np.abs(_connectedness(alpha - reached) - _connectedness(truth - reached)).sum()) / 1e3


def _connectedness(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1 - distance * (distance >= TOLERATED)


def _largest_part(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=4)
    if count < 2:
        return np.zeros_like(mask)
    part: NDArray[np.bool_] = labels == 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    return part
