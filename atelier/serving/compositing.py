"""Compositing behind Triton: requests as jobs, results as tensors, one report that grows from stage to stage.

Importable only inside Triton's Python backend.
"""

from __future__ import annotations

import json
import resource
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from atelier.compositing.jobs import (
    AnalysisJob,
    Extraction,
    ExtractionJob,
    Pixels,
    Placement,
    PlacementJob,
    Scene,
    StageReport,
    Synthesis,
    SynthesisJob,
)
from atelier.compositing.scene import (
    from_json,
    placement_from_json,
    placement_to_json,
    reports_from_json,
    reports_to_json,
    to_json,
)
from atelier.compositing.settings import (
    AnalyzerSettings,
    ExtractorSettings,
    Mode,
    PlacementSettings,
    StageSettings,
    SynthesizerSettings,
)
from atelier.errors import InvalidInput
from atelier.media.codecs import Picture, decode_mask, encode_picture, encoding_losses
from atelier.media.pictures import read_picture
from atelier.serving import gpu
from atelier.serving.model import BatchModel, Tensors
from atelier.serving.request import Request
from atelier.serving.settings import Settled

Settings = TypeVar("Settings", bound=StageSettings)
Stages = dict[str, dict[str, Any]]
"""Reports of the stages that are done, by the names of their models."""

ANALYZER_SETTINGS = {name.upper(): name for name in ("language", "seed", "mode")}
EXTRACTOR_SETTINGS = PLACEMENT_SETTINGS = {"MODE": "mode"}
SYNTHESIZER_SETTINGS = {name.upper(): name for name in ("seed", "steps", "guidance_scale", "strength", "mode")}
"""Optional inputs that set something, tensor name to field."""


@dataclass
class Staged:
    """A job of a stage on its way.

    Attributes:
        job: for the stage, or its result where the caller brought it.
        mode: that was asked for.
        earlier: reports of the stages before it.
        warnings: about what was read.
        request: for its seconds and its cancellation.
        profile: the background's colour profile.
    """

    job: Any
    mode: Mode
    earlier: Stages
    warnings: list[str]
    request: Request
    profile: bytes | None = None


class StageModel(BatchModel[Settings, Staged, tuple[Any, Staged]], Generic[Settings]):
    """A stage as a model that can be called alone, or as a step of an ensemble.

    Attributes:
        stage: does the work; ``stage(job, mode)`` gives a result with a report.
    """

    stage: Any

    @abstractmethod
    def decode(self, request: Request, settings: Settled[Settings]) -> Staged:
        """Read a request's tensors."""

    def predict(self, jobs: Sequence[Staged]) -> Sequence[Any]:
        """Work on one after the other."""
        return [self._attempt(self._work, staged) for staged in jobs]

    def _work(self, staged: Staged) -> tuple[Any, Staged]:
        with gpu.exclusive(busy_device(self.stage, staged.mode), staged.request.raise_if_cancelled):
            # A scene that the caller brought is the result.
            result = staged.job if isinstance(staged.job, Scene) else self.stage(staged.job, staged.mode)
        finish(self.name, result.report, staged)
        return result, staged


def busy_device(stage: Any, mode: Mode) -> str:
    """PyTorch's name of the device that a stage computes on in this mode; ``cpu`` where it has no networks."""
    return "cpu" if mode == "classical" else str(getattr(stage, "device", "cpu"))


def finish(name: str, report: StageReport, staged: Staged) -> None:
    """Put a stage's report behind those of the stages before it, and its seconds into the metrics."""
    report.warnings[:0] = staged.warnings
    report.seconds = {step: round(seconds, 4) for step, seconds in report.seconds.items()}
    # Linux counts in KiB. What a network holds the stage says itself, where there is one.
    report.memory["process"] = {"host_peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}
    staged.request.seconds.update(report.seconds)
    staged.earlier[name] = asdict(report)


def read_analysis(request: Request, settings: Settled[AnalyzerSettings]) -> Staged:
    """The job of the background analyzer, or the scene that the caller brought.

    Raises:
        InvalidInput: one of the tensors is not what it should be.
    """
    values = settings.values
    given = request.optional("SCENE")
    if given is not None:
        scene = from_json(_text("SCENE", given))
        return Staged(scene, values.mode, {}, [], request)
    background, warnings, _ = _picture(request, "BACKGROUND", values.max_pixels)
    reference = None
    if request.optional("REFERENCE") is not None:
        reference, more, _ = _picture(request, "REFERENCE", values.max_pixels, alpha=True)
        warnings += more
    placed = any(request.numbers(name) for name in ("BOX", "POINT")) or request.optional("MASK") is not None
    job = AnalysisJob(
        background,
        reference,
        prompt=_text("PROMPT", request.optional("PROMPT") or b""),
        language=values.language,
        wants_box=not placed,
        seed=values.seed,
        check=request.raise_if_cancelled,
    )
    return Staged(job, values.mode, {}, warnings, request)


def tensors_of_scene(scene: Scene, staged: Staged) -> Tensors:
    """``ANALYSIS`` (text), ``SCENE`` and ``REPORT`` (JSON)."""
    return {"ANALYSIS": scene.text, "SCENE": to_json(scene), "REPORT": reports_to_json(staged.earlier)}


def read_extraction(request: Request, settings: Settled[ExtractorSettings]) -> Staged:
    """The job of the object extractor.

    Raises:
        InvalidInput: one of the tensors is not what it should be.
    """
    reference, warnings, _ = _picture(request, "REFERENCE", settings.values.max_pixels, alpha=True)
    job = ExtractionJob(
        reference,
        box=_tuple(request, "REFERENCE_BOX", 4),
        point=_tuple(request, "REFERENCE_POINT", 2),
        check=request.raise_if_cancelled,
    )
    return Staged(job, settings.values.mode, read_report(request), warnings, request)


def tensors_of_object(found: Extraction, staged: Staged) -> Tensors:
    """``OBJECT``, RGBA, and ``REPORT``, JSON."""
    return {"OBJECT": found.object[None], "REPORT": reports_to_json(staged.earlier)}


def read_placement(request: Request, settings: Settled[PlacementSettings]) -> Staged:
    """The job of the mask generator.

    Raises:
        InvalidInput: one of the tensors is not what it should be.
    """
    pixels = settings.values.max_pixels
    background, warnings, _ = _picture(request, "BACKGROUND", pixels)
    mask = request.optional("MASK")
    scale = _tuple(request, "SCALE", 1)
    scene, earlier = _scene(request), read_report(request)
    if scene is not None:
        earlier = {"background_analyzer": asdict(scene.report)} | earlier
    job = PlacementJob(
        background,
        _array(request, "OBJECT", 4),
        scene=scene,
        mask=None if mask is None else decode_mask(mask, name="MASK", max_pixels=pixels),
        box=_tuple(request, "BOX", 4),
        point=_tuple(request, "POINT", 2),
        scale=None if scale is None else scale[0],
    )
    return Staged(job, settings.values.mode, earlier, warnings, request)


def tensors_of_placement(placement: Placement, staged: Staged) -> Tensors:
    """Masks and the pasted object as arrays, the rest of the placement and the report as JSON."""
    return {
        "PLACEMENT": placement_to_json(placement),
        "OBJECT_MASK": placement.object_mask[None],
        "FILL_MASK": placement.fill_mask[None],
        "PRE_COMPOSITE": placement.pre_composite[None],
        "REPORT": reports_to_json(staged.earlier),
    }


def read_synthesis(request: Request, settings: Settled[SynthesizerSettings]) -> Staged:
    """The job of the object synthesizer.

    Raises:
        InvalidInput: one of the tensors is not what it should be.
    """
    values = settings.values
    background, warnings, profile = _picture(request, "BACKGROUND", values.max_pixels)
    warnings += encoding_losses(Picture(background, profile, "png"), "png")
    placement = placement_from_json(
        _text("PLACEMENT", request.data("PLACEMENT")),
        object_mask=_array(request, "OBJECT_MASK"),
        fill_mask=_array(request, "FILL_MASK"),
        pre_composite=_array(request, "PRE_COMPOSITE", 3),
    )
    if placement.fill_mask.shape != background.shape[:2]:
        height, width = placement.fill_mask.shape
        raise InvalidInput(
            f"PLACEMENT is for a picture of {width}x{height} pixels, BACKGROUND has "
            f"{background.shape[1]}x{background.shape[0]}."
        )
    every = request.numbers("PREVIEW_EVERY") or [0.0]
    if not 0 <= every[0] <= 1000:
        raise InvalidInput(f"PREVIEW_EVERY is {every[0]:g}; accepted: 0 (none) to 1000 steps.")
    job = SynthesisJob(
        background,
        _array(request, "OBJECT", 4),
        placement,
        scene=_scene(request),
        prompt=_text("PROMPT", request.optional("PROMPT") or b""),
        seed=values.seed,
        steps=values.steps,
        guidance_scale=values.guidance_scale,
        strength=values.strength,
        preview_every=int(every[0]),
    )
    return Staged(job, values.mode, read_report(request), warnings, request, profile)


def tensors_of_synthesis(made: Synthesis, staged: Staged) -> Tensors:
    """``IMAGE`` and ``MASK``, PNG, and ``REPORT``, JSON."""
    placement = staged.job.placement
    return {
        "IMAGE": encode_picture(Picture(made.image, staged.profile, "png")),
        "MASK": encode_picture(Picture(placement.fill_mask[..., None], None, "png")),
        "REPORT": json.dumps(final_report(made, placement, staged.earlier), ensure_ascii=False),
    }


def final_report(made: Synthesis, placement: Placement, stages: Stages) -> dict[str, Any]:
    """What is told of a composite: what was used, by which models, how long it took, and how it measures up."""
    box, crop = placement.box, placement.crop
    height, width = made.image.shape[:2]
    warnings = [warning for report in stages.values() for warning in report.get("warnings", ())]
    return {
        "width": width,
        "height": height,
        "prompt": made.prompt,
        "seed": made.seed,
        "placement": {
            "box": [box.left, box.top, box.right, box.bottom],
            "crop": [crop.left, crop.top, crop.right, crop.bottom],
            "source": placement.source,
        },
        **{
            key: {name: report.get(field) for name, report in stages.items()}
            for key, field in (("modes", "mode"), ("models", "models"), ("seconds", "seconds"), ("memory", "memory"))
        },
        "facts": {name: report["facts"] for name, report in stages.items() if report.get("facts")},
        "metrics": dict(made.metrics),
        "warnings": list(dict.fromkeys(warnings)),
    }


def read_report(request: Request) -> Stages:
    """The reports of the stages before this one.

    Raises:
        InvalidInput: ``REPORT`` is not what a stage answered.
    """
    given = request.optional("REPORT")
    if given is None:
        return {}
    return reports_from_json(_text("REPORT", given))


def _scene(request: Request) -> Scene | None:
    given = request.optional("SCENE")
    return None if given is None else from_json(_text("SCENE", given))


def _picture(
    request: Request, name: str, max_pixels: int, *, alpha: bool = False
) -> tuple[Pixels, list[str], bytes | None]:
    """Pixels [H, W, 3 or 4], what was left out, and the colour profile."""
    picture, warnings = read_picture(request.data(name), name=name, max_pixels=max_pixels, alpha=alpha)
    profile = picture.info.get("icc_profile")
    return np.asarray(picture), warnings, profile if isinstance(profile, bytes) else None


def _text(name: str, data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidInput(f"{name} is not UTF-8 text.") from None


def _tuple(request: Request, name: str, count: int) -> tuple[Any, ...] | None:
    values = request.numbers(name)
    if not values:
        return None
    if len(values) != count:
        raise InvalidInput(f"{name} holds {len(values)} numbers; accepted: {count}.")
    return tuple(values)


def _array(request: Request, name: str, channels: int = 0) -> Pixels:
    """A picture as an array of its own; ``channels`` is its last dimension, 0: it has none."""
    array: NDArray[Any] = request.array(name)
    shape = array.shape[1:]
    fits = len(shape) == (3 if channels else 2) and (not channels or shape[2] == channels)
    if array.shape[:1] != (1,) or not fits or 0 in shape:
        wanted = f"[1, H, W, {channels}]" if channels else "[1, H, W]"
        raise InvalidInput(f"{name} has the shape {list(array.shape)}; accepted: {wanted}.")
    return np.array(array[0], np.uint8)


def numbers(inputs: Mapping[str, NDArray[Any]], name: str, default: int, least: int, most: int) -> int:
    """One of the whole numbers among the inputs.

    Raises:
        InvalidInput: not one, or out of its range.
    """
    if name not in inputs:
        return default
    values = inputs[name].reshape(-1)
    if values.size != 1 or not least <= int(values[0]) <= most:
        raise InvalidInput(f"{name} is {values[:4].tolist()}; accepted: one number from {least} to {most}.")
    return int(values[0])
