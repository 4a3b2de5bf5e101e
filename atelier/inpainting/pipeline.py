"""Inpainting of whole pictures: files in, files and reports out; the network is any function of arrays.

Source: upstream's predict.py (advimman/lama) for strategy ``page``; strategy ``regions`` follows the crop strategy
that IOPaint made common, with tiles of canonical size so that the tiles of all waiting pictures form batches.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atelier.errors import InvalidInput
from atelier.inpainting.regions import STRIP, Pixels, Plan, Tile, plan_page, plan_regions
from atelier.inpainting.settings import InpaintSettings
from atelier.media import Box, Picture, decode_mask, decode_picture, encode_picture, encoding_losses, paste
from atelier.timing import timed

Network = Callable[[Pixels, Pixels], NDArray[np.uint8]]
"""uint8 [N, H, W, 3] RGB and uint8 [N, H, W] (not 0 = hole) to uint8 [N, H, W, 3]; H and W multiples of 8."""

MAX_CALL_PIXELS = 8 * 1024 * 1024
"""Pixels of one call's batch at most: eight of the largest tiles. Large pages go alone, or memory would burst."""

LOSSLESS = ("png", "webp")


@dataclass
class InpaintJob:
    """One picture to inpaint.

    Attributes:
        picture: the decoded picture.
        mask: uint8 [H, W], not 0 = hole.
        settings: what applies.
        sources: where each setting came from, for the report.
        seconds: seconds per step.
        check: raises when nobody waits for the result any more.
    """

    picture: Picture
    mask: Pixels
    settings: InpaintSettings
    sources: Mapping[str, str] = field(default_factory=dict)
    seconds: MutableMapping[str, float] = field(default_factory=dict)
    check: Callable[[], None] = lambda: None


@dataclass
class InpaintResult:
    """The inpainted picture, the job that asked for it, and the plan that made it (without its labels)."""

    picture: Picture
    job: InpaintJob
    plan: Plan


def read_job(image: bytes, mask: bytes, settings: InpaintSettings, **facts: Any) -> InpaintJob:
    """Decode a picture and its mask.

    Args:
        image: a PNG, JPEG or WebP file.
        mask: likewise, of the same size; its grey value decides, not 0 = hole.
        settings: what applies; ``max_pixels`` limits both.
        facts: ``sources``, ``seconds`` and ``check`` of the job.

    Raises:
        InvalidInput: a file is no picture, is too large, or the sizes differ.
    """
    seconds = facts.setdefault("seconds", {})
    with timed(seconds, "decode"):
        picture = decode_picture(image, name="IMAGE", max_pixels=settings.max_pixels)
        hole = decode_mask(mask, name="MASK", max_pixels=settings.max_pixels)
    if hole.shape != (picture.height, picture.width):
        height, width = hole.shape
        raise InvalidInput(f"MASK is {width}x{height} and IMAGE {picture.width}x{picture.height}; they must be equal.")
    if settings.format == "jpeg" and picture.alpha is not None:
        raise InvalidInput("IMAGE has an alpha channel, which JPEG cannot hold; ask for FORMAT png or webp.")
    return InpaintJob(picture, hole, settings, **facts)


def inpaint(jobs: Sequence[InpaintJob], network: Network, *, max_batch: int = 8) -> list[InpaintResult | Exception]:
    """Inpaint pictures together: the tiles of all of them form the network's batches.

    Outside the mask the pixels are those of the input, bit for bit.

    Args:
        jobs: the pictures; their sizes may differ.
        network: called with batches of equal shape.
        max_batch: tiles a call at most.

    Returns:
        For each job, in order, its result or what it failed with: a job that cannot be planned, was cancelled, or had
        a tile in a call that failed does not fail the others.
    """
    works: list[_Work | Exception] = [_attempt(_Work, job) for job in jobs]
    _run(works, network, max_batch)
    return [work if isinstance(work, Exception) else _attempt(work.result) for work in works]


def write_result(result: InpaintResult, model: Mapping[str, Any]) -> tuple[bytes, str]:
    """Encode a result.

    Args:
        result: what ``inpaint`` gave.
        model: which network answered, for the report.

    Returns:
        The encoded picture, and the report as JSON.

    Raises:
        InvalidInput: the format cannot hold the picture.
    """
    job = result.job
    with timed(job.seconds, "encode"):
        data = encode_picture(result.picture, job.settings.format)
    return data, json.dumps(_report(result, model))


def _attempt(function: Callable[..., Any], *arguments: Any) -> Any:
    """What the function returns, or the exception that it raises."""
    try:
        return function(*arguments)
    except Exception as error:
        return error


class _Work:
    """A job under way: its plan, and the picture so far."""

    def __init__(self, job: InpaintJob) -> None:
        self.job = job
        with timed(job.seconds, "plan"):
            self.plan = self._make_plan()
        self._pixels: Pixels | None = None
        self._left = len(self.plan.tiles)

    def _make_plan(self) -> Plan:
        job = self.job
        if not job.mask.any():
            return Plan()
        plan = plan_page if job.settings.strategy == "page" else plan_regions
        return plan(job.picture.pixels, job.mask, job.settings, job.check)

    def cut(self, tile: Tile) -> tuple[Pixels, Pixels]:
        """The tile's input, from the picture as it came."""
        return tile.cut(self.job.picture.pixels, self.job.mask)

    def put_back(self, tile: Tile, output: Pixels) -> None:
        """Paste the pixels that the tile answers for."""
        with timed(self.job.seconds, "paste"):
            self._paste(tile.window, tile.patch(output), tile.own(self._labels))
        self._left -= 1
        if not self._left:
            self._finish()

    def result(self) -> InpaintResult:
        """What came of it, when all tiles are back."""
        if not self.plan.tiles:
            self._finish()
        picture = self.job.picture if self._pixels is None else replace(self.job.picture, pixels=self._pixels)
        return InpaintResult(picture, self.job, self.plan)

    def _finish(self) -> None:
        """Fill the flat parts, and let the labels go: the other pictures of the batch may still need memory."""
        with timed(self.job.seconds, "paste"):
            for flat in self.plan.flats:
                colour = np.broadcast_to(flat.colour, (flat.window.height, flat.window.width, 3))
                self._paste(flat.window, colour, flat.own(self._labels))
        self.plan = replace(self.plan, labels=None)

    @property
    def _labels(self) -> NDArray[Any]:
        return self.job.mask if self.plan.labels is None else self.plan.labels

    def _paste(self, window: Box, patch: Pixels, own: NDArray[np.bool_]) -> None:
        if self._pixels is None:
            self._pixels = self.job.picture.pixels.copy()
        area, feather = self._pixels[window.slices], self.job.settings.feather
        # A strip at a time: a window can be the whole picture. What a strip's weights depend on lies near it.
        rows, near = max(1, STRIP // window.width), 2 * feather
        for top in range(0, window.height, rows):
            first = max(0, top - near)
            seen, kept = slice(first, top + rows + near), slice(top - first, top - first + rows)
            part = Picture(area[seen], None, "png")
            pasted = part.with_rgb(paste(part.rgb, patch[seen], own[seen].view(np.uint8), feather))
            area[top : top + rows] = pasted.pixels[kept]


Place = tuple[int, Tile]
"""A tile, and which of the jobs it belongs to."""


def _run(works: list[_Work | Exception], network: Network, max_batch: int) -> None:
    """Call the network with all tiles; a failure takes the place of the work that it concerns."""
    waiting: dict[tuple[int, ...], list[Place]] = defaultdict(list)
    for i, work in enumerate(works):
        for tile in () if isinstance(work, Exception) else work.plan.tiles:
            waiting[tile.shape].append((i, tile))
    for (height, width), places in waiting.items():
        batch = max(1, min(max_batch, MAX_CALL_PIXELS // (height * width)))
        while places:
            places = _still_wanted(works, places)
            now, places = places[:batch], places[batch:]
            if now:
                _call(works, now, network)


def _still_wanted(works: list[_Work | Exception], places: Sequence[Place]) -> list[Place]:
    """The places whose jobs have not failed and are still waited for."""
    for i in {i for i, _ in places}:
        work = works[i]
        if isinstance(work, _Work) and (gone := _attempt(work.job.check)):
            works[i] = gone
    return [place for place in places if isinstance(works[place[0]], _Work)]


def _call(works: list[_Work | Exception], places: Sequence[Place], network: Network) -> None:
    """One call of the network; its answers are pasted at once, so that they need not be kept."""
    concerned: dict[int, _Work] = {i: work for i, _ in places if isinstance(work := works[i], _Work)}
    seconds: dict[str, float] = {}
    try:
        pairs = [concerned[i].cut(tile) for i, tile in places]
        images, masks = (np.stack(arrays) for arrays in zip(*pairs, strict=True))
        del pairs
        with timed(seconds, "network"):
            answers = network(images, masks)
        if len(answers) != len(places):
            raise ValueError(f"the network answered {len(answers)} of {len(places)} tiles")
    except Exception as error:
        works[:] = [error if i in concerned else work for i, work in enumerate(works)]
        return
    for work in concerned.values():
        work.job.seconds["network"] = work.job.seconds.get("network", 0.0) + seconds["network"]
    for (i, tile), answer in zip(places, answers, strict=True):
        if i in concerned and (failure := _attempt(concerned[i].put_back, tile, answer)):
            works[i] = failure
            del concerned[i]


def _report(result: InpaintResult, model: Mapping[str, Any]) -> dict[str, Any]:
    job, plan = result.job, result.plan
    masked = int(np.count_nonzero(job.mask))
    used = job.settings.model_dump(include={"strategy", "margin", "feather", "fill_flat", "format"})
    settings = {name: {"value": value, "source": job.sources.get(name, "request")} for name, value in used.items()}
    return {
        "strategy": job.settings.strategy,
        "width": job.picture.width,
        "height": job.picture.height,
        "masked_pixels": masked,
        "masked_share": round(masked / job.mask.size, 6),
        "tiles": [_tile_report(tile) for tile in plan.tiles],
        "flat_parts": len(plan.flats),
        "format": job.settings.format,
        "lossless": job.settings.format in LOSSLESS,
        "seconds": {step: round(value, 6) for step, value in job.seconds.items()},
        "model": dict(model),
        "settings": settings,
        "warnings": _warnings(result, masked),
    }


def _tile_report(tile: Tile) -> dict[str, Any]:
    window = tile.window
    return {
        "top": window.top,
        "left": window.left,
        "height": window.height,
        "width": window.width,
        "input": list(tile.shape),
        "scale": round(tile.scale, 6),
        "margin": tile.margin,
        "parts": tile.parts,
    }


def _warnings(result: InpaintResult, masked: int) -> list[str]:
    """What the caller did not ask for in so many words."""
    job, plan = result.job, result.plan
    warnings = []
    if masked == 0:
        warnings.append("MASK is empty: the picture is returned unchanged.")
    if masked == job.mask.size:
        warnings.append("MASK covers the whole picture: the network had nothing to go by.")
    if scaled := sum(tile.scale != 1 for tile in plan.tiles):
        warnings.append(f"{scaled} part(s) were larger than the largest tile and were inpainted at a smaller scale.")
    asked = job.settings.margin
    if less := [tile.margin for tile in plan.tiles if tile.margin is not None and tile.margin < asked]:
        warnings.append(
            f"{len(less)} tile(s) have less than the {asked} pixels of context that MARGIN asks for, {min(less)} at "
            "least: with its parts the largest tile holds no more."
        )
    if job.settings.format not in LOSSLESS:
        warnings.append(f"{job.settings.format} is lossy: pixels outside the mask differ by its rounding.")
    return warnings + encoding_losses(result.picture, job.settings.format)
