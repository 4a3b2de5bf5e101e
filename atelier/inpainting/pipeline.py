"""Inpainting of whole pictures: files in, files and reports out; the network is any function of arrays.

Source: upstream's predict.py (advimman/lama) for strategy ``page``; strategy ``regions`` follows the crop strategy
that IOPaint made common, with tiles of canonical size so that the tiles of all waiting pictures form batches.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atelier.errors import InvalidInput
from atelier.inpainting.regions import Pixels, Plan, Tile, plan_page, plan_regions
from atelier.inpainting.settings import InpaintSettings
from atelier.media import Picture, decode_mask, decode_picture, encode_picture, paste
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
    """The inpainted picture, the job that asked for it, and the plan that made it."""

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
    outcomes: list[Any] = [_attempt(_plan, job) for job in jobs]
    outputs = _run(jobs, outcomes, network, max_batch)
    for i, job in enumerate(jobs):
        if isinstance(outcomes[i], Plan):
            outcomes[i] = _finish(job, outcomes[i], outputs[i])
    return outcomes


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


def _attempt(function: Callable[[InpaintJob], Any], job: InpaintJob) -> Any:
    try:
        return function(job)
    except Exception as error:
        return error


def _plan(job: InpaintJob) -> Plan:
    with timed(job.seconds, "plan"):
        if not job.mask.any():
            return Plan(())
        plan = plan_page if job.settings.strategy == "page" else plan_regions
        return plan(job.picture.rgb, job.mask, job.settings)


def _run(jobs: Sequence[InpaintJob], outcomes: list[Any], network: Network, max_batch: int) -> list[list[Pixels]]:
    """Call the network with all tiles; a failure replaces the plans of the jobs that it concerns."""
    outputs: list[list[Any]] = [[None] * len(o.tiles) if isinstance(o, Plan) else [] for o in outcomes]
    waiting: dict[tuple[int, ...], list[tuple[int, int]]] = defaultdict(list)
    for i, plan in enumerate(outcomes):
        for t, tile in enumerate(plan.tiles if isinstance(plan, Plan) else ()):
            waiting[tile.mask.shape].append((i, t))
    for (height, width), places in waiting.items():
        batch = max(1, min(max_batch, MAX_CALL_PIXELS // (height * width)))
        while places:
            for i in {i for i, _ in places}:
                if isinstance(outcomes[i], Plan) and (gone := _attempt(lambda job: job.check(), jobs[i])):
                    outcomes[i] = gone
            places = [place for place in places if isinstance(outcomes[place[0]], Plan)]
            now, places = places[:batch], places[batch:]
            if now:
                _call(jobs, outcomes, outputs, now, network)
    return outputs


def _call(
    jobs: Sequence[InpaintJob],
    outcomes: list[Any],
    outputs: list[list[Pixels]],
    places: Sequence[tuple[int, int]],
    network: Network,
) -> None:
    """One call of the network, for the tiles at ``places`` (job, tile)."""
    tiles: list[Tile] = [outcomes[i].tiles[t] for i, t in places]
    seconds: dict[str, float] = {}
    try:
        with timed(seconds, "network"):
            answers = network(np.stack([tile.image for tile in tiles]), np.stack([tile.mask for tile in tiles]))
        for (i, t), answer in zip(places, answers, strict=True):
            # A view would keep the whole batch, and on the server it would point into memory that is given back.
            outputs[i][t] = answer.copy()
    except Exception as error:
        for i, _ in places:
            outcomes[i] = error
    for i in {i for i, _ in places}:
        jobs[i].seconds["network"] = jobs[i].seconds.get("network", 0.0) + seconds["network"]


def _finish(job: InpaintJob, plan: Plan, outputs: Sequence[Pixels]) -> InpaintResult:
    """Paste the tiles' own pixels and the flat parts into the picture."""
    with timed(job.seconds, "paste"):
        if not plan.tiles and not plan.flats:
            return InpaintResult(job.picture, job, plan)
        canvas = job.picture.rgb.copy()
        for tile, output in zip(plan.tiles, outputs, strict=True):
            area = canvas[tile.window.slices]
            area[...] = paste(area, tile.patch(output), tile.own.view(np.uint8), job.settings.feather)
        for flat in plan.flats:
            area = canvas[flat.window.slices]
            colour = np.broadcast_to(flat.colour, area.shape)
            area[...] = paste(area, colour, flat.own.view(np.uint8), job.settings.feather)
        return InpaintResult(job.picture.with_rgb(canvas), job, plan)


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
        "warnings": _warnings(job, plan, masked),
    }


def _tile_report(tile: Tile) -> dict[str, Any]:
    window = tile.window
    return {
        "top": window.top,
        "left": window.left,
        "height": window.height,
        "width": window.width,
        "input": [tile.mask.shape[0], tile.mask.shape[1]],
        "scale": round(tile.scale, 6),
        "parts": tile.parts,
    }


def _warnings(job: InpaintJob, plan: Plan, masked: int) -> list[str]:
    """What the caller did not ask for in so many words."""
    warnings = []
    if masked == 0:
        warnings.append("MASK is empty: the picture is returned unchanged.")
    if masked == job.mask.size:
        warnings.append("MASK covers the whole picture: the network had nothing to go by.")
    if scaled := sum(tile.scale != 1 for tile in plan.tiles):
        warnings.append(f"{scaled} part(s) were larger than the largest tile and were inpainted at a smaller scale.")
    if job.settings.format not in LOSSLESS:
        warnings.append(f"{job.settings.format} is lossy: pixels outside the mask differ by its rounding.")
    return warnings
