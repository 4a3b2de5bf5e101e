"""The asyncio client for ordinary code: one event loop in a thread, so that it may be called from any thread."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any, Self, TypeVar

from numpy.typing import NDArray

from atelier.client.compositing import CompositeResult, Compositing
from atelier.client.errors import AtelierError
from atelier.client.generation import Generation
from atelier.client.matting import MatteResult
from atelier.client.pipelines import DEFAULT_TIMEOUT, AsyncClient, InpaintResult
from atelier.client.shared import Inputs
from atelier.client.status import ServerStatus

T = TypeVar("T")


class Client:
    """Calls a server; safe to use from any number of threads at once.

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
        self._client = AsyncClient(
            url, timeout=timeout, shared_memory=shared_memory, headers=headers, admin_key=admin_key
        )
        self._url = url
        self._calls: set[asyncio.Task[Any]] = set()  # touched in the loop alone
        self._lock = threading.Lock()
        self._closed = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="atelier-client", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; calls of other threads fail. A second call does nothing."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            finish = asyncio.run_coroutine_threadsafe(self._finish(), self._loop)
        try:
            finish.result()
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def inpaint(self, image: Any, mask: Any, **options: Any) -> InpaintResult:
        """Remove what the mask covers: see ``AsyncClient.inpaint`` for the options."""
        return self._wait(lambda: self._client.inpaint(image, mask, **options))

    def matte(self, video: Any, folder: str | Path, **options: Any) -> MatteResult:
        """Cut the subject of a video out: see ``AsyncClient.matte`` for the options."""
        return self._wait(lambda: self._client.matte(video, folder, **options))

    def generate(self, prompt: str, **options: Any) -> Generation:
        """Make a video: see ``AsyncClient.generate`` for the options.

        Returns:
            Its ``result()`` waits for the video; iterating over it gives progress, and last the result.
        """
        made = self._client.generate(prompt, **options)
        return Generation(self._submit, lambda: made)

    def composite(self, background: Any, reference: Any, **options: Any) -> CompositeResult:
        """Set the object of one picture into another: see ``AsyncClient.composite`` for the options."""
        return self._wait(lambda: self._client.composite(background, reference, **options))

    def composite_stream(self, background: Any, reference: Any, **options: Any) -> Compositing:
        """The same with progress, over gRPC alone: see ``AsyncClient.composite_stream`` for the options.

        Returns:
            Its ``result()`` waits for the picture; iterating over it gives progress, and last the result.
        """
        made = self._client.composite_stream(background, reference, **options)
        return Compositing(self._submit, lambda: made)

    def infer(self, model: str, inputs: Inputs, **options: Any) -> dict[str, NDArray[Any]]:
        """Run any model of the server with arrays: see ``AsyncClient.infer`` for the options."""
        return self._wait(lambda: self._client.infer(model, inputs, **options))

    def is_ready(self, model: str | None = None, *, timeout: float = 5.0) -> bool:
        """Whether the server, or one of its models, takes requests: see ``AsyncClient.is_ready``."""
        return self._wait(lambda: self._client.is_ready(model, timeout=timeout))

    def status(self, *, timeout: float = 5.0) -> ServerStatus:
        """The server's state, and what its models have answered: see ``AsyncClient.status``."""
        return self._wait(lambda: self._client.status(timeout=timeout))

    def _wait(self, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        future = self._submit(call)
        try:
            return future.result()
        except concurrent.futures.CancelledError:
            raise AtelierError(f"The client of {self._url} was closed during the call.") from None
        except BaseException:  # Ctrl-C in the caller: the call is cancelled, and the server told
            future.cancel()
            raise

    def _submit(self, call: Callable[[], Coroutine[Any, Any, T]]) -> concurrent.futures.Future[T]:
        with self._lock:  # a call that the loop was given before it was closed is ended by closing it
            if self._closed:
                raise AtelierError(f"The client of {self._url} is closed.")
            return asyncio.run_coroutine_threadsafe(self._run(call), self._loop)

    async def _run(self, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        task = asyncio.current_task()
        assert task is not None, "it runs as a task"
        self._calls.add(task)
        try:
            return await call()
        finally:
            self._calls.discard(task)

    async def _finish(self) -> None:
        for task in self._calls:
            task.cancel()
        await asyncio.gather(*self._calls, return_exceptions=True)
        await self._client.close()
        # Tasks of gRPC's own, of calls that have just ended: it says so on stderr where the loop goes away before them.
        if left := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(left, timeout=1)
        # Looking up a host name leaves a thread in the loop's own pool.
        await self._loop.shutdown_default_executor()
