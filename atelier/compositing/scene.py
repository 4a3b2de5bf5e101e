"""What the stages tell each other, as JSON: scenes, placements and reports. Pictures and masks travel as tensors."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, TypeVar

import numpy as np
from pydantic import TypeAdapter, ValidationError

from atelier.compositing.jobs import Pixels, Placement, Scene, Source, StageReport
from atelier.errors import InvalidInput
from atelier.media.boxes import Box

T = TypeVar("T")
_COLOUR = re.compile(r"#[0-9a-f]{6}")
_SCENE = TypeAdapter(Scene)
_REPORT = TypeAdapter(StageReport)
_REPORTS = TypeAdapter(dict[str, StageReport])
_BOX = TypeAdapter(Box)
_SOURCE: TypeAdapter[Source] = TypeAdapter(Source)
_PLACEMENT_KEYS = {"box", "crop", "source", "report"}


def to_json(scene: Scene) -> str:
    """A scene as JSON; `from_json` gives it back. Its report holds what JSON knows: no tuples, no arrays.

    Raises:
        InvalidInput: it is none: a number is not finite, a colour is none, the light comes from too far.
    """
    _check_scene(scene)
    return json.dumps(asdict(scene), ensure_ascii=False, allow_nan=False)


def from_json(text: str | bytes) -> Scene:
    """The scene that `to_json` wrote.

    Raises:
        InvalidInput: the text is no scene; the sentence names the first field that is wrong.
    """
    scene = _validate(_SCENE, text, "The scene")
    _check_scene(scene)
    return scene


def report_to_dict(report: StageReport) -> dict[str, Any]:
    """A report as plain values."""
    return asdict(report)


def report_from_dict(values: object) -> StageReport:
    """The report that `report_to_dict` wrote.

    Raises:
        InvalidInput: the values are no report.
    """
    try:
        return _REPORT.validate_python(values)
    except ValidationError as error:
        raise InvalidInput(f"The report is not as expected: {_first(error)}.") from None


def reports_to_json(reports: Mapping[str, Mapping[str, Any]]) -> str:
    """Reports of `report_to_dict`, by stage."""
    return json.dumps({"stages": reports}, ensure_ascii=False, allow_nan=False)


def reports_from_json(text: str | bytes) -> dict[str, dict[str, Any]]:
    """The reports that `reports_to_json` wrote.

    Raises:
        InvalidInput: the text holds none.
    """
    values = _load(text, "REPORT")
    if not isinstance(values, dict) or set(values) != {"stages"}:
        raise InvalidInput("REPORT is not what another stage answered as its REPORT.")
    try:
        # As JSON, so that text that is none in UTF-8 is refused.
        reports = _REPORTS.validate_json(json.dumps(values["stages"]))
    except (ValidationError, RecursionError) as error:
        reason = _first(error) if isinstance(error, ValidationError) else "it is nested too deep"
        raise InvalidInput(f"REPORT is not what another stage answered as its REPORT: {reason}.") from None
    return {name: report_to_dict(report) for name, report in reports.items()}


def placement_to_json(placement: Placement) -> str:
    """What of a placement is no picture: ``box``, ``crop``, ``source`` and ``report``."""
    values = {name: asdict(getattr(placement, name)) for name in ("box", "crop", "report")}
    return json.dumps({**values, "source": placement.source}, ensure_ascii=False, allow_nan=False)


def placement_from_json(text: str | bytes, object_mask: Pixels, fill_mask: Pixels, pre_composite: Pixels) -> Placement:
    """A placement from its parts.

    Args:
        text: of `placement_to_json`.
        object_mask: uint8 [H, W].
        fill_mask: uint8 [H, W].
        pre_composite: uint8 [H, W, 3].

    Raises:
        InvalidInput: the text is none, shapes do not agree, or a box has no area inside the picture.
    """
    values = _load(text, "The placement")
    if not isinstance(values, dict) or set(values) != _PLACEMENT_KEYS:
        raise InvalidInput(f"The placement is not as expected: it has {', '.join(sorted(_PLACEMENT_KEYS))}, all four.")
    try:
        box, crop = (_BOX.validate_json(json.dumps(values[name]), strict=True) for name in ("box", "crop"))
        source = _SOURCE.validate_python(values["source"])
    except (ValidationError, ValueError) as error:
        reason = _first(error) if isinstance(error, ValidationError) else str(error)
        raise InvalidInput(f"The placement is not as expected: {reason}.") from None
    placement = Placement(box, crop, object_mask, fill_mask, pre_composite, source, report_from_dict(values["report"]))
    check_placement(placement)
    return placement


def check_placement(placement: Placement, background: Pixels | None = None) -> None:
    """See that a placement's parts fit together, and the background where one is given.

    Raises:
        InvalidInput: they do not; the sentence says which.
    """
    picture = placement.pre_composite
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8 or picture.size == 0:
        raise InvalidInput(f"The pre-composite is {picture.dtype} {picture.shape}; UINT8 [H, W, 3] is accepted.")
    height, width = picture.shape[:2]
    for name in ("object_mask", "fill_mask"):
        mask: Pixels = getattr(placement, name)
        if mask.shape != (height, width) or mask.dtype != np.uint8:
            words = name.replace("_", " ")
            raise InvalidInput(
                f"The {words} is {mask.dtype} {mask.shape}; UINT8 [{height}, {width}] is accepted, "
                "as the pre-composite is."
            )
    for name in ("box", "crop"):
        box: Box = getattr(placement, name)
        if not Box(0, 0, height, width).contains(box) or not box.area:
            raise InvalidInput(f"The placement's {name} leaves the picture of {width}x{height} pixels or is empty.")
    if not placement.crop.contains(placement.box):
        raise InvalidInput("The placement's box leaves its crop.")
    if background is not None and background.shape != picture.shape:
        tall, wide = background.shape[:2]
        raise InvalidInput(f"The placement is for a background of {width}x{height} pixels, not of {wide}x{tall}.")


def _load(text: str | bytes, name: str) -> Any:
    def refuse(constant: str) -> float:
        raise ValueError(f"{constant} is no number")

    def finite(digits: str) -> float:
        number = float(digits)
        return number if math.isfinite(number) else refuse(digits)

    try:
        return json.loads(text, parse_constant=refuse, parse_float=finite)
    except (ValueError, RecursionError):
        raise InvalidInput(f"{name} is not JSON.") from None


def _validate(kind: TypeAdapter[T], text: str | bytes, name: str) -> T:
    _load(text, name)  # pydantic takes NaN for a number, JSON does not
    try:
        return kind.validate_json(text, strict=True)
    except ValidationError as error:
        raise InvalidInput(f"{name} is not as expected: {_first(error)}.") from None


def _first(error: ValidationError) -> str:
    found = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in found["loc"])
    return f"{place}: {found['msg']}" if place else str(found["msg"])


def _check_scene(scene: Scene) -> None:
    light = scene.light
    numbers = [*light.direction, light.softness, *(scene.box or ())]
    if not all(math.isfinite(number) for number in numbers):
        raise InvalidInput("The scene is not as expected: its numbers are finite.")
    if math.hypot(*light.direction) > 1.001:
        raise InvalidInput("The scene is not as expected: light.direction is a unit vector, or 0, 0.")
    if not 0 <= light.softness <= 1:
        raise InvalidInput("The scene is not as expected: light.softness is from 0 to 1.")
    if not all(0 <= value <= 255 for value in light.colour):
        raise InvalidInput("The scene is not as expected: light.colour is three numbers from 0 to 255.")
    if not all(_COLOUR.fullmatch(colour) for colour in scene.palette):
        raise InvalidInput("The scene is not as expected: a colour of the palette is #rrggbb, in small letters.")
