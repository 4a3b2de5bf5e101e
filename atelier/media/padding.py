"""Padding to the sizes that a network takes."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Scalar = TypeVar("Scalar", bound=np.generic)


def pad_to_modulus(array: NDArray[Scalar], modulus: int) -> NDArray[Scalar]:
    """Pad at the bottom and at the right to the next multiple of ``modulus``.

    The new pixels mirror the picture, its last row and column included (numpy's ``symmetric``), as upstream LaMa does
    it: ``pad_img_to_modulo`` in saicinpainting/evaluation/data.py.

    Args:
        array: [H, W, ...], of any dtype.
        modulus: what height and width become a multiple of, in pixels.

    Returns:
        [H', W', ...] with H' >= H and W' >= W; ``array`` itself, not a copy, where nothing is to be added.

    Raises:
        ValueError: ``modulus`` is less than 1, or ``array`` has no pixels.
    """
    if modulus < 1:
        raise ValueError(f"modulus must be at least 1, got {modulus}")
    if array.ndim < 2 or array.size == 0:
        raise ValueError(f"an array [H, W, ...] with pixels is needed, got shape {array.shape}")
    return pad_to_size(array, *(-(-length // modulus) * modulus for length in array.shape[:2]))


def pad_to_size(array: NDArray[Scalar], height: int, width: int) -> NDArray[Scalar]:
    """Pad at the bottom and at the right to a size, with the same mirror.

    Args:
        array: [H, W, ...], of any dtype.
        height: of the result in pixels.
        width: of the result in pixels.

    Returns:
        [height, width, ...]; ``array`` itself, not a copy, where nothing is to be added.

    Raises:
        ValueError: ``array`` is higher or wider.
    """
    below, right = height - array.shape[0], width - array.shape[1]
    if min(below, right) < 0:
        raise ValueError(f"an array of {width}x{height} at most is needed, got shape {array.shape}")
    if below == right == 0:
        return array
    return np.pad(array, [(0, below), (0, right)] + [(0, 0)] * (array.ndim - 2), mode="symmetric")
