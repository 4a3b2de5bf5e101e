"""`generate` for callers: a prompt in, progress and a video out."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from atelier.client.errors import InvalidRequest, reading
from atelier.client.requests import check_text, integer, is_whole, shown, strings
from atelier.client.streaming import AsyncStreamed, Streamed

INTEGERS = ("frame_num", "sample_steps", "fps", "crf")
NUMBERS = ("guidance_scale", "shift")
TEXTS = ("negative_prompt", "size", "solver", "grid", "format")
SUFFIXES = {"mp4": ".mp4", "webm": ".webm", "frames": ".zip"}


@dataclass(frozen=True)
class GenerateProgress:
    """How far the server is.

    Attributes:
        stage: ``queued``, ``encoding``, ``denoising``, ``decoding`` or ``encoding_video``.
        step: of the stage, done.
        of: steps of the stage.
        seconds: since the work began.
        left: seconds that this stage still takes; None where nothing tells.
        position: in the queue, 0 when nothing is before it.
    """

    stage: str
    step: int
    of: int
    seconds: float
    left: float | None
    position: int = 0


@dataclass(frozen=True)
class GenerateResult:
    """A video.

    Attributes:
        video: the file: MP4, WebM, or a zip of PNG pictures.
        metadata: every setting as it was used and where it came from, the seed, the adapters' reports, seconds per
            stage, memory, warnings.
    """

    video: bytes
    metadata: dict[str, Any]

    @property
    def format(self) -> str:
        """``mp4``, ``webm`` or ``frames``.

        Raises:
            UnreadableAnswer: the server does not say.
        """
        with reading("the server"):
            return str(self.metadata["settings"]["format"]["value"])

    def save(self, path: str | Path) -> None:
        """Write the file.

        Raises:
            InvalidRequest: the name's ending belongs to another format, or it cannot be written.
        """
        path, suffix = Path(path), SUFFIXES.get(self.format, "")
        if suffix and path.suffix.lower() != suffix:
            raise InvalidRequest(f"{path.name} does not end in {suffix}, and the video is {self.format}.")
        try:
            path.write_bytes(self.video)
        except OSError as error:
            raise InvalidRequest(f"{path} cannot be written ({error.strerror}).") from None


Event = GenerateProgress | GenerateResult


def generate_inputs(
    prompt: str, image: Any, loras: Mapping[str, float] | None, settings: Mapping[str, Any]
) -> dict[str, NDArray[Any]]:
    """A request's tensors.

    Raises:
        InvalidRequest: a value is of a type that the server does not take, or a setting is not known.
    """
    inputs: dict[str, NDArray[Any]] = {"PROMPT": strings(check_text("The prompt", prompt, empty=True).encode())}
    if image is not None:
        inputs["IMAGE"] = strings(_file(image))
    if loras:
        if not isinstance(loras, Mapping):
            raise InvalidRequest(f"loras is {shown(loras)}; accepted: scales by adapters' names.")
        names = [check_text("An adapter's name", name).encode() for name in loras]
        inputs["LORA"] = strings(*names).reshape(1, -1)
        inputs["LORA_SCALE"] = np.concatenate([_number("A scale", scale) for scale in loras.values()], axis=1)
    for name, value in settings.items():
        if value is not None:
            inputs[name.upper()] = _setting(name, value)
    return inputs


def _setting(name: str, value: Any) -> NDArray[Any]:
    if name in INTEGERS:
        return integer(name, value)
    if name in NUMBERS:
        return _number(name, value)
    if name in TEXTS:
        return strings(check_text(name, value, empty=True).encode())
    if name == "seed":
        if not is_whole(value) or not 0 <= value < 2**63:
            raise InvalidRequest(f"seed is {shown(value)}; accepted: an integer from 0 to 2^63 - 1.")
        return np.array([[int(value)]], np.int64)
    raise InvalidRequest(f"There is no setting {name!r}; accepted: {', '.join((*INTEGERS, *NUMBERS, *TEXTS, 'seed'))}.")


def _number(name: str, value: Any) -> NDArray[np.float32]:
    if not isinstance(value, int | float | np.integer | np.floating) or isinstance(value, bool):
        raise InvalidRequest(f"{name} is {shown(value)}; accepted: a number.")
    with np.errstate(over="ignore"):  # the server refuses what is infinite
        return np.array([[value]], np.float64).astype(np.float32)


def _file(given: Any) -> bytes:
    if isinstance(given, bytes):
        return given
    if isinstance(given, Image.Image):
        packed = io.BytesIO()
        given.save(packed, "PNG", exif=given.getexif())
        return packed.getvalue()
    try:
        return Path(given).read_bytes()
    except TypeError:
        raise InvalidRequest(
            f"image is a {type(given).__name__}; accepted: a path, a PIL image, or a file's bytes."
        ) from None
    except OSError as error:
        raise InvalidRequest(f"{given} cannot be read ({error.strerror}).") from None
    except ValueError as error:  # a name with a zero byte
        raise InvalidRequest(f"{given!r} cannot be read ({error}).") from None


class AsyncGeneration(AsyncStreamed[GenerateProgress, GenerateResult]):
    """A video that is asked for: see `AsyncStreamed`; over HTTP there is no progress."""

    noun = "video"

    async def _events(self) -> AsyncGenerator[tuple[GenerateProgress | None, GenerateResult | None]]:
        if not self._transport.is_grpc:
            answer = await self._transport.infer("generate_sync", dict(self._inputs), **self._call)
            yield None, _read_result(answer, self._transport.url)
            return
        async for answer in self._transport.stream("generate", self._inputs, **self._call):
            event = _read(answer, self._transport.url)
            yield (None, event) if isinstance(event, GenerateResult) else (event, None)


Generation = Streamed[GenerateProgress, GenerateResult]
"""The same for ordinary code."""


def _read(answer: Mapping[str, NDArray[Any]], url: str) -> Event:
    with reading(url):
        if "PROGRESS" in answer:
            return GenerateProgress(**json.loads(answer["PROGRESS"].item()))
    return _read_result(answer, url)


def _read_result(answer: Mapping[str, NDArray[Any]], url: str) -> GenerateResult:
    with reading(url):
        return GenerateResult(bytes(answer["VIDEO"].item()), json.loads(answer["METADATA"].item()))
