"""What makes the videos until a test has the real model: small, real MP4s, the same again for the same request."""

from __future__ import annotations

import asyncio
import hashlib
import io
import threading
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import av
import numpy as np

from atelier.client import InvalidRequest

FRAMES = 5  # where nobody names a number, as the server's own default


@dataclass(frozen=True)
class Progress:
    stage: str
    step: int
    of: int
    seconds: float
    left: float | None


@dataclass(frozen=True)
class Result:
    video: bytes
    metadata: dict[str, Any]


def draw(prompt: str, image: bytes | None, frame_num: int, size: str) -> bytes:
    """An MP4 whose colours are the request's hash."""
    width, height = map(int, size.split("*"))
    seed = int.from_bytes(hashlib.sha256(prompt.encode() + (image or b"")).digest()[:4], "big")
    pixels = np.random.default_rng(seed).integers(0, 255, (frame_num, height, width, 3), np.uint8)
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream: Any = container.add_stream("libx264", rate=24)
        stream.width, stream.height, stream.pix_fmt, stream.options = width, height, "yuv420p", {"threads": "1"}
        for frame in pixels:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return file.getvalue()


def frames_of(video: bytes) -> int:
    with av.open(io.BytesIO(video)) as container:
        return sum(1 for _ in container.decode(video=0))


@dataclass
class Generator:
    """Generates as the client does: step by step, told of its progress, cancelled with the task that waits for it.

    Attributes:
        failures: what the next calls fail with, in this order.
        hold: while it is clear, work stays at its first step.
        calls: what was asked for.
        cancelled: prompts of what was cancelled.
        ready: what `is_ready` answers or raises.
    """

    failures: list[Exception] = field(default_factory=list)
    hold: threading.Event = field(default_factory=threading.Event)
    calls: list[dict[str, Any]] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    ready: bool | Exception = True

    def __post_init__(self) -> None:
        self.hold.set()

    @asynccontextmanager
    async def opened(self, _settings=None):
        yield self

    async def is_ready(self, model: str) -> bool:
        assert model == "generate"
        if isinstance(self.ready, Exception):
            raise self.ready
        return self.ready

    async def generate(self, prompt, *, image=None, loras=None, on_progress=None, timeout=None, **settings):
        self.calls.append(
            {"prompt": prompt, "image": image, "loras": loras, "timeout": timeout, "settings": dict(settings)}
        )
        if self.failures:
            raise self.failures.pop(0)
        try:
            async with asyncio.timeout(timeout):
                return await self._steps(prompt, image, on_progress or (lambda _: None), settings)
        except asyncio.CancelledError:
            self.cancelled.append(prompt)
            raise

    async def _steps(self, prompt, image, on_progress, settings) -> Result:
        steps, size = settings.get("sample_steps", 3), settings["size"]
        if "." in size:
            raise InvalidRequest(f"SIZE is {size}; accepted: WIDTH*HEIGHT.")
        for step in range(steps):
            on_progress(Progress("sampling", step, steps, 0.01 * step, 0.01 * (steps - step)))
            while not self.hold.is_set():
                await asyncio.sleep(0.01)
        on_progress(Progress("decoding", 0, 1, 0.1, None))
        frame_num = settings.get("frame_num", FRAMES)
        video = await asyncio.to_thread(draw, prompt, image, frame_num, size)
        return Result(video, {"seed": 7, "frame_num": frame_num})
