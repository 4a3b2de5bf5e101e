"""Square windows of one size, so that a network sees one shape whatever the picture's is."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from atelier.media.boxes import Box
from atelier.media.padding import pad_to_modulus

Scalar = TypeVar("Scalar", bound=np.generic)


def window_around(box: Box, size: int, height: int, width: int) -> Box:
    """A window of ``size`` x ``size`` pixels centred on ``box``, moved inwards at the picture's borders.

    It contains the box wherever the box lies in the picture and is no larger than ``size``. Along a dimension in which
    the picture is smaller than ``size``, the window is the whole of the picture.

    Args:
        box: what the window is for, in pixels of the picture.
        size: the window's side in pixels.
        height: the picture's height in pixels.
        width: the picture's width in pixels.

    Raises:
        ValueError: ``size``, ``height`` or ``width`` is less than 1.
    """
    if min(size, height, width) < 1:
        raise ValueError(f"sizes must be at least 1 pixel, got window {size}, picture {width}x{height}")
    rows, columns = min(size, height), min(size, width)
    top = min(max(box.top + (box.height - rows) // 2, 0), height - rows)
    left = min(max(box.left + (box.width - columns) // 2, 0), width - columns)
    return Box(top, left, rows, columns)


def cut(array: NDArray[Scalar], window: Box, size: int) -> NDArray[Scalar]:
    """The pixels of ``window``, padded at the bottom and right to ``size`` x ``size`` by ``pad_to_modulus``'s mirror.

    Args:
        array: [H, W, ...], of any dtype.
        window: a box inside the array, of 1 to ``size`` pixels a side.
        size: side of the result in pixels.

    Returns:
        [size, size, ...]; a view of ``array`` where nothing is to be padded.

    Raises:
        ValueError: the window is empty, larger than ``size`` or not inside the array.
    """
    if not Box(0, 0, *array.shape[:2]).contains(window) or min(window.height, window.width) < 1:
        raise ValueError(f"{window} is not a window of an array of shape {array.shape}")
    if max(window.height, window.width) > size:
        raise ValueError(f"{window} is larger than {size} pixels")
    # No side exceeds `size`, so the next multiple of `size` is `size`.
    return pad_to_modulus(array[window.slices], size)
