"""The third stage: where the object goes, and what may change for it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from atelier.compositing import checks
from atelier.compositing.classical import pasting, places
from atelier.compositing.classical.light import look
from atelier.compositing.jobs import Pixels, Placement, PlacementJob, Source, StageReport
from atelier.compositing.settings import PlacementSettings
from atelier.errors import InvalidInput
from atelier.media.blending import feather
from atelier.media.boxes import Box
from atelier.media.tiling import window_around
from atelier.timing import timed

SMALLEST = 4
"""Pixels of an object's shorter side, at least."""

CLIPPED = 0.01
"""Share of the object from which a mask that cuts it off is told."""


class MaskGenerator:
    """Finds an object's place. There is no network in it.

    Args:
        settings: of the stage.
    """

    def __init__(self, settings: PlacementSettings) -> None:
        self._settings = settings

    def __call__(self, job: PlacementJob) -> Placement:
        """Place an object.

        Args:
            job: background, object, and what is known of the place. Of several facts the first wins: mask, box, point
                (with scale), the scene's box, a guess.

        Raises:
            InvalidInput: mask, box, point or scale are not possible in the background, or the object would be tiny.
        """
        _check(job, self._settings.max_pixels)
        report = StageReport("classical")
        with timed(report.seconds, "place"):
            place = _Finder(job, report).find()
        if min(place.box.height, place.box.width) < SMALLEST:
            raise InvalidInput(
                f"The object would be {place.box.width}x{place.box.height} pixels; "
                f"at least {SMALLEST} a side are accepted: a larger box, scale or background."
            )
        with timed(report.seconds, "masks"):
            cutout = pasting.resize(job.object, place.box.height, place.box.width)
            object_mask = self._object_mask(job, cutout, place.box, report)
            fill_mask = self._fill_mask(job, object_mask, place.box)
        with timed(report.seconds, "paste"):
            context = pasting.surroundings(job.background, object_mask, place.box)
            colours = pasting.matched(cutout, context, pasting.MATCHING)
            shown = object_mask[place.box.slices]
            pre_composite = pasting.blend(job.background, colours, shown, place.box)
        report.facts |= {
            "source": place.source,
            "box": _corners(place.box),
            "scale": round(place.box.height / job.background.shape[0], 6),
        }
        crop = self._crop(fill_mask, place.box)
        return Placement(place.box, crop, object_mask, fill_mask, pre_composite, place.source, report)

    def _object_mask(self, job: PlacementJob, cutout: Pixels, box: Box, report: StageReport) -> Pixels:
        """The object's alpha in the picture; with the user's mask no more of it than that shows."""
        mask = np.zeros(job.background.shape[:2], np.uint8)
        mask[box.slices] = cutout[..., 3]
        if job.mask is None:
            return mask
        before = float(mask.sum())
        weight = feather(job.mask, min(self._settings.feather, min(box.height, box.width) / 8))
        clipped = np.rint(mask * weight).astype(np.uint8)
        lost = 1 - float(mask[job.mask != 0].sum()) / before
        if not clipped.any():
            raise InvalidInput("Nothing of the object would be left in MASK; a mask that is filled in is accepted.")
        if lost > CLIPPED:
            report.warnings.append(f"MASK cuts off {lost:.0%} of the object.")
        return np.asarray(clipped)

    def _fill_mask(self, job: PlacementJob, object_mask: Pixels, box: Box) -> Pixels:
        """What may change: the user's mask as it is, or the object with a margin and room for its shadow."""
        if job.mask is not None:
            return np.where(job.mask != 0, np.uint8(255), np.uint8(0))
        reach = max(2, round(self._settings.dilation * max(box.height, box.width)))
        fill = np.zeros_like(object_mask)
        room = box.grow(reach).clip(*object_mask.shape)
        empty = (object_mask[room.slices] == 0).astype(np.uint8)
        # A dilation whose time does not grow with its reach.
        distance = cv2.distanceTransform(empty, cv2.DIST_L2, cv2.DIST_MASK_5)
        fill[room.slices] = np.where(distance <= reach, np.uint8(255), np.uint8(0))
        if self._settings.shadow:
            light = (job.scene.light if job.scene is not None else look(job.background).light).direction
            (x, y), (across, down) = places.shadow_room(box, light, self._settings.shadow)
            cv2.ellipse(fill, (round(x), round(y)), (math.ceil(across), math.ceil(down)), 0, 0, 360, 255, -1)
        return fill

    def _crop(self, fill_mask: Pixels, box: Box) -> Box:
        """Around the fill mask, square where the background allows."""
        left, top, width, height = cv2.boundingRect(fill_mask)
        seen = Box(top, left, height, width).union(box)  # the object's own rim may be transparent
        side = min(round(self._settings.crop * max(seen.height, seen.width)), *fill_mask.shape)
        return window_around(seen, max(side, seen.height), max(side, seen.width), *fill_mask.shape)


@dataclass(frozen=True)
class _Place:
    box: Box
    source: Source


class _Finder:
    """Finds the object's box; what was not used is told in the report."""

    def __init__(self, job: PlacementJob, report: StageReport) -> None:
        self._job, self._report = job, report
        self._height, self._width = job.background.shape[:2]
        rows, columns = job.object.shape[:2]
        self._aspect = columns / rows

    def find(self) -> _Place:
        job = self._job
        if job.scale is not None and (job.mask is not None or job.box is not None):
            self._report.warnings.append("SCALE had no effect: the mask or the box says how large the object is.")
        if job.mask is not None:
            left, top, width, height = cv2.boundingRect((job.mask != 0).astype(np.uint8))
            return _Place(self._fitted((left, top, left + width, top + height)), "mask")
        if job.box is not None:
            return _Place(self._fitted(job.box), "box")
        if job.point is not None:
            return _Place(self._standing(*job.point), "point")
        proposed = self._proposed()
        if proposed is not None:
            return _Place(proposed, "analysis")
        rows, columns = self._size(self._height)
        return _Place(places.calm_place(job.background, rows, columns), "heuristic")

    def _fitted(self, corners: checks.Corners) -> Box:
        """The object as large as a box allows, standing in the middle of its lower edge."""
        left, top, right, bottom = corners
        rows, columns = places.fit(self._aspect, right - left, bottom - top)
        return places.resting(rows, columns, (left + right) / 2, bottom, self._height, self._width)

    def _standing(self, x: float, y: float) -> Box:
        """The object on a point. One that would leave the picture is made smaller, as its box must be inside."""
        room = min(x, self._width - x) * 2
        rows, columns = self._size(y, room)
        wanted = self._job.scale
        if wanted is not None and rows < math.floor(wanted * self._height) - 1:
            self._report.warnings.append(
                f"At SCALE {wanted:g} the object would leave the picture: {rows / self._height:.3g} was taken."
            )
        return places.resting(rows, columns, x, y, self._height, self._width)

    def _size(self, above: float, across: float = math.inf) -> tuple[int, int]:
        """Rows and columns of the object by scale, or by the background; no more than there is room for."""
        if self._job.scale is not None:
            height, width = self._job.scale * self._height, float(self._width)
        else:
            height, width = places.HEIGHT * self._height, places.WIDTH * self._width
        return places.fit(self._aspect, min(width, across), min(height, above))

    def _proposed(self) -> Box | None:
        """The analyst's box in pixels; one that is none is told and passed over."""
        scene = self._job.scene
        if scene is None or scene.box is None:
            return None
        left, top, right, bottom = scene.box
        possible = all(math.isfinite(value) for value in scene.box) and 0 <= left < right <= 1000
        if possible and 0 <= top < bottom <= 1000:
            across, down = self._width / 1000, self._height / 1000
            box = self._fitted((left * across, top * down, right * across, bottom * down))
            if min(box.height, box.width) >= SMALLEST:
                return self._scaled(box)
        self._report.warnings.append("The box that the analyzer proposed is not possible in this picture: not used.")
        return None

    def _scaled(self, box: Box) -> Box:
        """The analyst's place, at the user's scale where one is given."""
        if self._job.scale is None:
            return box
        rows, columns = self._size(self._height)
        return places.resting(rows, columns, box.left + box.width / 2, box.bottom, self._height, self._width)


def _check(job: PlacementJob, max_pixels: int) -> None:
    checks.picture(job.background, "BACKGROUND", max_pixels)
    checks.picture(job.object, "The object", max_pixels, channels=(4,))
    if not job.object[..., 3].any():
        raise InvalidInput("The object is empty; alpha above 0 is needed somewhere.")
    height, width = job.background.shape[:2]
    if job.mask is not None:
        if job.mask.shape != (height, width):
            tall, wide = job.mask.shape[:2] if job.mask.ndim >= 2 else (0, 0)
            raise InvalidInput(f"MASK has {wide}x{tall} pixels; {width}x{height} are accepted, as BACKGROUND has.")
        if not job.mask.any():
            raise InvalidInput("MASK is empty; pixels that are not 0 say where the object shall be.")
    if job.box is not None:
        checks.box(job.box, "BOX", height, width)
    if job.point is not None:
        checks.point(job.point, "POINT", height, width)
    if job.scale is not None and not 0 < job.scale <= 1:
        raise InvalidInput(f"SCALE is {job.scale:g}; above 0 to 1 is accepted, a share of the background's height.")


def _corners(box: Box) -> list[int]:
    return [box.left, box.top, box.right, box.bottom]
