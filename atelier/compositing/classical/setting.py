"""An object set into a picture without networks: pasted, colours matched, with a contact shadow."""

from __future__ import annotations

import cv2
import numpy as np

from atelier.compositing.classical import pasting
from atelier.compositing.classical.light import look
from atelier.compositing.classical.shadow import contact_shadow, darken
from atelier.compositing.jobs import Light, Pixels, SynthesisJob
from atelier.media.blending import feather
from atelier.media.boxes import Box

SHADOW = 0.25
"""Length of the shadow, as a share of the object's height."""

SHADOW_SIDE = 768
"""Longer side in pixels of the copy on which it is found."""

FRAME = 4
"""Pixels of margin that seamlessClone needs: it fails on a mask that touches the picture's border."""


def set_in(job: SynthesisJob) -> Pixels:
    """The crop with the object in it and its shadow under it.

    Args:
        job: its strength scales the matching of colours and the shadow: at 1 as in the pre-composite.

    Returns:
        RGB of the crop's size; outside the fill mask as the background.
    """
    place = job.placement
    crop, box = place.crop, _within(place.crop, place.box)
    ground = job.background[crop.slices]
    alpha = place.object_mask[crop.slices]
    light = job.scene.light if job.scene is not None else look(job.background).light
    reach = SHADOW * box.height
    darkness = np.multiply(_shadow(alpha, light, reach), job.strength, dtype=np.float32)
    # The shadow ends where the fill mask does, without an edge.
    darkness *= feather(place.fill_mask[crop.slices], max(2, 0.15 * reach))
    return pasting.blend(darken(ground, darkness), _colours(job), alpha[box.slices], box)


def with_poisson(job: SynthesisJob, pasted: Pixels) -> Pixels:
    """The crop of `set_in`, its object blended by `poisson` into the ground without its shadow.

    Args:
        job: as for `set_in`.
        pasted: what `set_in` gave.
    """
    crop = job.placement.crop
    cloned = poisson(job.background[crop.slices], pasted, job.placement.object_mask[crop.slices])
    solid = job.placement.object_mask[crop.slices] > 0
    return np.where(solid[..., None], cloned, pasted)


def poisson(ground: Pixels, pasted: Pixels, alpha: Pixels) -> Pixels:
    """The object's gradients in the ground's colours (Pérez et al. 2003, "Poisson Image Editing").

    Args:
        ground: RGB [h, w, 3], without the object.
        pasted: RGB [h, w, 3], with it.
        alpha: uint8 [h, w] of the object.

    Returns:
        RGB [h, w, 3]: as the ground where alpha is 0.
    """
    solid = np.where(alpha > 0, np.uint8(255), np.uint8(0))
    left, top, width, height = cv2.boundingRect(solid)
    under, over = (
        cv2.copyMakeBorder(picture, FRAME, FRAME, FRAME, FRAME, cv2.BORDER_REPLICATE) for picture in (ground, pasted)
    )
    mask = cv2.copyMakeBorder(solid, FRAME, FRAME, FRAME, FRAME, cv2.BORDER_CONSTANT, value=0)
    # It centres the mask's bounding rectangle, not the picture, on the point.
    middle = (FRAME + left + width // 2, FRAME + top + height // 2)
    cloned = cv2.seamlessClone(over, under, mask, middle, cv2.NORMAL_CLONE)[FRAME:-FRAME, FRAME:-FRAME]
    return np.where(solid[..., None] > 0, cloned, ground).astype(np.uint8)


def _shadow(alpha: Pixels, light: Light, reach: float) -> pasting.Floats:
    """The contact shadow, found on a small copy: it is blurred, and wide blurs of large pictures take long."""
    height, width = alpha.shape
    scale = min(1.0, SHADOW_SIDE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = np.asarray(cv2.resize(alpha, size, interpolation=cv2.INTER_AREA), np.uint8) if scale < 1 else alpha
    if not small.any():  # an object that is nothing in the copy
        return np.zeros(alpha.shape, np.float32)
    darkness = contact_shadow(small, light, reach * scale)
    return np.asarray(cv2.resize(darkness, (width, height)), np.float32) if scale < 1 else darkness


def _colours(job: SynthesisJob) -> pasting.Floats:
    """The object's colours: its own at strength 0, matched as in the pre-composite at 1."""
    place = job.placement
    cutout = pasting.resize(job.object, place.box.height, place.box.width)
    context = pasting.surroundings(job.background, place.object_mask, place.box)
    return pasting.matched(cutout, context, pasting.MATCHING * job.strength)


def _within(crop: Box, box: Box) -> Box:
    return Box(box.top - crop.top, box.left - crop.left, box.height, box.width)
