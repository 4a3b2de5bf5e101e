"""Pictures on their way to FLUX: the size that is worked at, the object by itself, both side by side."""

from __future__ import annotations

import math

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from atelier.compositing.jobs import Pixels

MULTIPLE = 16
"""FLUX looks at squares of 16 x 16 pixels; its pipelines floor other sizes, which would shift the picture."""

_WHITE = 255


def working_size(width: int, height: int, side: int, most: int | None = None) -> tuple[int, int]:
    """The size that a crop is worked at: its shape, as nearly as multiples of 16 allow.

    Args:
        width: of the crop, pixels.
        height: likewise.
        side: of the longer side.
        most: pixels at most; None: any number.

    Returns:
        Width and height.
    """
    scale = side / max(width, height)
    if most is not None:
        scale = min(scale, math.sqrt(most / (width * height)))
    found = [max(MULTIPLE, round(length * scale / MULTIPLE) * MULTIPLE) for length in (width, height)]
    while most is not None and found[0] * found[1] > most:  # by rounding up
        found[found.index(max(found))] -= MULTIPLE
    return found[0], found[1]


def resize(pixels: Pixels, width: int, height: int) -> Pixels:
    """A picture [H, W, 3] at another size, without aliasing."""
    if pixels.shape[:2] == (height, width):
        return pixels
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.LANCZOS))


def resize_mask(mask: Pixels, width: int, height: int) -> Pixels:
    """A mask [H, W] at another size, 0 or 255: whatever holds a pixel of the mask belongs to it."""
    covered = Image.fromarray(np.where(mask != 0, np.uint8(255), np.uint8(0)))
    return np.where(np.asarray(covered.resize((width, height), Image.Resampling.BOX)) != 0, np.uint8(255), np.uint8(0))


def flattened(picture: Pixels) -> Pixels:
    """RGB of a picture: RGBA before white, alpha not premultiplied, so that what it hides is not seen."""
    if picture.shape[2] == 3:
        return picture
    alpha = picture[..., 3:].astype(np.float32) / 255
    return np.asarray(np.rint(picture[..., :3] * alpha + _WHITE * (1 - alpha)), np.uint8)


def on_white(picture: Pixels, width: int, height: int) -> Pixels:
    """An object in the middle of a white picture, as large as fits.

    Args:
        picture: RGBA [h, w, 4], alpha not premultiplied.
        width: of the answer, pixels.
        height: likewise.

    Returns:
        RGB [height, width, 3].
    """
    flat = flattened(picture)
    scale = min(width / flat.shape[1], height / flat.shape[0])
    size = max(1, round(flat.shape[1] * scale)), max(1, round(flat.shape[0] * scale))
    left, top = (width - size[0]) // 2, (height - size[1]) // 2
    found = np.full((height, width, 3), _WHITE, np.uint8)
    found[top : top + size[1], left : left + size[0]] = resize(flat, *size)
    return found


def square(picture: Pixels) -> Pixels:
    """An object on a white square of its longer side, RGB."""
    side = max(picture.shape[:2])
    return on_white(picture, side, side)


def to_tensor(picture: Pixels) -> Tensor:
    """RGB [H, W, 3] as diffusers takes it: [1, 3, H, W] in 0..1."""
    return torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].float() / 255
