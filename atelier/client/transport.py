"""One inference over gRPC or HTTP, with a deadline, and through shared memory where both ends can reach it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import aiohttp
import grpc.aio
import tritonclient.grpc as grpc_client
import tritonclient.grpc.aio as grpc_aio
import tritonclient.http as http_client
import tritonclient.http.aio as http_aio
from numpy.typing import NDArray
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from atelier import access
from atelier.client.addresses import LOOPBACK_OPTIONS, is_loopback, split
from atelier.client.errors import (
    AtelierError,
    DeadlineExceeded,
    InvalidRequest,
    QueueFull,
    QueueTimeout,
    ServerError,
    ServerUnavailable,
    UnknownSegment,
    UnreadableAnswer,
    reading,
    translate,
    translate_streamed,
)
from atelier.client.keys import AdminKey
from atelier.client.regions import Refused, Regions
from atelier.client.requests import (
    Deadline,
    check_headers,
    check_inputs,
    check_outputs,
    check_text,
    strings,
)
from atelier.client.shared import Inputs, Load, Mapped, NoRoom, Outputs, Segment, collect, place

__all__ = ["Transport", "strings"]

log = logging.getLogger(__name__)

ENDING = 5.0
"""Seconds that a stream has to end after an error."""


class Transport:
    """A connection to one server.

    Args:
        url: ``host:port`` or ``grpc://host:port`` for gRPC, ``http://host:port`` for HTTP; ``https`` and ``grpcs``
            with TLS.
        shared_memory: send arrays through system shared memory where the server shares this machine; where it does
            not, or refuses, they are sent in the message, which is said once in the log.
        headers: sent with every call, for instance a key that a proxy asks for.
        admin_key: sent with what the server restricts: shared memory and statistics; ``None``: what the environment
            names, or for a server of this user on this machine its own.
    """

    def __init__(
        self,
        url: str,
        *,
        shared_memory: bool,
        headers: Mapping[str, str] | None = None,
        admin_key: str | None = None,
    ) -> None:
        self._scheme, self._address = split(url)
        self.url = url
        self._tensors = http_client if self._scheme.startswith("http") else grpc_client
        self._headers = check_headers(headers)
        if self._tensors is http_client:
            # aiohttp asks for compression by itself, and Triton then spends 25 ns a byte on it.
            self._headers = {"accept-encoding": "identity", **self._headers}
        self._key = AdminKey(self._address, admin_key, access.GRPC_HEADER if self.is_grpc else access.HTTP_HEADER)
        self._shared_memory = shared_memory
        self._room_missed = False
        self._segments: list[Segment] = []  # registered, and not in use
        self._regions = Regions(self._register, self._unregister)
        self._connection: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    @property
    def is_grpc(self) -> bool:
        """Whether it speaks gRPC, which alone carries answers in parts."""
        return self._tensors is grpc_client

    @property
    def _client(self) -> Any:
        """The connection, which belongs to the event loop that used it first."""
        if self._closed:
            raise AtelierError(f"The client of {self.url} is closed.")
        loop = asyncio.get_running_loop()
        if self._connection is None:
            self._connection, self._loop = self._connect(), loop
        elif self._loop is not loop:
            raise InvalidRequest(f"The client of {self.url} is used in another event loop: make one for each.")
        return self._connection

    def _connect(self) -> Any:
        tls = self._scheme in ("https", "grpcs")
        if self._tensors is http_client:
            # The deadline of each call is ours; the library's own would cut long ones.
            return http_aio.InferenceServerClient(self._address, conn_timeout=None, ssl=tls)
        options = LOOPBACK_OPTIONS if is_loopback(self._address) else None
        return grpc_aio.InferenceServerClient(self._address, ssl=tls, channel_args=options)

    async def close(self) -> None:
        """Close the connection, and free the shared memory; a second call does nothing."""
        if self._closed:
            return
        try:
            while self._segments:
                self._discard(self._segments.pop())
            await self._regions.close()
        finally:
            self._closed = True
            if self._connection is not None:
                await self._connection.close()

    async def infer(
        self,
        model: str,
        inputs: Inputs,
        *,
        timeout: float,
        outputs: Outputs | None = None,
        request_id: str = "",
    ) -> dict[str, NDArray[Any]]:
        """Run a model once.

        Args:
            model: its name.
            inputs: arrays with their batch dimension, by tensor name.
            timeout: seconds until the call is given up; the server is told too, so that it drops it from its queue.
            outputs: wanted tensors, ``None`` for all; with a number of bytes, that tensor comes back through shared
                memory when shared memory is used. What is `Mapped`, inputs and outputs, is then read and written in
                place; else it is sent, and comes back, in the message.
            request_id: stands in the server's log.

        Raises:
            AtelierError: see ``atelier.client.errors``.
        """
        deadline = Deadline(timeout)
        check_text("The model", model)
        check_text("The request's id", request_id, empty=True)
        checked, wanted = check_inputs(inputs), check_outputs(outputs)
        if self._shared_memory:
            answer = await self._infer_shared(model, Load(checked, wanted), deadline, request_id)
            if answer is not None:
                return answer
        tensors = [self._input(name, _array_of(given)) for name, given in checked.items()]
        requested = [self._tensors.InferRequestedOutput(name) for name in wanted] or None
        result = await self._call(model, tensors, requested, deadline, request_id)
        with reading(self.url):
            return {name: _array(result, name) for name in wanted or _names(result)}

    async def stream(
        self, model: str, inputs: Inputs, *, timeout: float, request_id: str = ""
    ) -> AsyncIterator[dict[str, NDArray[Any]]]:
        """Run a model that answers many times; gRPC alone has that. Leaving the loop cancels the work.

        Args:
            model: its name.
            inputs: arrays with their batch dimension, by tensor name.
            timeout: seconds until the call is given up.
            request_id: stands in the server's log.

        Yields:
            The outputs of each response, by tensor name.

        Raises:
            AtelierError: see ``atelier.client.errors``.
        """
        deadline = Deadline(timeout)
        check_text("The model", model)
        check_text("The request's id", request_id, empty=True)
        if self._tensors is not grpc_client:
            raise InvalidRequest(f"{model} answers in parts, which HTTP does not carry: use the gRPC address.")
        tensors = [self._input(name, _array_of(given)) for name, given in check_inputs(inputs).items()]
        request = {
            "model_name": model,
            "inputs": tensors,
            "request_id": request_id or uuid.uuid4().hex[:12],
            "timeout": max(1, int(deadline.left * 1e6)),
        }

        async def requests() -> AsyncIterator[dict[str, Any]]:
            yield request

        # Not with the header triton_grpc_error, at which Triton 2.51 dies. Our own deadline comes before gRPC's.
        headers = dict(self._headers)
        answers = self._client.stream_infer(requests(), headers=headers, stream_timeout=deadline.left + 1)
        try:
            # One request a stream: where the server ends it, all answers are there.
            while (answer := await self._bounded(anext(answers, None), deadline)) is not None:
                result, error = answer
                if error is not None:
                    await self._ended(answers)
                    raise translate_streamed(error, self.url)
                with reading(self.url):
                    found = {name: _array(result, name) for name in _names(result)}
                if found:
                    yield found
        finally:
            answers.cancel()

    async def _ended(self, answers: AsyncIterator[Any]) -> None:
        """Wait for the end of a stream that has failed: Triton 2.51 may die of a cancellation that meets its end.

        A model that goes on after an error is cancelled all the same, a little later.
        """
        with contextlib.suppress(AtelierError):
            deadline = Deadline(ENDING)
            while await self._bounded(anext(answers, None), deadline) is not None:
                pass

    async def ask(self, what: str, *arguments: Any, timeout: float) -> Any:
        """One of tritonclient's questions to the server (``is_server_ready``, ``get_server_metadata``, …), as JSON."""
        deadline = Deadline(timeout)
        form = {"as_json": True} if self._tensors is grpc_client and what.startswith("get_") else {}
        return await self._bounded(
            getattr(self._client, what)(*arguments, headers=self._key.beside(self._headers), **form), deadline
        )

    async def _infer_shared(
        self, model: str, load: Load, deadline: Deadline, request_id: str
    ) -> dict[str, NDArray[Any]] | None:
        """The call through a segment; ``None`` where there is none, or the server cannot or may not read it."""
        try:
            return await self._infer_in_segment(model, load, deadline, request_id)
        except UnknownSegment:
            # The server was started anew: it knows none of them. Once is enough.
            self._regions.lose()
            while self._segments:
                self._discard(self._segments.pop())
            return await self._infer_in_segment(model, load, deadline, request_id)

    async def _infer_in_segment(
        self, model: str, load: Load, deadline: Deadline, request_id: str
    ) -> dict[str, NDArray[Any]] | None:
        segment = await self._take(load.size, deadline) if load.size else None
        if load.size and segment is None:
            return None
        answered, used = False, None
        try:
            try:
                used = await self._regions.use(load, deadline)
            except Refused as error:
                self._refused(error.__cause__ or error)
            if used is None:
                answered = True  # nothing was sent
                return None
            result = await self._call(model, *place(self._tensors, load, segment), deadline, request_id)
            with reading(self.url):
                answer = collect(result, load, segment)
            answered = True
            return answer
        except (InvalidRequest, QueueFull, QueueTimeout, ServerError) as error:
            answered = not isinstance(error, UnknownSegment | UnreadableAnswer)
            raise
        finally:
            self._regions.release(used or [])
            # Without an answer, the server may still be reading it or writing to it.
            if segment is not None and answered:
                self._segments.append(segment)
            elif segment is not None:
                self._discard(segment)

    async def _take(self, size: int, deadline: Deadline) -> Segment | None:
        """A registered segment that nobody uses; ``None`` where there is no memory for it.

        Where registering is refused, calls go on without, for good.
        """
        try:
            fitting = [segment for segment in self._segments if segment.size >= size]
            if fitting:
                best = min(fitting, key=lambda segment: segment.size)
                best.reserve(size)
                self._segments.remove(best)
                return best
            if self._segments:  # too small: a larger one takes its place
                self._discard(self._segments.pop())
            segment = Segment(size)
        except NoRoom as error:
            if not self._room_missed:
                log.warning(
                    "Large calls to %s do without shared memory, tensors are sent in the message: %s", self.url, error
                )
            self._room_missed = True
            return None
        try:
            call = self._client.register_system_shared_memory(
                segment.name, segment.key, segment.size, headers=self._key.beside(self._headers)
            )
            await self._bounded(call, deadline)
        except BaseException as error:
            segment.close()
            if not isinstance(error, InvalidRequest | ServerError):
                raise
            self._refused(error)
            return None
        return segment

    def _refused(self, error: BaseException) -> None:
        """Do without shared memory from now on, and say so, once, also where several calls find out together."""
        if self._shared_memory:
            log.warning("Shared memory is not used with %s, tensors are sent in the message: %s", self.url, error)
        self._shared_memory = False

    def _discard(self, segment: Segment) -> None:
        """Free a segment; a server that is gone or started anew does not know it, and that is well."""
        self._regions.forget(segment.name)
        segment.close()

    async def _register(self, name: str, key: str, size: int, deadline: Deadline) -> None:
        call = self._client.register_system_shared_memory(name, key, size, headers=self._key.beside(self._headers))
        await self._bounded(call, deadline)

    async def _unregister(self, name: str, deadline: Deadline) -> None:
        call = self._client.unregister_system_shared_memory(name, headers=self._key.beside(self._headers))
        await self._bounded(call, deadline)

    def _input(self, name: str, array: NDArray[Any]) -> Any:
        tensor = self._tensors.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
        tensor.set_data_from_numpy(array)
        return tensor

    async def _call(self, model: str, inputs: Sequence[Any], outputs: Any, deadline: Deadline, request_id: str) -> Any:
        left = deadline.left
        bound = {"client_timeout": left} if self._tensors is grpc_client else {}
        call = self._client.infer(
            model,
            inputs,
            outputs=outputs,
            request_id=request_id or uuid.uuid4().hex[:12],
            timeout=max(1, int(left * 1e6)),  # 0 would be none
            headers=dict(self._headers),  # a copy: tritonclient writes this request's sizes into it
            **bound,
        )
        return await self._bounded(call, deadline)

    async def _bounded(self, call: Any, deadline: Deadline | float) -> Any:
        """Wait for a call; every failure becomes one of our exceptions."""
        until = deadline if isinstance(deadline, Deadline) else Deadline(deadline)
        try:
            async with asyncio.timeout(until.left):
                return await call
        except TimeoutError:
            raise DeadlineExceeded(f"No answer from {self.url} within {until.seconds:g} s.") from None
        except InferenceServerException as error:
            raise translate(error, self.url) from None
        except grpc.aio.AioRpcError as error:  # of a stream, where tritonclient leaves them as they are
            raise translate(InferenceServerException(error.details(), str(error.code())), self.url) from None
        except (aiohttp.ClientError, OSError) as error:
            raise ServerUnavailable(f"No server answers at {self.url}: {error}") from None
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self._closed and task is not None and not task.cancelling():  # gRPC's answer where the channel is closed
                raise AtelierError(f"The client of {self.url} was closed during the call.") from None
            raise
        except MemoryError:
            raise
        # What the request holds was checked: the libraries fell over the answer.
        except Exception as error:
            kind = type(error).__name__
            raise UnreadableAnswer(f"The answer of {self.url} cannot be read ({kind}: {error}).") from error


def _array_of(given: NDArray[Any] | Mapped) -> NDArray[Any]:
    return given.array if isinstance(given, Mapped) else given


def _array(result: Any, name: str) -> NDArray[Any]:
    """One tensor of an answer."""
    array: NDArray[Any] | None = result.as_numpy(name)
    if array is None:
        raise LookupError(f"it holds no {name}")
    return array


def _names(result: Any) -> list[str]:
    """The names of all tensors of an answer, which the two protocols hold differently."""
    response = result.get_response()
    if isinstance(response, dict):
        return [output["name"] for output in response["outputs"]]
    return [output.name for output in response.outputs]
