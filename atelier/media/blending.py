"""Putting new pixels into a hole, and nowhere else."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray


def feather(mask: NDArray[Any], radius: float) -> NDArray[np.float32]:
    """Weights that rise from a hole's border inwards.

    The weight is min(d / radius, 1), where d is the distance in pixels to the nearest pixel outside the hole: Euclidean
    in OpenCV's 5x5 approximation, 2 % off at most and five times as fast as the exact one. The picture's border is not
    a border of the hole.

    Args:
        mask: [H, W]; every value other than 0 is hole.
        radius: pixels from the hole's border to weight 1; up to 1 gives the hard mask.

    Returns:
        float32 [H, W]: exactly 0 outside the hole, greater than 0 and at most 1 in it.

    Raises:
        ValueError: ``mask`` is not [H, W] with pixels, or ``radius`` is negative.
    """
    if mask.ndim != 2 or mask.size == 0:
        raise ValueError(f"a mask [H, W] with pixels is needed, got shape {mask.shape}")
    if not radius >= 0:
        raise ValueError(f"radius must be at least 0, got {radius}")
    hole = (mask != 0).astype(np.uint8)
    if radius <= 1:
        return np.asarray(hole, np.float32)
    distance = cv2.distanceTransform(hole, cv2.DIST_L2, cv2.DIST_MASK_5)
    return np.asarray(np.minimum(distance / radius, 1), np.float32)


def paste(
    base: NDArray[np.uint8], patch: NDArray[np.uint8], mask: NDArray[Any], radius: float = 0
) -> NDArray[np.uint8]:
    """``base`` with the pixels of ``patch`` in the hole, blended along the hole's border.

    Args:
        base: uint8 [H, W, C]; stays as it is.
        patch: uint8 [H, W, C].
        mask: [H, W]; every value other than 0 is hole.
        radius: width in pixels of the blend inside the hole (see ``feather``); 0 for none.

    Returns:
        uint8 [H, W, C]: the bytes of ``base`` outside the hole, those of ``patch`` where the weight is 1, between them
        the weighted mean, rounded to nearest.

    Raises:
        ValueError: the shapes do not agree, the pictures are not uint8, or ``radius`` is negative.
    """
    if base.ndim != 3 or patch.shape != base.shape or mask.shape != base.shape[:2]:
        raise ValueError(f"shapes do not agree: base {base.shape}, patch {patch.shape}, mask {mask.shape}")
    if base.dtype != np.uint8 or patch.dtype != np.uint8:
        raise ValueError(f"uint8 pictures are needed, got base {base.dtype}, patch {patch.dtype}")
    pasted = base.copy()
    if 0 <= radius <= 1:  # the hard mask: no weights, which would take more memory than the pictures
        np.copyto(pasted, patch, where=(mask != 0)[..., None])
        return pasted
    weight = feather(mask, radius)
    np.copyto(pasted, patch, where=weight[..., None] > 0)
    band = (weight > 0) & (weight < 1)
    share = weight[band][:, None]
    pasted[band] = np.rint(base[band] * (1 - share) + patch[band] * share).astype(np.uint8)
    return pasted
