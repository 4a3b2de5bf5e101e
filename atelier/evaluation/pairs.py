"""How far two videos, or two pictures, are apart. None of it says which one is better, unless one is the truth.

PSNR is 10 log10(255² / mean squared difference) over all three channels. SSIM is Wang, Bovik, Sheikh and Simoncelli
2004, "Image quality assessment", on luma, as scikit-image computes it in windows of 7 x 7. GMSD is Xue, Zhang, Mou and
Bovik 2014, "Gradient Magnitude Similarity Deviation", on luma.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from itertools import zip_longest
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.metrics import structural_similarity

from atelier.errors import InvalidInput
from atelier.evaluation.arrays import Frame, check_frame, check_sizes, checked, luma

CAP = 100.0
"""dB at most: equal frames would have infinitely many, which no mean and no JSON can hold."""

GMSD_CONSTANT = 170.0
"""T of GMSD's paper, for levels 0..255."""


def pair_metrics(first: Iterable[Frame], second: Iterable[Frame]) -> dict[str, float]:
    """All distances between two videos. One pass; two frames are held at a time.

    Args:
        first: uint8 RGB frames [H, W, 3], or an array [T, H, W, 3].
        second: likewise, as many and of the same size.

    Returns:
        ``psnr`` in dB, from the mean squared difference of all frames: a mean of frames' PSNRs would be high where a
        few are equal. ``ssim``, ``mean_absolute_difference`` in levels and ``gmsd``, means over the frames. And
        ``equal_frames``, the share of the frames that are equal in every value: 1 where the two videos show the same.

    Raises:
        InvalidInput: a frame is none, the sizes differ, or there are more frames in one.
    """
    squares: list[float] = []
    values: list[dict[str, float]] = []
    both = zip_longest(checked(first, "the first video"), checked(second, "the second video"))
    for number, (frame, other) in enumerate(both):
        if frame is None or other is None:
            longer = "second" if frame is None else "first"
            raise InvalidInput(
                f"the {longer} video has more than the {number} frames of the other; "
                "two videos with equally many frames are needed."
            )
        check_sizes(frame, other, "the frames of the first and of the second video")
        squares.append(_mean_squared_difference(frame, other))
        values.append(
            {
                "ssim": ssim(frame, other),
                "mean_absolute_difference": mean_absolute_difference(frame, other),
                "gmsd": gmsd(frame, other),
                "equal_frames": float(np.array_equal(frame, other)),
            }
        )
    means = {name: float(np.mean([value[name] for value in values])) for name in values[0]}
    return {"psnr": _decibels(float(np.mean(squares)))} | means


def first_frame_metrics(picture: Frame, frame: Frame) -> dict[str, float]:
    """How faithful the start of a video is to the picture that it was made from.

    Args:
        picture: uint8 RGB [H, W, 3], scaled and cut to the video's size as the pipeline does it.
        frame: the video's first.

    Returns:
        ``first_frame_psnr`` in dB and ``first_frame_ssim``.

    Raises:
        InvalidInput: one is no frame, or the sizes differ.
    """
    check_frame(picture, "the given picture")
    check_frame(frame, "the first frame")
    check_sizes(picture, frame, "the given picture and the first frame")
    return {"first_frame_psnr": psnr(picture, frame), "first_frame_ssim": ssim(picture, frame)}


def psnr(first: Frame, second: Frame) -> float:
    """Of two frames of one size, dB, `CAP` at most."""
    return _decibels(_mean_squared_difference(first, second))


def ssim(first: Frame, second: Frame) -> float:
    """Of two frames of one size, -1..1; 1 where their luma is equal."""
    return float(structural_similarity(luma(first), luma(second), data_range=255))  # type: ignore[no-untyped-call]


def mean_absolute_difference(first: Frame, second: Frame) -> float:
    """Of two frames of one size, levels 0..255."""
    return float(cv2.absdiff(first, second).mean())


def gmsd(first: Frame, second: Frame) -> float:
    """Of two frames of one size; 0 where their edges are equal, seldom above 0.35.

    Luma is averaged over 2 x 2 pixels first, as the paper does it; a last odd row or column is left out, and values
    past the border are those at it.
    """
    one, two = _edges(first), _edges(second)
    similarity = (2 * one * two + GMSD_CONSTANT) / (one**2 + two**2 + GMSD_CONSTANT)
    return float(similarity.std())


def _mean_squared_difference(first: Frame, second: Frame) -> float:
    return float(np.square(first.astype(np.float32) - second).mean(dtype=np.float64))


def _decibels(error: float) -> float:
    return min(CAP, 10 * math.log10(255**2 / error)) if error else CAP


def _edges(frame: Frame) -> NDArray[np.float64]:
    """The gradient's size by Prewitt's operator, at half the size."""
    height, width = frame.shape[0] // 2, frame.shape[1] // 2
    plane = luma(frame)[: 2 * height, : 2 * width].astype(np.float64).reshape(height, 2, width, 2).mean(axis=(1, 3))
    prewitt = np.outer(np.ones(3), [1.0, 0.0, -1.0]) / 3
    across, down = (cv2.filter2D(plane, -1, k, borderType=cv2.BORDER_REPLICATE) for k in (prewitt, prewitt.T))
    size: NDArray[np.float64] = np.hypot(across, down)
    return size


def file_digest(file: Path) -> str:
    """SHA-256 of a file's bytes: two files are the same where theirs are.

    ``filecmp`` is not used: it takes a file that was written again within its time stamp's unit for unchanged.

    Raises:
        InvalidInput: there is no such file.
    """
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except (FileNotFoundError, IsADirectoryError):
        raise InvalidInput(f"{file.name} is no file; its digest is needed to compare it.") from None
