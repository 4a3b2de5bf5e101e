"""`composite` for callers: a background and a picture of an object in, one picture out."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from atelier.client.errors import InvalidRequest, UnreadableAnswer, reading
from atelier.client.pictures import to_file
from atelier.client.requests import check_text, integer, is_whole, shown, strings
from atelier.client.streaming import AsyncStreamed, Streamed
from atelier.media import decode_picture

TEXTS = ("prompt", "language", "mode")
NUMBERS = {
    "box": ("left, top, right, bottom", 4),
    "reference_box": ("left, top, right, bottom", 4),
    "point": ("x, y", 2),
    "reference_point": ("x, y", 2),
    "scale": ("a number", 1),
    "guidance_scale": ("a number", 1),
    "strength": ("a number", 1),
}
INTEGERS = ("steps",)
STREAMED = ("seeds", "preview_every")
"""Integers that `composite_stream` alone takes."""
PICTURES = ("mask",)
TENSORS = {"mask": "PLACEMENT_MASK"}
"""Inputs of other names: MASK is an output, and an ensemble's tensors share their names."""
MOST_PIXELS = 2**30
"""Of an answer that is decoded; the server, which has its own limit, has refused what is larger than it likes."""


class CompositeSettings(TypedDict, total=False):
    """What a request may say. What is left out, or ``None``, is the server's setting.

    Attributes:
        prompt: what the picture shall show, in any language; without it the analysis makes one.
        box: left, top, right, bottom in pixels of the upright background: the object is fitted into it.
        point: x, y in pixels of the upright background: the middle of the object's lower edge.
        scale: the object's height as a share of the background's, more than 0, at most 1.
        mask: a picture of the background's size, as a path, bytes, a PIL image or an array; not 0 is where the object
            shall be.
        reference_box: left, top, right, bottom in pixels of the upright reference, around the object.
        reference_point: x, y in pixels of the upright reference, on the object.
        seed: of what is drawn at random, 0 to 2^63 - 1.
        steps: denoising steps.
        guidance_scale: weight of the prompt.
        strength: 1: all of the fill mask is new; less keeps more of the paste.
        language: of the analysis: en, ko, …
        mode: ``auto``, ``neural`` or ``classical``.
    """

    prompt: str | None
    box: Sequence[float] | NDArray[Any] | None
    point: Sequence[float] | NDArray[Any] | None
    scale: float | None
    mask: Any
    reference_box: Sequence[float] | NDArray[Any] | None
    reference_point: Sequence[float] | NDArray[Any] | None
    seed: int | None
    steps: int | None
    guidance_scale: float | None
    strength: float | None
    language: str | None
    mode: str | None


class StreamSettings(CompositeSettings, total=False):
    """What a request to `composite_stream` may say beside that.

    Attributes:
        seeds: so many pictures are made with seeds that follow each other, and the best by its metrics is the answer.
        preview_every: denoising steps from one preview to the next; 0: none.
    """

    seeds: int | None
    preview_every: int | None


@dataclass(frozen=True)
class CompositeProgress:
    """How far the server is.

    Attributes:
        stage: ``queued``, ``analysis``, ``extraction``, ``placement``, ``encoding``, ``denoising`` or ``decoding``.
        step: of the stage, done.
        of: steps of the stage.
        seconds: since the work began.
        left: seconds that this stage still takes; None where nothing tells.
        position: in the queue, 0 when nothing is before it.
        candidate: number of the picture that is worked on, from 1, where several seeds are tried.
        candidates: how many are tried.
        preview: the picture as it is now, a small JPEG; None: there is none with this progress.
    """

    stage: str
    step: int = 0
    of: int = 0
    seconds: float = 0.0
    left: float | None = None
    position: int = 0
    candidate: int = 1
    candidates: int = 1
    preview: bytes | None = None


@dataclass(frozen=True)
class CompositeResult:
    """A picture with an object set in.

    Attributes:
        data: the PNG, as the server sent it.
        mask_data: the PNG of the fill mask.
        analysis: what was seen in the background, in words.
        report: prompt and seed that were used, placement (box, crop, where it came from), modes, models, seconds and
            memory per stage, metrics, warnings.
    """

    data: bytes
    mask_data: bytes
    analysis: str
    report: dict[str, Any]

    @cached_property
    def image(self) -> NDArray[np.uint8]:
        """The pixels, uint8 [H, W, 3] RGB: the background's, bit for bit, where `mask` is 0.

        Raises:
            ServerError: the answer is no picture.
        """
        return _pixels(self.data)

    @cached_property
    def mask(self) -> NDArray[np.uint8]:
        """The fill mask, uint8 [H, W]: 255 where the picture may differ from the background, else 0.

        Raises:
            ServerError: the answer is no picture.
        """
        return _pixels(self.mask_data)

    def save(self, path: str | Path) -> None:
        """Write the picture's file.

        Raises:
            InvalidRequest: the name does not end in .png, or it cannot be written.
        """
        target = png_path(path)
        try:
            target.write_bytes(self.data)
        except OSError as error:
            raise InvalidRequest(f"{target} cannot be written ({error.strerror}).") from None
        except ValueError as error:  # a name with a zero byte
            raise InvalidRequest(f"{str(target)!r} cannot be written ({error}).") from None


def png_path(path: Any) -> Path:
    """A path that ends in ``.png``, which the answer is.

    Raises:
        InvalidRequest: it does not.
    """
    try:
        target = Path(path)
    except TypeError:
        raise InvalidRequest(f"{shown(path)} is no path.") from None
    if target.suffix.lower() != ".png":
        raise InvalidRequest(f"{target.name} does not end in .png, and the picture is a PNG.")
    return target


def composite_inputs(
    background: Any, reference: Any, settings: Mapping[str, Any], *, streamed: bool = False
) -> dict[str, NDArray[Any]]:
    """A request's tensors.

    Args:
        background: a path, a file's bytes, a PIL image or an array.
        reference: likewise.
        settings: of `CompositeSettings`, or of `StreamSettings`.
        streamed: whether they are for `composite_stream`.

    Raises:
        InvalidRequest: a value is of a type that the server does not take, or a setting is not known.
    """
    inputs = {
        "BACKGROUND": strings(to_file(background, "background")),
        "REFERENCE": strings(to_file(reference, "reference")),
    }
    for name, value in settings.items():
        if value is not None:
            inputs[TENSORS.get(name, name.upper())] = _setting(name, value, streamed)
    return inputs


def _setting(name: str, value: Any, streamed: bool) -> NDArray[Any]:
    if name in TEXTS:
        return strings(check_text(name, value, empty=True).encode("utf-8"))
    if name in NUMBERS:
        return _numbers(name, value, *NUMBERS[name])
    if name in INTEGERS or (streamed and name in STREAMED):
        return integer(name, value)
    if name in PICTURES:
        return strings(to_file(value, name))
    if name == "seed":
        if not is_whole(value) or not 0 <= value < 2**63:
            raise InvalidRequest(f"seed is {shown(value)}; accepted: an integer from 0 to 2^63 - 1.")
        return np.array([[int(value)]], np.int64)
    if name in STREAMED:
        raise InvalidRequest(f"{name} is for composite_stream, which answers in parts, not for composite.")
    accepted = ", ".join((*TEXTS, *NUMBERS, *INTEGERS, *PICTURES, "seed", *(STREAMED if streamed else ())))
    raise InvalidRequest(f"There is no setting {name!r}; accepted: {accepted}.")


def _numbers(name: str, value: Any, words: str, count: int) -> NDArray[np.float32]:
    given: list[Any] = [value] if count == 1 else _listed(value)
    numeric = all(isinstance(n, int | float | np.integer | np.floating) and not isinstance(n, bool) for n in given)
    if len(given) != count or not numeric:
        raise InvalidRequest(f"{name} is {shown(value)}; accepted: {words}.")
    try:
        with np.errstate(over="ignore"):  # the server refuses what is infinite
            return np.array([given], np.float64).astype(np.float32)
    except OverflowError:
        raise InvalidRequest(f"{name} is {shown(value)}, which is too large.") from None


def _listed(value: Any) -> list[Any]:
    if isinstance(value, np.ndarray) and value.ndim == 1:
        return list(value)
    return list(value) if isinstance(value, list | tuple) else []


class AsyncCompositing(AsyncStreamed[CompositeProgress, CompositeResult]):
    """A picture that is asked for with progress: see `AsyncStreamed`; over gRPC alone."""

    noun = "picture"

    async def _events(self) -> AsyncGenerator[tuple[CompositeProgress | None, CompositeResult | None]]:
        async for answer in self._transport.stream("composite_stream", self._inputs, **self._call):
            with reading(self._transport.url):
                progress = _read_progress(answer) if "PROGRESS" in answer else None
            yield progress, read_result(answer, self._transport.url) if "IMAGE" in answer else None


Compositing = Streamed[CompositeProgress, CompositeResult]
"""The same for ordinary code."""


def _read_progress(answer: Mapping[str, NDArray[Any]]) -> CompositeProgress:
    preview = bytes(answer["PREVIEW"].item()) if "PREVIEW" in answer else None
    return CompositeProgress(**json.loads(answer["PROGRESS"].item()), preview=preview)


def read_result(answer: Mapping[str, NDArray[Any]], url: str) -> CompositeResult:
    """The answer's last part, or all of it.

    Raises:
        ServerError: it is no answer of an Atelier server.
    """
    with reading(url):
        image, mask = answer["IMAGE"].item(), answer["MASK"].item()
        text, report = answer["ANALYSIS"].item().decode("utf-8"), json.loads(answer["REPORT"].item())
        if not isinstance(image, bytes) or not isinstance(mask, bytes) or not isinstance(report, dict):
            raise UnreadableAnswer(f"The answer of {url} is no picture with a report.")
        return CompositeResult(image, mask, text, report)


def _pixels(data: bytes) -> NDArray[np.uint8]:
    with reading("the server"):
        pixels = decode_picture(data, name="The picture", max_pixels=MOST_PIXELS).pixels
    return pixels[..., 0] if pixels.shape[2] == 1 else pixels
