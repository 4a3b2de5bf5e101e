"""One task: photo, video, upload, report."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Protocol, TypeVar

import structlog
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type

from atelier.client import (
    AtelierError,
    DeadlineExceeded,
    QueueFull,
    QueueTimeout,
    ServerError,
    ServerUnavailable,
)
from clients.job_worker.control_plane import ControlPlane
from clients.job_worker.errors import Dropped, Interrupted, Passing, Refused, TaskError, one_line
from clients.job_worker.lease import while_held
from clients.job_worker.observing import Metrics, Outcome, Progress, ProgressLog
from clients.job_worker.retries import Retries, error_of
from clients.job_worker.settings import Settings
from clients.job_worker.storage import Storage
from clients.job_worker.tasks import Offer, Task, parse

log = structlog.get_logger("job_worker")
T = TypeVar("T")

WAITING = (QueueFull, QueueTimeout, ServerUnavailable)
"""What passes: a task waits for it, up to ``patience``."""


class Result(Protocol):
    """A generated video."""

    @property
    def video(self) -> bytes:
        """The MP4 file."""

    @property
    def metadata(self) -> dict[str, Any]:
        """What was done: seed, frames, size, every setting."""


class Generator(Protocol):
    """What makes videos: `atelier.client.AsyncClient`."""

    async def is_ready(self, model: str) -> bool:
        """Whether a model takes requests.

        Raises:
            AtelierError: the server does not answer.
        """

    def generate(
        self,
        prompt: str,
        *,
        image: bytes | None = None,
        on_progress: Callable[[Progress], None] | None = None,
        timeout: float | None = None,
        **settings: Any,
    ) -> Awaitable[Result]:
        """Make one; where the waiting task is cancelled, so is the work on the server.

        Raises:
            AtelierError: it could not be made.
        """


class Handler:
    """Makes videos of tasks.

    Args:
        settings: the worker's.
        control: where tasks come from.
        storage: where files are.
        generator: what makes videos.
        metrics: where it counts.
        stopping: set when nothing that takes long is to be waited for any more.
    """

    def __init__(
        self,
        settings: Settings,
        control: ControlPlane,
        storage: Storage,
        generator: Generator,
        metrics: Metrics,
        stopping: asyncio.Event,
    ) -> None:
        self._settings, self._control, self._storage, self._generator = settings, control, storage, generator
        self._retries, self._stopping = Retries(settings, metrics), stopping

    async def do(self, offer: Offer) -> Outcome:
        """Do a task, and report how it went.

        Raises:
            Dropped: nothing is to be reported.
        """
        item_id = offer.item_id
        try:
            task = parse(offer)
            path = await while_held(self._control, item_id, self._settings, lambda: self._make(task))
        except Dropped:
            raise
        except TaskError as error:
            log.error("failed", error=str(error))
            return await self._failed(item_id, str(error))
        except Exception:
            log.exception("failed")  # a fault of ours; without a report the task would come back for ever
            return await self._failed(item_id, "The worker failed; its log has the cause.")
        # Its heartbeats have ended: one that came after the report would be refused, as if the lease were lost.
        return await self._report(Outcome.COMPLETED, lambda: self._control.report_completed(item_id, path))

    async def _failed(self, item_id: str, message: str) -> Outcome:
        return await self._report(Outcome.FAILED, lambda: self._control.report_failed(item_id, message))

    async def _report(self, outcome: Outcome, call: Callable[[], Awaitable[None]]) -> Outcome:
        """Report until it comes through. What cannot be reported is not reported as something else instead."""
        try:
            await self._retries.passing("report", self._settings.report_attempts, call)
        except (Passing, Refused) as error:
            log.error("not reported", report=outcome, error=str(error))
            return Outcome.UNREPORTED
        return outcome

    async def _make(self, task: Task) -> str:
        """Make the video and store it.

        Returns:
            Its path in the store.

        Raises:
            TaskError: it cannot be made, or stored.
            Interrupted: not by this worker, now.
        """
        photo = None
        if task.photo_storage_path is not None:
            path = task.photo_storage_path
            photo = await self._transfer("download", lambda: self._download(path))
        video = await self._generate(task, photo)
        return await self._transfer("upload", lambda: self._upload(task.item_id, video))

    async def _transfer(self, step: str, call: Callable[[], Awaitable[T]]) -> T:
        try:
            return await self._retries.passing(step, self._settings.transfer_attempts, call)
        except Passing as error:
            raise TaskError(f"{error} ({self._settings.transfer_attempts} attempts)") from None
        except Refused as error:
            raise TaskError(str(error)) from None

    async def _download(self, path: str) -> bytes:
        """One try, with a URL of its own: the last one may have expired."""
        presigned = await self._control.presign_download(path)
        return await self._storage.read_photo(presigned.url)

    async def _upload(self, item_id: str, video: bytes) -> str:
        """One try, likewise; and no other worker's video is overwritten."""
        await self._control.heartbeat(item_id)
        presigned = await self._control.presign_upload(item_id)
        await self._storage.write_video(presigned.url, video)
        return presigned.storage_path or f"videos/{item_id}.mp4"

    async def _generate(self, task: Task, photo: bytes | None) -> bytes:
        """The video's file.

        Raises:
            TaskError: it cannot be made.
            Interrupted: Triton was full or away for too long, or the worker stops while it is.
        """
        settings, failures = self._settings, 0

        def enough(state: RetryCallState) -> bool:
            nonlocal failures
            if isinstance(error_of(state), WAITING):
                return self._stopping.is_set() or state.idle_for >= settings.patience
            failures += 1
            return failures >= settings.attempts

        retrying = AsyncRetrying(
            retry=retry_if_exception_type((*WAITING, ServerError)),
            wait=self._retries.pause(),
            stop=enough,
            sleep=self._pause,
            before_sleep=self._retries.say("generate"),
            reraise=True,
        )
        try:
            result: Result = await retrying(self._ask, task, photo)
        except WAITING as error:
            raise Interrupted(one_line(error)) from None
        except DeadlineExceeded:
            raise TaskError(f"There was no video within {settings.timeout:g} s.") from None
        except ServerError as error:
            raise TaskError(f"{one_line(error)} ({failures} attempts)") from None
        except AtelierError as error:
            raise TaskError(one_line(error)) from None
        log.info("generated", size=len(result.video), seed=result.metadata.get("seed"))
        return result.video

    async def _ask(self, task: Task, photo: bytes | None) -> Result:
        """One try."""
        settings = {"size": self._settings.video_size, "format": "mp4", **self._settings.request}
        frame_num = self._settings.frame_num if task.frame_num is None else task.frame_num
        if frame_num is not None:
            settings["frame_num"] = frame_num
        facts: dict[str, Any] = {"on_progress": ProgressLog(), "timeout": self._settings.timeout}
        result = await self._generator.generate(task.prompt, image=photo, **facts, **settings)
        if not result.video:
            raise ServerError("The server answered without a video.")
        return result

    async def _pause(self, seconds: float) -> None:
        """Wait; who is told to stop does not wait on."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)
