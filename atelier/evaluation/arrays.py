"""What the measures take: frames as arrays, checked one by one as they pass."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from atelier.errors import InvalidInput

Frame = NDArray[np.uint8]
"""[H, W, 3], RGB."""

SMALLEST = 16
"""Pixels of a side at least. OpenCV's DIS flow ends the whole process on some sizes below (64x12 is one)."""


def checked(frames: Iterable[Frame], name: str = "the video") -> Iterator[Frame]:
    """The frames as they come, each found to be one.

    Args:
        frames: uint8 RGB arrays [H, W, 3] of one size, each side `SMALLEST` pixels or more; an array [T, H, W, 3] is
            such a series too. They are read once, and one has to stay as it was until the next but one is read.
        name: what errors call them.

    Raises:
        InvalidInput: while it is read: a frame is none of that, its size is not the first one's, or there is none.
    """
    size: tuple[int, ...] | None = None
    for number, frame in enumerate(frames):
        check_frame(frame, f"frame {number} of {name}")
        size = size or frame.shape
        if frame.shape != size:
            raise InvalidInput(
                f"frame {number} of {name} is {sides(frame)} and the first one {size[1]}x{size[0]}; "
                "all frames have to be of one size."
            )
        yield frame
    if size is None:
        raise InvalidInput(f"{name} has no frames; one at least is needed.")


def check_frame(frame: Frame, name: str = "the picture") -> None:
    """Find out whether it is one.

    Raises:
        InvalidInput: it is no uint8 RGB array [H, W, 3], or a side has fewer than `SMALLEST` pixels.
    """
    if not isinstance(frame, np.ndarray) or frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
        what = f"{frame.dtype} {list(frame.shape)}" if isinstance(frame, np.ndarray) else type(frame).__name__
        raise InvalidInput(f"{name} is {what}; an RGB array of uint8 [H, W, 3] is needed.")
    if min(frame.shape[:2]) < SMALLEST:
        raise InvalidInput(f"{name} is {sides(frame)}; {SMALLEST}x{SMALLEST} pixels or more are needed.")


def check_sizes(first: Frame, second: Frame, names: str) -> None:
    """Find out whether two frames are of one size.

    Args:
        first: any frame.
        second: another.
        names: what an error calls the two.

    Raises:
        InvalidInput: they are not.
    """
    if first.shape != second.shape:
        raise InvalidInput(f"{names} are {sides(first)} and {sides(second)}; they have to be of one size.")


def sides(frame: Frame) -> str:
    """Width and height, for people."""
    return f"{frame.shape[1]}x{frame.shape[0]}"


def luma(frame: Frame) -> NDArray[np.uint8]:
    """Y of ITU-R BT.601, 0..255, [H, W]: OpenCV's grey."""
    grey: NDArray[np.uint8] = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)  # type: ignore[assignment]
    return grey
