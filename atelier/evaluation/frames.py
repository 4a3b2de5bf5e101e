"""Measures of one video that need neither weights nor a second video, in one pass.

What each value means, which side is better and where it comes from is said in `describing`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from atelier.evaluation.arrays import Frame, check_frame, checked, luma
from atelier.evaluation.motion import Motion, motion
from atelier.evaluation.pairs import first_frame_metrics, mean_absolute_difference

GRID, CELL = 32, 8
"""Cells a side at most, and pixels of a cell's side at least, into which luma is averaged to tell whether a frame
repeats another: fewer pixels would not average a codec's errors away, and codecs keep colour at half the size."""
ALIKE = 1.0
"""Levels by which a cell of two frames that show the same may differ. Measured at 640x352 through H.264: stills differ
by 0.4 at CRF 12 and 0.8 at CRF 28; a disc of 6 pixels' radius that moves on a still, by 2.9; a pan by 0.1 pixels a
frame, by 0.9 to 2; a loop comes back to 0.6 at CRF 12, 0.8 at 18 and 1.4 at 23."""

BLACK_LEVEL, BLACK_SHARE = 0.1 * 255, 0.98
"""A frame is black where this share of its pixels has no more luma than this: FFmpeg's ``blackdetect``."""

NEIGHBOURS = (
    "temporal_flicker",
    "warping_error",
    "lost_share",
    "motion_magnitude",
    "motion_relative",
    "frozen_share",
    "duplicate_share",
)
"""Values that need two frames."""


def video_metrics(frames: Iterable[Frame], picture: Frame | None = None) -> dict[str, float | None]:
    """All measures of a video.

    One pass; two frames are held at a time, and 4 KiB of each earlier one.

    Args:
        frames: uint8 RGB [H, W, 3] of one size, 16 pixels a side or more, or an array [T, H, W, 3].
        picture: what the video was made from, where it was: of the same size, cut as the pipeline cuts it. It adds
            ``first_frame_psnr`` and ``first_frame_ssim``.

    Returns:
        By name as in `describing`: the values of `frame_metrics`, their means over the frames, ``black_share``, and
        those of `NEIGHBOURS`, which are None for a video of one frame. ``warping_error`` is None too where no pixel
        of any frame could be followed.

    Raises:
        InvalidInput: a frame is none, sizes differ, or there is no frame.
    """
    singles: list[dict[str, float]] = []
    differences: list[float] = []
    motions: list[Motion] = []
    repeats = _Repeats()
    first: dict[str, float] = {}
    previous = None
    for frame in checked(frames):
        if previous is not None:
            differences.append(mean_absolute_difference(previous, frame))
            motions.append(motion(previous, frame))
        elif picture is not None:
            first = first_frame_metrics(picture, frame)
        singles.append(frame_metrics(frame) | {"black_share": float(is_black(frame))})
        repeats.add(frame)
        previous = frame
    means: dict[str, float | None] = {name: float(np.mean([one[name] for one in singles])) for name in singles[0]}
    if previous is None or not motions:
        return means | dict.fromkeys(NEIGHBOURS) | first
    flicker = {"temporal_flicker": (255 - float(np.mean(differences))) / 255}
    return means | flicker | _motion_metrics(motions, math.hypot(*previous.shape[:2])) | repeats.shares() | first


def frame_metrics(frame: Frame) -> dict[str, float]:
    """The measures of a single frame, or of a picture.

    Args:
        frame: uint8 RGB [H, W, 3], 16 pixels a side or more.

    Returns:
        ``sharpness_laplacian``, ``sharpness_tenengrad``, ``noise_sigma``, ``lightness_mean``, ``lightness_std``,
        ``colourfulness``, ``clipped_share``.

    Raises:
        InvalidInput: it is no such frame.
    """
    check_frame(frame)
    grey = luma(frame)
    lightness = cv2.cvtColor(frame.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)[..., 0]
    return {
        "sharpness_laplacian": sharpness_laplacian(grey),
        "sharpness_tenengrad": sharpness_tenengrad(grey),
        "noise_sigma": noise_sigma(grey),
        "lightness_mean": float(lightness.mean(dtype=np.float64)),
        "lightness_std": float(lightness.std(dtype=np.float64)),
        "colourfulness": colourfulness(frame),
        "clipped_share": float(((frame == 0) | (frame == 255)).mean()),
    }


def sharpness_laplacian(grey: NDArray[np.uint8]) -> float:
    """Variance of the Laplacian of luma [H, W] (Pech-Pacheco et al. 2000, "Diatom Autofocusing").

    The kernel is [[0, 1, 0], [1, -4, 1], [0, 1, 0]].
    """
    return float(cv2.Laplacian(grey, cv2.CV_64F).var())


def sharpness_tenengrad(grey: NDArray[np.uint8]) -> float:
    """Mean squared size of Sobel's gradient of luma [H, W] (Krotkov 1987, "Focusing", after Tenenbaum 1970)."""
    across, down = (cv2.Sobel(grey, cv2.CV_64F, *order) for order in ((1, 0), (0, 1)))
    return float((np.square(across) + np.square(down)).mean())


def noise_sigma(grey: NDArray[np.uint8]) -> float:
    """Standard deviation of the noise in luma [H, W], levels (Immerkær 1996, "Fast Noise Variance Estimation")."""
    kernel = np.outer([1.0, -2.0, 1.0], [1.0, -2.0, 1.0])
    inner = cv2.filter2D(grey, cv2.CV_64F, kernel)[1:-1, 1:-1]
    return math.sqrt(math.pi / 2) * float(np.abs(inner).mean()) / 6


def colourfulness(frame: Frame) -> float:
    """M of Hasler and Süsstrunk 2003, "Measuring Colourfulness in Natural Images"; 0 is grey, above 80 a great deal."""
    red, green, blue = np.moveaxis(frame.astype(np.float64), 2, 0)
    one, other = red - green, (red + green) / 2 - blue
    return math.hypot(one.std(), other.std()) + 0.3 * math.hypot(one.mean(), other.mean())


def is_black(frame: Frame) -> bool:
    """Whether `BLACK_SHARE` of the pixels have `BLACK_LEVEL` of luma at most."""
    return bool((luma(frame) <= BLACK_LEVEL).mean() >= BLACK_SHARE)


def _motion_metrics(motions: Sequence[Motion], diagonal: float) -> dict[str, float | None]:
    magnitude = float(np.mean([one.magnitude for one in motions]))
    errors = [one.error for one in motions if one.error is not None]
    return {
        "warping_error": float(np.mean(errors)) if errors else None,
        "lost_share": float(np.mean([one.lost for one in motions])),
        "motion_magnitude": magnitude,
        "motion_relative": 100 * magnitude / diagonal,
    }


class _Repeats:
    """Which frames show what an earlier one showed: all cells of a coarse grid of luma alike.

    Equal bytes would be a plainer test, but no codec gives a repeated frame back with equal bytes.
    """

    def __init__(self) -> None:
        self._earlier: list[NDArray[np.float32]] = []
        self._frozen = self._duplicate = 0

    def add(self, frame: Frame) -> None:
        size = min(GRID, frame.shape[1] // CELL), min(GRID, frame.shape[0] // CELL)
        cells = np.asarray(cv2.resize(luma(frame).astype(np.float32), size, interpolation=cv2.INTER_AREA), np.float32)
        if self._earlier and _alike(cells, self._earlier[-1]):
            self._frozen += 1
        elif any(_alike(cells, other) for other in self._earlier[:-1]):
            self._duplicate += 1
        self._earlier.append(cells)

    def shares(self) -> dict[str, float | None]:
        """Of the frames after the first."""
        pairs = len(self._earlier) - 1
        return {"frozen_share": self._frozen / pairs, "duplicate_share": self._duplicate / pairs}


def _alike(cells: NDArray[np.float32], others: NDArray[np.float32]) -> bool:
    return bool(np.abs(cells - others).max() < ALIKE)
