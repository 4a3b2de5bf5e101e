"""Segments of system shared memory that carry a call's tensors."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Mapping
from multiprocessing.shared_memory import SharedMemory
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tritonclient.utils import np_to_triton_dtype, serialize_byte_tensor, triton_to_np_dtype

ALIGNMENT = 64
"""Tensors begin at multiples of this, as numpy and ONNX Runtime like them."""

SMALLEST = 2**20
"""Bytes of the smallest segment; sizes are powers of two, so that calls of similar size share segments."""

LARGEST = 2**46
"""Bytes that no machine has; beyond, Python leaves a segment behind that it could not size."""

Arrays = Mapping[str, NDArray[Any]]
Sizes = Mapping[str, int | None]


class Load:
    """One call's tensors, behind each other: all inputs, then room for the outputs whose size is known.

    Args:
        inputs: arrays by tensor name.
        outputs: wanted tensors; those with a number of bytes get room.

    Attributes:
        size: bytes that a segment must have to carry it.
    """

    def __init__(self, inputs: Arrays, outputs: Sizes) -> None:
        self.inputs = inputs
        self.outputs = outputs
        self.payloads = {name: _payload(array) for name, array in inputs.items()}
        self.offsets: dict[str, int] = {}
        self.size = 0
        rooms = [(name, payload.nbytes) for name, payload in self.payloads.items()]
        rooms += [(_room(name), size) for name, size in outputs.items() if size is not None]
        for name, room in rooms:
            self.offsets[name] = self.size
            self.size += -(-room // ALIGNMENT) * ALIGNMENT


class NoRoom(Exception):
    """There is not as much shared memory."""


class Segment:
    """A segment that is registered with the server and used for one call after the other.

    Args:
        size: bytes that it must hold at least.

    Attributes:
        size: bytes that it can hold, once there is memory for them.

    Raises:
        NoRoom: there is not as much shared memory.
    """

    def __init__(self, size: int) -> None:
        if size > LARGEST:
            raise NoRoom(f"{size} bytes of shared memory cannot be had")
        self.size = max(SMALLEST, 1 << (size - 1).bit_length())
        self._reserved = 0
        try:
            self._memory = SharedMemory(name=f"atelier_{uuid.uuid4().hex}", create=True, size=self.size)
        except OSError as error:
            raise NoRoom(f"{size} bytes of shared memory cannot be had ({error})") from None
        self.name = self._memory.name
        self.key = f"/{self._memory.name}"
        try:
            self.reserve(size)
        except NoRoom:
            self.close()
            raise

    def reserve(self, size: int) -> None:
        """Have memory behind the first bytes.

        A new segment is empty: without this, writing where /dev/shm is full would end the process (SIGBUS). Only what
        a call needs is reserved, not the size rounded up.

        Raises:
            NoRoom: there is not as much.
        """
        if size <= self._reserved:
            return
        if size > self.size:
            raise ValueError(f"the segment holds {self.size} bytes, not {size}")
        if hasattr(os, "posix_fallocate"):  # Linux; elsewhere the system grows it
            # Asked first: a machine whose /dev/shm may take all of its memory would fill it up before it refused.
            room = os.fstatvfs(self._memory._fd)  # type: ignore[attr-defined]
            if size - self._reserved > room.f_bavail * room.f_frsize:
                raise NoRoom(f"{size} bytes of shared memory cannot be had (/dev/shm is full)")
            try:
                os.posix_fallocate(self._memory._fd, 0, size)  # type: ignore[attr-defined]
            except OSError as error:
                raise NoRoom(f"{size} bytes of shared memory cannot be had ({error})") from None
        self._reserved = size

    def write(self, tensors: Any, load: Load) -> tuple[list[Any], list[Any] | None]:
        """Copy the inputs in.

        Args:
            tensors: the protocol's module (``tritonclient.grpc`` or ``tritonclient.http``).
            load: what to carry.

        Returns:
            The protocol's input tensors and requested outputs (``None`` for all), which point into the segment.
        """
        inputs = []
        for name, payload in load.payloads.items():
            np.ndarray(payload.shape, payload.dtype, self._memory.buf, load.offsets[name])[...] = payload
            array = load.inputs[name]
            tensor = tensors.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
            tensor.set_shared_memory(self.name, payload.nbytes, load.offsets[name])
            inputs.append(tensor)
        outputs = []
        for name, size in load.outputs.items():
            output = tensors.InferRequestedOutput(name)
            if size is not None:
                output.set_shared_memory(self.name, size, load.offsets[_room(name)])
            outputs.append(output)
        return inputs, outputs or None

    def read(self, result: Any, load: Load) -> dict[str, NDArray[Any]]:
        """The answer's tensors; those in the segment are copied out of it."""
        response = result.get_response()
        entries = response["outputs"] if isinstance(response, dict) else response.outputs
        arrays: dict[str, NDArray[Any]] = {}
        for entry in entries:
            name, kind, shape = _facts(entry)
            if load.outputs.get(name) is None:
                arrays[name] = result.as_numpy(name)
            else:
                offset = load.offsets[_room(name)]
                arrays[name] = np.ndarray(shape, triton_to_np_dtype(kind), self._memory.buf, offset).copy()
        return arrays

    def close(self) -> None:
        """Free the segment."""
        self._memory.close()
        with contextlib.suppress(FileNotFoundError):  # somebody cleaned up
            self._memory.unlink()


def _room(output: str) -> str:
    """An output's key among the offsets; it may be named as an input is."""
    return f"output {output}"


def _payload(array: NDArray[Any]) -> NDArray[Any]:
    """The bytes that Triton reads: strings get their length in front of them."""
    if array.dtype != np.object_ and array.dtype.type != np.bytes_:
        return np.ascontiguousarray(array)
    return np.frombuffer(serialize_byte_tensor(array).item(), dtype=np.uint8)


def _facts(entry: Any) -> tuple[str, str, list[int]]:
    """Name, data type and shape of an output, which the two protocols hold differently."""
    if isinstance(entry, dict):
        return entry["name"], entry["datatype"], entry["shape"]
    return entry.name, entry.datatype, list(entry.shape)
