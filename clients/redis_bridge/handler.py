"""One task: read it, have it inpainted, answer it."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, TypeVar

import numpy as np
import structlog
from numpy.typing import NDArray
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_random_exponential

from atelier.client import (
    AsyncClient,
    DeadlineExceeded,
    InpaintResult,
    InvalidRequest,
    Mapped,
    QueueFull,
    QueueTimeout,
    ServerError,
    ServerUnavailable,
)
from atelier.client.shared import Inputs
from atelier.media import pad_to_modulus
from clients.redis_bridge import segments
from clients.redis_bridge.geometry import restore
from clients.redis_bridge.settings import Settings
from clients.redis_bridge.sources import Item
from clients.redis_bridge.tasks import (
    MODULUS,
    RESULT,
    EncodedTask,
    Envelope,
    Task,
    TaskError,
    envelope,
    parse,
)

log = structlog.get_logger("redis_bridge")

WAITING = (QueueFull, QueueTimeout, ServerUnavailable, segments.NoRoom)
"""What passes: a task waits for it as long as it takes."""


class Interrupted(Exception):
    """The bridge is to stop while a task waits for what may take long: it is given back."""


FAILING = (ServerError, DeadlineExceeded)
"""What may pass: a task is tried again so many times."""

Pixels = NDArray[np.uint8]
T = TypeVar("T")


class Handler:
    """Makes answers of payloads.

    Args:
        settings: the bridge's.
        client: of Triton, with shared memory or without.
        redis: where the answers go.
        stopping: set when nothing that takes long is to be waited for any more.
    """

    def __init__(self, settings: Settings, client: AsyncClient, redis: Any, stopping: asyncio.Event) -> None:
        self._settings, self._client, self._redis, self._stopping = settings, client, redis, stopping

    async def answer(self, item: Item, retried: Callable[[], None]) -> str:
        """Answer a task, and free its segments.

        Args:
            item: what its producer wrote.
            retried: called before every further try.

        Returns:
            Why it cannot be answered with a picture; empty where it was.

        Raises:
            RedisError: the answer could not be written. Everything may be done again.
            Interrupted: the bridge stops first; likewise.
        """
        started, said = time.perf_counter(), envelope(item)
        reason = await self._standing(said)
        if reason is None:
            fields = await self._fields(item, said, retried)
            reason = fields["error"]
            if said.request_id:
                await self._write(said, {**fields, "seconds": f"{time.perf_counter() - started:.3f}"})
        for name in said.segments:
            with suppress(OSError):
                segments.unlink(name)
        return str(reason)

    async def _standing(self, said: Envelope) -> str | None:
        """The error of the answer to this very task that stands already, empty where there was none; else ``None``.

        A bridge that died, or lost Redis, between the answer and letting go of the task has left it.
        """
        if not said.request_id:
            return None
        digest, error = await self._redis.hmget(RESULT.format(said.request_id), "task", "error")
        return (error or b"").decode() if digest == said.digest.encode() else None

    async def _fields(self, item: Item, said: Envelope, retried: Callable[[], None]) -> dict[str, Any]:
        """What the answer says of how it went, and where the picture is."""
        encoded = not isinstance(item.body, bytes)
        try:
            task = parse(item)
            if isinstance(task, EncodedTask):
                result = await self._until_done(lambda: self._encoded(task), retried)
                found = {"result": result.data, "report": json.dumps(result.report, ensure_ascii=False)}
            else:
                output = await self._until_done(lambda: self._mapped(task, _name(said)), retried)
                found = {"inpaint_shm_info": json.dumps(output.info())}
            return {**found, "status": "ok", "error": ""}
        except TaskError as error:
            nothing = {} if encoded else {"inpaint_shm_info": "{}"}
            return {**nothing, "status": "failed", "error": str(error)}

    async def _write(self, said: Envelope, fields: Mapping[str, Any]) -> None:
        key = RESULT.format(said.request_id)
        mapping = {"image_id": said.image_id, "task": said.digest, **fields}
        if said.is_long:
            mapping["is_long"] = said.is_long
        async with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.delete(key)  # fields of an older answer of this name would stay
            pipeline.hset(key, mapping=mapping)
            if self._settings.result_ttl is not None:
                pipeline.expire(key, self._settings.result_ttl)
            await pipeline.execute()

    async def _until_done(self, attempt: Callable[[], Awaitable[T]], retried: Callable[[], None]) -> T:
        """Try until it is done or cannot be.

        Raises:
            TaskError: it cannot be done.
            Interrupted: the bridge stops first.
        """
        failures = 0

        def enough(state: RetryCallState) -> bool:
            nonlocal failures
            failures += isinstance(_error(state), FAILING)
            return self._stopping.is_set() or failures >= self._settings.attempts

        attempts = AsyncRetrying(
            retry=retry_if_exception_type((*WAITING, *FAILING)),
            wait=wait_random_exponential(multiplier=0.1, max=5),
            stop=enough,
            before_sleep=lambda state: _retrying(state, retried),
            reraise=True,
        )

        async def once() -> T:  # tenacity awaits coroutine functions alone
            return await attempt()

        try:
            return await attempts(once)
        except WAITING as error:
            raise Interrupted(str(error)) from None
        except FAILING as error:
            if failures < self._settings.attempts:
                raise Interrupted(str(error)) from None
            raise TaskError(f"{error} ({failures} attempts)") from None
        except InvalidRequest as error:
            raise TaskError(str(error)) from None

    async def _encoded(self, task: EncodedTask) -> InpaintResult:
        """A stream's picture through the pipeline `inpaint`, which decodes, cuts, and encodes."""
        limits: dict[str, Any] = {"timeout": self._settings.timeout, "request_id": task.request_id}
        return await self._client.inpaint(task.image, task.mask, **task.options, **limits)

    async def _mapped(self, task: Task, name: str) -> segments.Created:
        """A list's page through `lama`, which reads it where it lies; the answer in a segment of this name."""
        picture, mask = segments.attach(task.picture), segments.attach(task.mask)
        if any(side % MODULUS for side in picture.shape[:2]):
            page = await self._padded(task, picture, mask)
            return await asyncio.to_thread(_restored, page, task, name)
        scratch = segments.create(f"{name}_page", task.picture.shape)
        try:
            inputs = {"IMAGE": Mapped(picture[None], task.picture.name), "MASK": Mapped(mask[None], task.mask.name)}
            page = await self._lama(task, inputs, Mapped(scratch.array[None], scratch.name))
            return await asyncio.to_thread(_restored, page, task, name)
        finally:
            # Without an answer Triton may still be writing to it: it keeps what it has open.
            segments.unlink(scratch.name)

    async def _padded(self, task: Task, picture: Pixels, mask: Pixels) -> Pixels:
        """A page of sides that the network does not take, padded as upstream pads it: these pages alone are copied."""
        padded = [pad_to_modulus(array, MODULUS)[None] for array in (picture, mask)]
        inputs = dict(zip(("IMAGE", "MASK"), padded, strict=True))
        height, width = picture.shape[:2]
        return (await self._lama(task, inputs, padded[0].nbytes))[:height, :width]

    async def _lama(self, task: Task, inputs: Inputs, output: Mapped | int) -> Pixels:
        limits: dict[str, Any] = {"timeout": self._settings.timeout, "request_id": task.request_id}
        answer = await self._client.infer("lama", inputs, outputs={"INPAINTED": output}, **limits)
        page: Pixels = answer["INPAINTED"][0]
        return page


def _name(said: Envelope) -> str:
    """A segment's, after the task: a bridge that does it again replaces what one that died has left."""
    return f"inpainted_{hashlib.sha256(said.request_id.encode() + said.digest.encode()).hexdigest()[:32]}"


def _restored(page: Pixels, task: Task, name: str) -> segments.Created:
    output = segments.create(name, (*task.original_size, 3))
    restore(page, task.padding_info, task.original_size, output.array)
    return output


def _retrying(state: RetryCallState, retried: Callable[[], None]) -> None:
    retried()
    pause = state.next_action.sleep if state.next_action else 0
    log.warning("trying again", attempt=state.attempt_number, error=str(_error(state)), seconds=round(pause, 2))


def _error(state: RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome else None
