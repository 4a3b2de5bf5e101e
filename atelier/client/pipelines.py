"""The pipelines as methods; every call has a deadline."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self, Unpack

import numpy as np
from numpy.typing import NDArray

from atelier.client.compositing import (
    AsyncCompositing,
    CompositeProgress,
    CompositeResult,
    CompositeSettings,
    StreamSettings,
    composite_inputs,
    read_result,
)
from atelier.client.errors import InvalidRequest, ServerError, UnreadableAnswer, reading
from atelier.client.generation import AsyncGeneration, GenerateProgress, generate_inputs
from atelier.client.matting import MatteProgress, MatteResult, matte_inputs, run_matte, run_matte_sync, stem_of
from atelier.client.pictures import to_file
from atelier.client.requests import check_text, check_timeout, flag, integer, strings
from atelier.client.shared import Inputs, Outputs
from atelier.client.status import ServerStatus, read_status
from atelier.client.transport import Transport
from atelier.errors import InvalidInput
from atelier.media import decode_picture, parse_format

DEFAULT_TIMEOUT = 120.0
"""Seconds of a call's deadline where the caller names none."""


@dataclass(frozen=True)
class InpaintResult:
    """An inpainted picture.

    Attributes:
        data: the encoded file, as the server sent it.
        report: what was done: strategy, tiles, sizes, seconds per step, the network's version, warnings.
    """

    data: bytes
    report: dict[str, Any]

    @cached_property
    def image(self) -> NDArray[np.uint8]:
        """The pixels, uint8 [H, W, 3] RGB, [H, W, 4] with alpha, [H, W] or [H, W, 2] for grey.

        Raises:
            ServerError: the answer is no picture of the size that its report names.
        """
        with reading("the server"):
            # The server may have been allowed more pixels than the library is by itself.
            size = int(self.report["width"]) * int(self.report["height"])
            pixels = decode_picture(self.data, name="The picture", max_pixels=size).pixels
        return pixels[..., 0] if pixels.shape[2] == 1 else pixels

    def save(self, path: str | Path) -> None:
        """Write the encoded file.

        Raises:
            InvalidRequest: the name's ending belongs to another format than the file's, or it cannot be written.
            ServerError: the report names no format.
        """
        try:
            target = Path(path)
        except TypeError:
            raise InvalidRequest(f"{path!r} is no path.") from None
        named, kind = format_of(target), self.report.get("format")
        if kind is None:
            raise ServerError("The server's report does not name the picture's format.")
        if named != kind:
            raise InvalidRequest(f"{path} is named as {named}, but the answer is {kind}: ask for format='{named}'.")
        try:
            target.write_bytes(self.data)
        except OSError as error:
            raise InvalidRequest(f"{target} cannot be written ({error.strerror}).") from None
        except ValueError as error:  # a name with a zero byte
            raise InvalidRequest(f"{str(target)!r} cannot be written ({error}).") from None


class AsyncClient:
    """Calls a server from asyncio; safe for any number of calls at once within one event loop.

    It may be made anywhere, and connects on its first call.

    Args:
        url: ``localhost:8001`` for gRPC, ``http://localhost:8000`` for HTTP.
        timeout: seconds of a call's deadline where the call names none, at most a day.
        shared_memory: send tensors through shared memory where the server shares this machine.
        headers: sent with every call.
        admin_key: sent with what the server restricts: shared memory and statistics; ``None``: the environment's
            (``ATELIER_ADMIN_KEY``, ``ATELIER_ADMIN_KEY_FILE``), or for a server of this user on this machine its own.

    Raises:
        InvalidRequest: one of these is none.
    """

    def __init__(
        self,
        url: str = "localhost:8001",
        *,
        timeout: float = DEFAULT_TIMEOUT,
        shared_memory: bool = False,
        headers: Mapping[str, str] | None = None,
        admin_key: str | None = None,
    ) -> None:
        self._timeout = check_timeout(timeout)
        self._transport = Transport(url, shared_memory=shared_memory, headers=headers, admin_key=admin_key)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection; a second call does nothing."""
        await self._transport.close()

    async def inpaint(
        self,
        image: Any,
        mask: Any,
        *,
        strategy: str | None = None,
        margin: int | None = None,
        feather: int | None = None,
        fill_flat: bool | None = None,
        format: str | None = None,
        timeout: float | None = None,
        request_id: str = "",
    ) -> InpaintResult:
        """Remove what the mask covers.

        Args:
            image: a path, the bytes of a PNG, JPEG or WebP, a PIL image, or an array [H, W] or [H, W, 1 to 4].
            mask: likewise, of the same size; not 0 is what is removed.
            strategy: ``regions`` (tiles around the mask's parts) or ``page`` (the whole picture at once). What is
                ``None``, here and below, is the server's setting.
            margin: pixels of context around a part, 0 to 1024.
            feather: pixels over which the paste fades in inside the hole, 0 to 64.
            fill_flat: fill a part whose surroundings are flat without the network.
            format: ``png``, ``jpeg`` or ``webp``.
            timeout: seconds, at most a day.
            request_id: stands in the server's log.

        Raises:
            AtelierError: see ``atelier.client``.
        """
        inputs: dict[str, NDArray[Any]] = {
            "IMAGE": strings(to_file(image, "image")),
            "MASK": strings(to_file(mask, "mask")),
        }
        for name, value in (("STRATEGY", strategy), ("FORMAT", format)):
            if value is not None:
                inputs[name] = strings(check_text(name, value, empty=True).encode("utf-8"))
        for name, number in (("MARGIN", margin), ("FEATHER", feather)):
            if number is not None:
                inputs[name] = integer(name, number)
        if fill_flat is not None:
            inputs["FILL_FLAT"] = flag("FILL_FLAT", fill_flat)
        answer = await self.infer("inpaint", inputs, timeout=timeout, request_id=request_id)
        with reading(self._transport.url):
            data, report = answer["IMAGE"].item(), json.loads(answer["REPORT"].item())
            if not isinstance(data, bytes) or not isinstance(report, dict):
                raise UnreadableAnswer(f"The answer of {self._transport.url} is no picture with a report.")
            return InpaintResult(data, report)

    async def matte(
        self,
        video: Any,
        folder: str | Path,
        *,
        name: str | None = None,
        outputs: Sequence[str] | None = None,
        background: Any = None,
        on_progress: Callable[[MatteProgress], None] = lambda _: None,
        keep: bool = False,
        timeout: float | None = None,
        request_id: str = "",
        **settings: Any,
    ) -> MatteResult:
        """Cut the subject of a video out, frame by frame.

        Args:
            video: a path, a folder of pictures, or a file's bytes.
            folder: where the files go: ``NAME_alpha.mp4``, ``NAME_green.mp4``, ``NAME/00000.png`` …
            name: of the files; the video's whole stem where it has one.
            outputs: of ``alpha``, ``green``, ``foreground``, ``composite``, ``rgba``, ``images``.
            background: for ``composite``: a colour, a path, or a file's bytes.
            on_progress: told how far the server is; over HTTP it is not.
            keep: pictures (``images``) stay where the call fails, so that ``first_frame`` can go on with it; gRPC.
            timeout: seconds, at most a day.
            request_id: stands in the server's log.
            settings: of the pipeline, by name: docs/matting.md. What is ``None`` is the server's setting.

        Raises:
            AtelierError: see ``atelier.client``; files that are not whole are removed.
        """
        if name is None:
            name = stem_of(video) if isinstance(video, str | Path) else "video"
        inputs = matte_inputs(video, outputs, background, settings)
        where, deadline = Path(folder), self._timeout if timeout is None else timeout
        if self._transport.is_grpc:
            facts: dict[str, Any] = {"timeout": deadline, "request_id": request_id, "keep": keep}
            return await run_matte(self._transport, inputs, where, name, on_progress=on_progress, **facts)
        return await run_matte_sync(self._transport, inputs, where, name, timeout=deadline, request_id=request_id)

    def generate(
        self,
        prompt: str,
        *,
        image: Any = None,
        loras: Mapping[str, float] | None = None,
        on_progress: Callable[[GenerateProgress], None] | None = None,
        timeout: float | None = None,
        request_id: str = "",
        **settings: Any,
    ) -> AsyncGeneration:
        """Make a video of a prompt, or of a picture and a prompt.

        Args:
            prompt: what is to be seen.
            image: a path, a PIL image, or a file's bytes: the video begins with it.
            loras: scales by adapters' names.
            on_progress: told how far the server is; over HTTP it is not.
            timeout: seconds, at most a day.
            request_id: stands in the server's log.
            settings: ``frame_num``, ``size``, ``sample_steps``, ``guidance_scale``, ``shift``, ``solver``, ``grid``,
                ``seed``, ``negative_prompt``, ``fps``, ``format``, ``crf``: docs/generate.md. What is ``None`` is the
                server's setting.

        Returns:
            To be awaited, or iterated over: progress, and last the result.

        Raises:
            InvalidRequest: a value is of a type that the server does not take. Awaiting it raises what
                ``atelier.client`` names.
        """
        return AsyncGeneration(
            self._transport,
            generate_inputs(prompt, image, loras, settings),
            timeout=self._timeout if timeout is None else timeout,
            request_id=request_id,
            on_progress=on_progress,
        )

    async def composite(
        self,
        background: Any,
        reference: Any,
        *,
        timeout: float | None = None,
        request_id: str = "",
        **settings: Unpack[CompositeSettings],
    ) -> CompositeResult:
        """Set the object of one picture into another.

        Args:
            background: a path, the bytes of a PNG, JPEG or WebP, a PIL image, or an array [H, W] or [H, W, 1 to 4].
            reference: likewise, with the object; its alpha, where it has one, says what the object is.
            timeout: seconds, at most a day.
            request_id: stands in the server's log.
            settings: ``prompt``, ``box``, ``point``, ``scale``, ``mask``, ``reference_box``, ``reference_point``,
                ``seed``, ``steps``, ``guidance_scale``, ``strength``, ``language``, ``mode``: see `CompositeSettings`.

        Raises:
            AtelierError: see ``atelier.client``.
        """
        inputs = composite_inputs(background, reference, settings)
        return read_result(
            await self.infer("composite", inputs, timeout=timeout, request_id=request_id), self._transport.url
        )

    def composite_stream(
        self,
        background: Any,
        reference: Any,
        *,
        on_progress: Callable[[CompositeProgress], None] | None = None,
        timeout: float | None = None,
        request_id: str = "",
        **settings: Unpack[StreamSettings],
    ) -> AsyncCompositing:
        """Set the object of one picture into another, and tell how far that is; over gRPC alone.

        Args:
            background: as for `composite`.
            reference: likewise.
            on_progress: told how far the server is.
            timeout: seconds, at most a day.
            request_id: stands in the server's log.
            settings: those of `composite`, and ``seeds`` and ``preview_every``: see `StreamSettings`.

        Returns:
            To be awaited, or iterated over: progress, and last the result. Cancelling reaches the server.

        Raises:
            InvalidRequest: a value is of a type that the server does not take. Awaiting it raises what
                ``atelier.client`` names.
        """
        return AsyncCompositing(
            self._transport,
            composite_inputs(background, reference, settings, streamed=True),
            timeout=self._timeout if timeout is None else timeout,
            request_id=request_id,
            on_progress=on_progress,
        )

    async def infer(
        self,
        model: str,
        inputs: Inputs,
        *,
        outputs: Outputs | None = None,
        timeout: float | None = None,
        request_id: str = "",
    ) -> dict[str, NDArray[Any]]:
        """Run any model of the server with arrays.

        Args:
            model: its name, for instance ``lama``.
            inputs: arrays with their batch dimension, by tensor name; `Mapped` where they lie in shared memory that the
                server may read in place.
            outputs: wanted tensors, ``None`` for all; with a number of bytes, that one comes back through shared
                memory when the client uses it; `Mapped` where it is to be written in place.
            timeout: seconds, at most a day.
            request_id: stands in the server's log.

        Returns:
            The outputs, by tensor name.

        Raises:
            AtelierError: see ``atelier.client``.
        """
        deadline = self._timeout if timeout is None else timeout
        return await self._transport.infer(model, inputs, timeout=deadline, outputs=outputs, request_id=request_id)

    async def is_ready(self, model: str | None = None, *, timeout: float = 5.0) -> bool:
        """Whether the server, or one of its models, takes requests.

        Raises:
            AtelierError: the server does not answer.
        """
        if model is None:
            return bool(await self._transport.ask("is_server_ready", timeout=timeout))
        return bool(await self._transport.ask("is_model_ready", check_text("The model", model), timeout=timeout))

    async def status(self, *, timeout: float = 5.0) -> ServerStatus:
        """The server's state, and what its models have answered.

        Raises:
            AtelierError: the server does not answer.
        """
        return await read_status(self._transport, timeout=timeout)


def format_of(path: Path) -> str:
    """The format that a file's ending names.

    Raises:
        InvalidRequest: it names none that is known.
    """
    try:
        return parse_format(path.suffix.lstrip("."))
    except InvalidInput:
        raise InvalidRequest(f"{path} does not end in .png, .jpg, .jpeg or .webp.") from None
