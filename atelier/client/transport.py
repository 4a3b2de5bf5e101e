"""One inference over gRPC or HTTP, with a deadline, and through shared memory where both ends can reach it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import uuid
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import numpy as np
import tritonclient.grpc as grpc_client
import tritonclient.grpc.aio as grpc_aio
import tritonclient.http as http_client
import tritonclient.http.aio as http_aio
from numpy.typing import NDArray
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from atelier.client.errors import (
    AtelierError,
    DeadlineExceeded,
    InvalidRequest,
    QueueFull,
    QueueTimeout,
    ServerError,
    ServerUnavailable,
    translate,
)
from atelier.client.shared import Load, Segment

log = logging.getLogger(__name__)

Arrays = Mapping[str, NDArray[Any]]


class Transport:
    """A connection to one server.

    Args:
        url: ``host:port`` or ``grpc://host:port`` for gRPC, ``http://host:port`` for HTTP; ``https`` and ``grpcs``
            with TLS.
        shared_memory: send arrays through system shared memory where the server shares this machine; where it does
            not, or refuses, they are sent in the message, which is said once in the log.
        headers: sent with every call, for instance a key that a proxy asks for.
    """

    def __init__(self, url: str, *, shared_memory: bool, headers: Mapping[str, str] | None = None) -> None:
        self.url = url
        scheme, address = _split(url)
        tls = scheme in ("https", "grpcs")
        self._tensors = http_client if scheme.startswith("http") else grpc_client
        self._headers = dict(headers or {})
        self._shared_memory = shared_memory
        self._segments: list[Segment] = []  # registered, and not in use
        if self._tensors is http_client:
            # aiohttp asks for compression by itself, and Triton then spends 25 ns a byte on it.
            self._headers = {"Accept-Encoding": "identity", **self._headers}
            # The deadline of each call is ours; the library's own would cut long ones.
            self._client = http_aio.InferenceServerClient(address, conn_timeout=None, ssl=tls)
        else:
            self._client = grpc_aio.InferenceServerClient(address, ssl=tls)

    async def close(self) -> None:
        """Close the connection, and free the shared memory."""
        while self._segments:
            await self._discard(self._segments.pop())
        await self._client.close()

    async def infer(
        self,
        model: str,
        inputs: Arrays,
        *,
        timeout: float,
        outputs: Mapping[str, int | None] | None = None,
        request_id: str = "",
    ) -> dict[str, NDArray[Any]]:
        """Run a model once.

        Args:
            model: its name.
            inputs: arrays with their batch dimension, by tensor name.
            timeout: seconds until the call is given up; the server is told too, so that it drops it from its queue.
            outputs: wanted tensors, ``None`` for all; with a number of bytes, that tensor comes back through shared
                memory when shared memory is used.
            request_id: stands in the server's log.

        Raises:
            AtelierError: see ``atelier.client.errors``.
        """
        if not timeout > 0:
            raise InvalidRequest(f"The timeout is {timeout} s; it must be more than 0.")
        wanted = dict(outputs or {})
        if self._shared_memory:
            answer = await self._infer_shared(model, Load(inputs, wanted), timeout, request_id)
            if answer is not None:
                return answer
        tensors = [self._input(name, array) for name, array in inputs.items()]
        requested = [self._tensors.InferRequestedOutput(name) for name in wanted] or None
        result = await self._call(model, tensors, requested, timeout, request_id)
        return {name: result.as_numpy(name) for name in wanted or _names(result)}

    async def ask(self, what: str, *arguments: Any, timeout: float) -> Any:
        """One of tritonclient's questions to the server (``is_server_ready``, ``get_server_metadata``, …), as JSON."""
        form = {"as_json": True} if self._tensors is grpc_client and what.startswith("get_") else {}
        return await self._bounded(getattr(self._client, what)(*arguments, headers=self._headers, **form), timeout)

    async def _infer_shared(
        self, model: str, load: Load, timeout: float, request_id: str
    ) -> dict[str, NDArray[Any]] | None:
        """The call through a segment; ``None`` where the server cannot or may not read it."""
        segment = await self._take(load.size, timeout)
        if segment is None:
            return None
        answered = False
        try:
            result = await self._call(model, *segment.write(self._tensors, load), timeout, request_id)
            answered = True
            return segment.read(result, load)
        except (InvalidRequest, QueueFull, QueueTimeout, ServerError) as error:
            # A server that was started anew knows no segments.
            answered = "shared memory region" not in str(error)
            if answered:
                raise
        finally:
            # Without an answer, the server may still be reading it or writing to it.
            if answered:
                self._segments.append(segment)
            else:
                await self._discard(segment)
        while self._segments:
            await self._discard(self._segments.pop())
        return await self._infer_shared(model, load, timeout, request_id)

    async def _take(self, size: int, timeout: float) -> Segment | None:
        """A registered segment that nobody uses; where registering is refused, go on without, for good."""
        fitting = [segment for segment in self._segments if segment.size >= size]
        if fitting:
            best = min(fitting, key=lambda segment: segment.size)
            self._segments.remove(best)
            return best
        if self._segments:  # too small: a larger one takes its place
            await self._discard(self._segments.pop())
        segment = Segment(size)
        call = self._client.register_system_shared_memory(
            segment.name, segment.key, segment.size, headers=self._headers
        )
        try:
            await self._bounded(call, timeout)
        except BaseException as error:
            segment.close()
            if not isinstance(error, AtelierError) or isinstance(error, DeadlineExceeded | ServerUnavailable):
                raise
            log.warning("Shared memory is not used with %s, tensors are sent in the message: %s", self.url, error)
            self._shared_memory = False
            return None
        return segment

    async def _discard(self, segment: Segment) -> None:
        """Free a segment; a server that is gone or started anew does not know it, and that is well."""
        with contextlib.suppress(AtelierError):
            await self._bounded(self._client.unregister_system_shared_memory(segment.name, headers=self._headers), 10.0)
        segment.close()

    def _input(self, name: str, array: NDArray[Any]) -> Any:
        tensor = self._tensors.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
        tensor.set_data_from_numpy(array)
        return tensor

    async def _call(self, model: str, inputs: Sequence[Any], outputs: Any, timeout: float, request_id: str) -> Any:
        deadline = {"client_timeout": timeout} if self._tensors is grpc_client else {}
        call = self._client.infer(
            model,
            inputs,
            outputs=outputs,
            request_id=request_id or uuid.uuid4().hex[:12],
            timeout=int(timeout * 1e6),
            headers=self._headers,
            **deadline,
        )
        return await self._bounded(call, timeout)

    async def _bounded(self, call: Any, timeout: float) -> Any:
        """Wait for a call; every failure becomes one of our exceptions."""
        try:
            async with asyncio.timeout(timeout):
                return await call
        except TimeoutError:
            raise DeadlineExceeded(f"No answer from {self.url} within {timeout:g} s.") from None
        except InferenceServerException as error:
            raise translate(error, self.url) from None
        except (aiohttp.ClientError, OSError) as error:
            raise ServerUnavailable(f"No server answers at {self.url}: {error}") from None


def _split(url: str) -> tuple[str, str]:
    """Scheme and address of a URL; without a scheme it is gRPC."""
    parts = urlsplit(url if "://" in url else f"grpc://{url}")
    try:
        valid = parts.scheme in ("grpc", "grpcs", "http", "https") and parts.hostname and parts.port
    except ValueError:
        valid = None
    if not valid or parts.query or parts.fragment:
        raise InvalidRequest(f"'{url}' is no server address; accepted: localhost:8001 (gRPC), http://localhost:8000.")
    return parts.scheme, parts.netloc + parts.path.rstrip("/")


def _names(result: Any) -> list[str]:
    """The names of all tensors of an answer, which the two protocols hold differently."""
    response = result.get_response()
    if isinstance(response, dict):
        return [output["name"] for output in response["outputs"]]
    return [output.name for output in response.outputs]


def strings(*values: bytes) -> NDArray[np.object_]:
    """Files or texts as a ``STRING [1]`` tensor with its batch dimension."""
    # dtype object: numpy's own bytes type drops trailing zeros
    array = np.empty((len(values), 1), dtype=np.object_)
    array[:, 0] = values
    return array
