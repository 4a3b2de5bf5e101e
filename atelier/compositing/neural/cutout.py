"""The object's alpha with networks: SAM 2 says what is meant, BiRefNet or RMBG-2.0 how opaque it is."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from atelier import memory
from atelier.compositing.jobs import ExtractionJob, Pixels, StageReport
from atelier.compositing.neural.birefnet import Remover
from atelier.compositing.neural.devices import resolve
from atelier.compositing.neural.sam2 import Sam2
from atelier.compositing.settings import ExtractorSettings
from atelier.errors import InvalidInput
from atelier.media.boxes import Box
from atelier.memory import Memory
from atelier.timing import timed

_ROOM = 0.1  # around a mask's or box's bounds, as a share of their longer side, so that the remover sees a background
_SMALLEST_ROOM = 8  # pixels
_LEEWAY = 0.01  # by which the alpha may leave the mask, likewise: hair and glass do
_OPAQUE = 128
_FAINT = 3  # alpha up to which nothing hangs together
Remove = Callable[[Pixels], Pixels]
Corners = tuple[float, float, float, float]
_KEYS = {"birefnet": "birefnet", "rmbg-2.0": "rmbg"}
_NON_COMMERCIAL = "RMBG-2.0 cut the object out: its licence, CC BY-NC 4.0, is for non-commercial use alone."


class NeuralExtractor:
    """Finds alphas.

    Args:
        folders: of weights that are there: ``birefnet`` or ``rmbg``, as the settings say, and ``sam2``, without which
            a box limits what is found, and a point picks from it.
        settings: of the stage.

    Attributes:
        loaded: memory after loading, by network.

    Raises:
        CheckpointError: weights cannot be used.
        InvalidInput: the device is not there, or the remover's folder is not among those given.
    """

    def __init__(self, folders: Mapping[str, Path], settings: ExtractorSettings) -> None:
        self.device = resolve(settings.device)
        key = _KEYS[settings.background_remover]
        if key not in folders:
            raise InvalidInput(
                f"There are no weights of {settings.background_remover}, which background_remover asks for."
            )
        self._remover = Remover(folders[key], key, self.device)
        self._key = key
        self.loaded: dict[str, Memory] = dict(self._remover.loaded)
        self._sam2: Sam2 | None = None
        if "sam2" in folders:
            self._sam2 = Sam2(folders["sam2"], self.device)
            self.loaded |= self._sam2.loaded

    def __call__(self, job: ExtractionJob) -> tuple[Pixels, StageReport]:
        """Find the alpha of a reference.

        Args:
            job: its reference is RGB; without box and point, what stands out in it is the object.

        Returns:
            uint8 [H, W], and the report; its facts have ``method``, and ``overlap``, SAM 2's guess of how good its
            mask is, where it made one.

        Raises:
            InvalidInput: nothing is at the point, or in the box.
        """
        report = StageReport("neural", models={"background_remover": dict(self._remover.facts)})
        if self._key == "rmbg":
            report.warnings.append(_NON_COMMERCIAL)
        memory.reset_peak(self.device)
        job.check()
        if job.box is None and job.point is None:
            report.facts["method"] = "alone"
            with timed(report.seconds, "alpha"):
                alpha = self._remover(job.reference)
        elif self._sam2 is None:
            report.facts["method"] = "alone, limited"
            alpha = self._limited(job, report)
        else:
            report.facts["method"] = "prompted"
            alpha = self._prompted(self._sam2, job, report)
        report.memory = {name: used.as_dict() for name, used in self.loaded.items()}
        report.memory["extraction"] = memory.measure(self.device).as_dict()
        return alpha, report

    def _prompted(self, sam2: Sam2, job: ExtractionJob, report: StageReport) -> Pixels:
        report.models["prompted_segmenter"] = dict(sam2.facts)
        with timed(report.seconds, "mask"):
            mask, overlap = sam2(job.reference, job.point, job.box)
        report.facts["overlap"] = round(overlap, 4)
        job.check()
        with timed(report.seconds, "alpha"):
            alpha, agreed = alpha_in_mask(job.reference, mask, self._remover)
        if not agreed:
            report.facts["method"] = "mask"
            report.warnings.append(
                f"{self._remover.facts['name']} sees hardly anything of what SAM 2 found: the object has SAM 2's edge."
            )
        return alpha

    def _limited(self, job: ExtractionJob, report: StageReport) -> Pixels:
        with timed(report.seconds, "alpha"):
            alpha = alpha_at(job.reference, job.box, job.point, self._remover)
        warning = "There are no weights of SAM 2: the object was found by itself"
        if job.box is not None:
            warning += ", then cut to the box"
        if job.point is not None:
            warning += ", and the part at the point was taken"
        report.warnings.append(f"{warning}.")
        return alpha


def alpha_in_mask(picture: Pixels, mask: NDArray[np.bool_], remove: Remove) -> tuple[Pixels, bool]:
    """What is in a mask, with the opacity that a remover sees in the mask's surroundings.

    Args:
        picture: RGB [H, W, 3].
        mask: [H, W].
        remove: from a picture to its alpha.

    Returns:
        uint8 [H, W], and whether the remover sees at least half of the mask as an object; where it does not, the alpha
        is the mask's: what the remover holds for background is what the caller pointed at.

    Raises:
        InvalidInput: the mask is empty.
    """
    if not mask.any():
        raise InvalidInput("Nothing was found at REFERENCE_POINT or in REFERENCE_BOX; another one is accepted.")
    alpha = _in_place(picture, _surroundings(_bounds(mask), mask.shape), remove)
    if np.count_nonzero(alpha[mask] >= _OPAQUE) * 2 < np.count_nonzero(mask):
        return np.asarray(cv2.GaussianBlur(mask.astype(np.uint8) * 255, (3, 3), 0), np.uint8), False
    return np.where(_dilated(mask), alpha, np.uint8(0)), True


def alpha_at(picture: Pixels, box: Corners | None, point: tuple[float, float] | None, remove: Remove) -> Pixels:
    """What a remover sees in a box, and the part of it that is at a point.

    Args:
        picture: RGB [H, W, 3].
        box: what is seen, with some room, and what is kept; None: all.
        point: in the part that is kept; None: all parts.
        remove: from a picture to its alpha.

    Returns:
        uint8 [H, W].

    Raises:
        InvalidInput: the alpha is background at the point.
    """
    if box is None:
        alpha = remove(picture)
    else:
        kept = _whole(box).clip(*picture.shape[:2])
        seen = _in_place(picture, _surroundings(kept, picture.shape), remove)
        alpha = np.zeros_like(seen)
        alpha[kept.slices] = seen[kept.slices]
    return alpha if point is None else _part(alpha, point)


def _in_place(picture: Pixels, place: Box, remove: Remove) -> Pixels:
    alpha = np.zeros(picture.shape[:2], np.uint8)
    alpha[place.slices] = remove(np.ascontiguousarray(picture[place.slices]))
    return alpha


def _part(alpha: Pixels, point: tuple[float, float]) -> Pixels:
    """The connected part of an alpha at a point.

    Raises:
        InvalidInput: the alpha is background there.
    """
    x, y = (int(value) for value in point)
    _, parts = cv2.connectedComponents((alpha > _FAINT).astype(np.uint8), connectivity=8)
    row, column = min(y, alpha.shape[0] - 1), min(x, alpha.shape[1] - 1)
    if parts[row, column] == 0:
        raise InvalidInput("REFERENCE_POINT is on the background; a point on the object is accepted.")
    return np.where(parts == parts[row, column], alpha, np.uint8(0))


def _bounds(mask: NDArray[np.bool_]) -> Box:
    left, top, width, height = cv2.boundingRect(mask.astype(np.uint8))
    return Box(top, left, height, width)


def _surroundings(box: Box, shape: tuple[int, ...]) -> Box:
    room = max(_SMALLEST_ROOM, round(_ROOM * max(box.height, box.width)))
    return box.grow(room).clip(shape[0], shape[1])


def _dilated(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    bounds = _bounds(mask)
    radius = max(2, round(_LEEWAY * max(bounds.height, bounds.width)))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    return np.asarray(cv2.dilate(mask.astype(np.uint8), kernel), np.bool_)


def _whole(corners: Corners) -> Box:
    left, top, right, bottom = corners
    row, column = math.floor(top), math.floor(left)
    return Box(row, column, math.ceil(bottom) - row, math.ceil(right) - column)
