"""Answers that come in parts: awaited or iterated over, from asyncio and from ordinary code."""

from __future__ import annotations

import queue
import weakref
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Mapping
from concurrent.futures import Future
from contextlib import aclosing
from typing import Any, Generic, TypeVar

from numpy.typing import NDArray

from atelier.client.errors import AtelierError, UnreadableAnswer
from atelier.client.transport import Transport

P = TypeVar("P")  # progress
R = TypeVar("R")  # result


class AsyncStreamed(ABC, Generic[P, R]):
    """Work that is asked for: ``await`` it, or iterate (``async for``) over progress and, last, the result.

    Nothing is sent before. Cancelling either, or closing the iterator, cancels on the server.

    Args:
        transport: to the server.
        inputs: the request's tensors.
        timeout: seconds.
        request_id: stands in the server's log.
        on_progress: called with each progress.
    """

    noun: str
    """What the result is, for the error where there is none."""

    def __init__(
        self,
        transport: Transport,
        inputs: Mapping[str, NDArray[Any]],
        *,
        timeout: float,
        request_id: str,
        on_progress: Callable[[P], None] | None,
    ) -> None:
        self._transport, self._inputs, self._on_progress = transport, inputs, on_progress
        self._call: dict[str, Any] = {"timeout": timeout, "request_id": request_id}
        self._begun: weakref.WeakSet[AsyncGenerator[P | R]] = weakref.WeakSet()

    @abstractmethod
    def _events(self) -> AsyncGenerator[tuple[P | None, R | None]]:
        """Progress, or the result, one after the other as they come."""

    def __await__(self) -> Generator[Any, None, R]:
        return self._result().__await__()

    def __aiter__(self) -> AsyncGenerator[P | R]:
        begun = self._walk()
        self._begun.add(begun)
        return begun

    async def aclose(self) -> None:
        """End what a loop that was left has begun, and wait until the server was told."""
        for begun in list(self._begun):
            await begun.aclose()

    async def _walk(self) -> AsyncGenerator[P | R]:
        result: R | None = None
        async with aclosing(self._events()) as events:
            async for progress, found in events:
                if found is not None:
                    result = found
                if progress is not None:
                    if self._on_progress is not None:
                        self._on_progress(progress)
                    yield progress
        if result is None:
            raise UnreadableAnswer(f"The answer of {self._transport.url} ends without a {self.noun}.")
        yield result

    async def _result(self) -> R:
        last: Any = None
        async with aclosing(self.__aiter__()) as events:
            async for event in events:
                last = event
        found: R = last  # without a result the iterator has raised
        return found


class Streamed(Generic[P, R]):
    """The same for ordinary code: `result` waits; iterating gives progress and, last, the result.

    Args:
        start: hands a coroutine to the client's loop.
        made: what is asked for, in that loop.
    """

    def __init__(
        self, start: Callable[[Callable[[], Any]], Future[Any]], made: Callable[[], AsyncStreamed[P, R]]
    ) -> None:
        self._start, self._made = start, made

    def result(self) -> R:
        """Wait for the result.

        Raises:
            AtelierError: see ``atelier.client``.
        """
        last: Any = None
        for event in self:
            last = event
        if last is None:
            raise AtelierError(f"The answer ended without a {self._made().noun}.")
        found: R = last
        return found

    def __iter__(self) -> Iterator[P | R]:
        events: queue.SimpleQueue[P | R | None] = queue.SimpleQueue()

        async def collect() -> None:
            try:
                async with aclosing(self._made().__aiter__()) as made:
                    async for event in made:
                        events.put(event)
            finally:
                events.put(None)

        future = self._start(collect)
        try:
            while (event := events.get()) is not None:
                yield event
            future.result()
        finally:  # the loop was left, or Ctrl-C: the server is told
            future.cancel()
