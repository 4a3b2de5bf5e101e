"""The second stage: an object out of its picture."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from atelier.compositing import checks
from atelier.compositing.choosing import Network, NetworkStage, note
from atelier.compositing.classical import cutout
from atelier.compositing.jobs import Extraction, ExtractionJob, Pixels, StageReport
from atelier.compositing.settings import ExtractorSettings, Mode
from atelier.errors import InvalidInput
from atelier.media.boxes import Box
from atelier.media.foreground import RADII, estimate_foreground
from atelier.timing import timed

HANDFUL = 5
"""Pixels that are mostly opaque which an object has at least."""

FAINT = 3
"""Alpha up to which, of 255, a pixel of a found alpha counts as background."""

POINT_REACH = 0.3
"""Half side of the square around a point that stands for a box, as a share of the reference's shorter side."""

ESTIMATED_PIXELS = 2_000_000
"""Of the copy on which the colours along the edge are estimated, at most."""


class ObjectExtractor(NetworkStage):
    """Cuts an object out: by its own alpha, with networks, or from a plain background or a box.

    Args:
        settings: of the stage.
        root: what the settings' folders are relative to.
    """

    def __init__(self, settings: ExtractorSettings, *, root: Path) -> None:
        self.settings = settings
        remover = "birefnet" if settings.background_remover == "birefnet" else "rmbg"
        self.needed = {remover: root / getattr(settings, remover)}
        self._sam2 = root / settings.sam2
        self.network = Network(
            "object extractor",
            "atelier.compositing.neural.cutout",
            lambda module: module.NeuralExtractor(self._folders(), settings),
            settings.residence,
        )

    def __call__(self, job: ExtractionJob, mode: Mode | None = None) -> Extraction:
        """Cut an object out.

        Args:
            job: the reference and where in it the object is.
            mode: as in the settings without it.

        Raises:
            InvalidInput: box or point are not in the reference, nothing is found, or it cannot be found in that mode.
        """
        mode = mode or self.settings.mode
        _check(job, self.settings.max_pixels)
        job.check()
        if job.reference.shape[2] == 4 and job.reference[..., 3].min() < 255:
            return _given(job)
        reference = np.ascontiguousarray(job.reference[..., :3])
        job = ExtractionJob(reference, job.box, job.point, job.check)
        reason = self.network.choose(mode, self.needed)
        if reason is None:
            alpha, report = self.network.use(lambda network: network(job))
        else:
            alpha, report = extract(job)
        note(report, mode, reason)
        job.check()
        with timed(report.seconds, "colours"):
            return _cut(reference, alpha, report)

    def _folders(self) -> Mapping[str, Path]:
        """Of the networks that are there, by the name of their setting."""
        return {**self.needed, **({"sam2": self._sam2} if self._sam2.is_dir() else {})}


def extract(job: ExtractionJob) -> tuple[Pixels, StageReport]:
    """Cut an object out without networks.

    Args:
        job: its reference is RGB.

    Returns:
        Alpha, uint8 [H, W], and the report.

    Raises:
        InvalidInput: the background is not plain and neither box nor point is given, or nothing is at the point.
    """
    report = StageReport("classical")
    with timed(report.seconds, "alpha"):
        alpha = cutout.plain(job.reference)
        report.facts["method"] = "plain"
        if alpha is None:
            report.facts["method"] = "grabcut"
            alpha = _by_box(job, report)
        elif job.point is not None and job.box is None:
            alpha = cutout.part_at(alpha, *job.point)
            if alpha is None:
                raise InvalidInput("REFERENCE_POINT is on the background; a point on the object is accepted.")
        if job.box is not None:
            alpha = alpha * _inside(_whole(job.box), alpha.shape)
    return np.rint(alpha * 255).astype(np.uint8), report


def _by_box(job: ExtractionJob, report: StageReport) -> NDArray[np.float32]:
    height, width = job.reference.shape[:2]
    if job.box is not None:
        box = _whole(job.box)
    elif job.point is not None:
        reach = max(4, round(POINT_REACH * min(height, width)))
        box = Box(int(job.point[1]) - reach, int(job.point[0]) - reach, 2 * reach, 2 * reach).clip(height, width)
        report.warnings.append("A square around the point stood for the box that the classical extractor needs.")
    else:
        raise InvalidInput(
            "The background of REFERENCE is not plain, and the classical extractor would give a ruin of the object; "
            "a plain background, a picture with alpha, or REFERENCE_BOX or REFERENCE_POINT is accepted."
        )
    job.check()
    alpha = cutout.grabcut(job.reference, box)
    if alpha is None:
        raise InvalidInput("REFERENCE or its box is too small to cut an object out; larger ones are accepted.")
    report.warnings.append("The background is not plain: edges of the object may be wrong.")
    return alpha


def _check(job: ExtractionJob, max_pixels: int) -> None:
    checks.picture(job.reference, "REFERENCE", max_pixels, channels=(3, 4))
    height, width = job.reference.shape[:2]
    if job.box is not None:
        checks.box(job.box, "REFERENCE_BOX", height, width)
    if job.point is not None:
        checks.point(job.point, "REFERENCE_POINT", height, width)


def _given(job: ExtractionJob) -> Extraction:
    """The reference's own alpha; its colours are the object's already."""
    report = StageReport("given", facts={"method": "alpha"})
    if job.box is not None or job.point is not None:
        report.warnings.append("The reference has an alpha, which is the object: its box and point had no effect.")
    alpha = job.reference[..., 3]
    place = _bounds(alpha, report)
    return Extraction(job.reference[place.slices].copy(), report)


def _cut(reference: Pixels, alpha: Pixels, report: StageReport) -> Extraction:
    """The object of an alpha, without the background's colours along its edge."""
    alpha = np.where(alpha > FAINT, alpha, np.uint8(0))
    place = _bounds(alpha, report)
    # With room around it: how the background looks is told from there.
    room = place.grow(RADII[0]).clip(*alpha.shape)
    colours, opacity = reference[room.slices], alpha[room.slices]
    scale = min(1.0, math.sqrt(ESTIMATED_PIXELS / room.area))
    size = (max(1, round(room.width * scale)), max(1, round(room.height * scale)))
    small = np.asarray(cv2.resize(colours, size, interpolation=cv2.INTER_AREA), np.uint8)
    weight = np.asarray(cv2.resize(opacity, size, interpolation=cv2.INTER_AREA), np.float32)
    estimated = estimate_foreground(small, np.multiply(weight, 1 / 255, dtype=np.float32))
    if scale < 1:
        estimated = np.asarray(cv2.resize(estimated, (room.width, room.height)), np.uint8)
    rgb = np.where((opacity == 255)[..., None], colours, estimated)
    inner = Box(place.top - room.top, place.left - room.left, place.height, place.width)
    return Extraction(np.dstack([rgb, opacity])[inner.slices].copy(), report)


def _bounds(alpha: Pixels, report: StageReport) -> Box:
    """Where the alpha is not 0; noted in the report.

    Raises:
        InvalidInput: hardly a pixel is opaque.
    """
    if np.count_nonzero(alpha >= 128) < HANDFUL:
        raise InvalidInput(
            "What was cut out of REFERENCE is empty; a reference that shows an object, or a box around it, is accepted."
        )
    left, top, width, height = cv2.boundingRect((alpha > 0).astype(np.uint8))
    report.facts["box"] = [left, top, left + width, top + height]
    report.facts["share"] = round(float(alpha.mean()) / 255, 6)
    return Box(top, left, height, width)


def _whole(corners: checks.Corners) -> Box:
    left, top, right, bottom = corners
    rows, columns = math.floor(top), math.floor(left)
    return Box(rows, columns, math.ceil(bottom) - rows, math.ceil(right) - columns)


def _inside(box: Box, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    mask = np.zeros(shape, bool)
    mask[box.slices] = True
    return mask
