"""Windows of few sizes, so that a network sees one shape whatever the picture's is."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from atelier.media.boxes import Box
from atelier.media.padding import pad_to_size

Scalar = TypeVar("Scalar", bound=np.generic)


def window_around(box: Box, rows: int, columns: int, height: int, width: int) -> Box:
    """A window of ``rows`` x ``columns`` pixels centred on ``box``, moved inwards at the picture's borders.

    It contains the box wherever the box lies in the picture and is no larger than that. Along a dimension in which the
    picture is smaller, the window is the whole of the picture.

    Args:
        box: what the window is for, in pixels of the picture.
        rows: the window's height in pixels.
        columns: its width in pixels.
        height: the picture's height in pixels.
        width: the picture's width in pixels.

    Raises:
        ValueError: one of the four is less than 1.
    """
    if min(rows, columns, height, width) < 1:
        raise ValueError(f"sizes must be at least 1 pixel, got window {columns}x{rows}, picture {width}x{height}")
    rows, columns = min(rows, height), min(columns, width)
    top = min(max(box.top + (box.height - rows) // 2, 0), height - rows)
    left = min(max(box.left + (box.width - columns) // 2, 0), width - columns)
    return Box(top, left, rows, columns)


def cut(array: NDArray[Scalar], window: Box, rows: int, columns: int) -> NDArray[Scalar]:
    """The pixels of ``window``, padded at the bottom and right to ``rows`` x ``columns`` by ``pad_to_size``.

    Args:
        array: [H, W, ...], of any dtype.
        window: a box inside the array, of at most that size.
        rows: height of the result in pixels.
        columns: width of the result in pixels.

    Returns:
        [rows, columns, ...]; a view of ``array`` where nothing is to be padded.

    Raises:
        ValueError: the window is empty, larger than the result or not inside the array.
    """
    if not Box(0, 0, *array.shape[:2]).contains(window) or min(window.height, window.width) < 1:
        raise ValueError(f"{window} is not a window of an array of shape {array.shape}")
    if window.height > rows or window.width > columns:
        raise ValueError(f"{window} is larger than {columns}x{rows} pixels")
    return pad_to_size(array[window.slices], rows, columns)
