"""Cut-outs resized and set into pictures."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from atelier.compositing.classical.colour import match, to_lab, to_rgb
from atelier.compositing.jobs import Pixels
from atelier.media.boxes import Box

Floats = NDArray[np.float32]

MATCHING = 0.6
"""How far an object's colours go towards its surroundings'."""

RING = 0.25
"""Width of the surroundings whose colours count, as a share of the object's longer side."""


def resize(cutout: Pixels, height: int, width: int) -> Pixels:
    """A cut-out in another size, resampled premultiplied: what alpha hides does not bleed into the edge.

    Args:
        cutout: RGBA [h, w, 4], alpha not premultiplied.
        height: in pixels.
        width: in pixels.

    Returns:
        RGBA [height, width, 4], alpha not premultiplied.
    """
    if cutout.shape[:2] == (height, width):
        return cutout
    alpha = cutout[..., 3:].astype(np.float32) / 255
    premultiplied = np.concatenate([cutout[..., :3] * alpha, alpha], axis=2, dtype=np.float32)
    smaller = height * width < cutout.shape[0] * cutout.shape[1]
    method = cv2.INTER_AREA if smaller else cv2.INTER_CUBIC
    resized = cv2.resize(premultiplied, (width, height), interpolation=method)
    alpha = np.clip(resized[..., 3:], 0, 1)
    colours = np.clip(resized[..., :3] / np.maximum(alpha, 1 / 510), 0, 255)
    return np.asarray(np.rint(np.concatenate([colours, alpha * 255], axis=2)), np.uint8)


def surroundings(background: Pixels, object_mask: Pixels, box: Box) -> Floats:
    """Lab of the ring around an object, float32 [N, 3]; empty where the object covers all there is.

    Args:
        background: uint8 [H, W, 3].
        object_mask: uint8 [H, W].
        box: of the object.
    """
    reach = max(2, round(RING * max(box.height, box.width)))
    room = box.grow(reach).clip(*object_mask.shape)
    ring = object_mask[room.slices] == 0
    step = max(1, int(np.sqrt(room.area / 500_000)))  # a mean needs no more
    return np.asarray(to_lab(background[room.slices][::step, ::step])[ring[::step, ::step]])


def matched(cutout: Pixels, context: Floats, strength: float) -> Floats:
    """A cut-out's colours, moved towards those of its surroundings: float32 [h, w, 3] in 0..255."""
    weight = np.multiply(cutout[..., 3], 1 / 255, dtype=np.float32)
    if not weight.any():
        return cutout[..., :3].astype(np.float32)
    return to_rgb(match(to_lab(cutout[..., :3]), weight, context, strength))


def blend(background: Pixels, colours: Floats, alpha: NDArray[np.uint8], box: Box) -> Pixels:
    """A copy of a background with colours before it.

    Args:
        background: uint8 [H, W, 3].
        colours: float32 [h, w, 3] in 0..255, not premultiplied.
        alpha: uint8 [h, w].
        box: h x w, inside the background.
    """
    picture = background.copy()
    weight = alpha[..., None].astype(np.float32) / 255
    under = picture[box.slices]
    picture[box.slices] = np.rint(colours * weight + under * (1 - weight)).astype(np.uint8)
    return picture
