"""Segments of system shared memory that carry a call's tensors."""

from __future__ import annotations

import contextlib
import hashlib
import os
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tritonclient.utils import np_to_triton_dtype, serialize_byte_tensor, triton_to_np_dtype

from atelier.owners import owner

ALIGNMENT = 64
"""Tensors begin at multiples of this, as numpy and ONNX Runtime like them."""

SMALLEST = 2**20
"""Bytes of the smallest segment; sizes are powers of two, so that calls of similar size share segments."""

NAMES = "atelier_client_"
"""Begin of the segments' names; whose each is follows, so that a server removes those of clients that were killed."""

LARGEST = 2**46
"""Bytes that no machine has; beyond, Python leaves a segment behind that it could not size."""


@dataclass(frozen=True)
class Mapped:
    """An array in a segment of system shared memory of the caller's: read, or written, in place.

    Attributes:
        array: with its batch dimension, C-contiguous, from the segment's first byte on.
        key: the segment's name, without a slash in front.
    """

    array: NDArray[Any]
    key: str


Inputs = Mapping[str, NDArray[Any] | Mapped]
Outputs = Mapping[str, int | Mapped | None]


class Load:
    """One call's tensors, behind each other: all inputs, then room for the outputs whose size is known.

    Args:
        inputs: arrays by tensor name.
        outputs: wanted tensors; those with a number of bytes get room.

    Attributes:
        size: bytes that a segment must have to carry it; those in segments of the caller's need none.
        regions: for each segment of the caller's, by its key, the name that the server is told.
    """

    def __init__(self, inputs: Inputs, outputs: Outputs) -> None:
        self.inputs = inputs
        self.outputs = outputs
        self.payloads = {name: _payload(array) for name, array in inputs.items() if not isinstance(array, Mapped)}
        given = [*inputs.values(), *outputs.values()]
        self.regions = {place.key: region_of(place.key) for place in given if isinstance(place, Mapped)}
        self.offsets: dict[str, int] = {}
        self.size = 0
        rooms = [(name, payload.nbytes) for name, payload in self.payloads.items()]
        rooms += [(_room(name), size) for name, size in outputs.items() if isinstance(size, int)]
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
            self._memory = SharedMemory(name=f"{NAMES}{owner()}_{uuid.uuid4().hex[:16]}", create=True, size=self.size)
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
            if size - self._reserved > _free(self._memory._fd):  # type: ignore[attr-defined]
                raise NoRoom(f"{size} bytes of shared memory cannot be had (/dev/shm is full, or the memory is)")
            try:
                os.posix_fallocate(self._memory._fd, 0, size)  # type: ignore[attr-defined]
            except OSError as error:
                raise NoRoom(f"{size} bytes of shared memory cannot be had ({error})") from None
        self._reserved = size

    def put(self, payload: NDArray[Any], offset: int) -> None:
        """Copy a tensor in."""
        np.ndarray(payload.shape, payload.dtype, self._memory.buf, offset)[...] = payload

    def get(self, shape: list[int], dtype: Any, offset: int) -> NDArray[Any]:
        """Copy a tensor out."""
        found: NDArray[Any] = np.ndarray(shape, dtype, self._memory.buf, offset).copy()
        return found

    def close(self) -> None:
        """Free the segment."""
        self._memory.close()
        with contextlib.suppress(FileNotFoundError):  # somebody cleaned up
            self._memory.unlink()


def region_of(key: str) -> str:
    """The name under which the server is told of a segment of the caller's: always the same.

    Triton 2.51 cannot register a segment under a second name, and a process that was killed leaves its first one.
    """
    return f"atelier_{hashlib.sha256(key.encode()).hexdigest()[:32]}"


def place(tensors: Any, load: Load, segment: Segment | None) -> tuple[list[Any], list[Any] | None]:
    """Copy a call's tensors into a segment, but for those that lie in one already.

    Args:
        tensors: the protocol's module (``tritonclient.grpc`` or ``tritonclient.http``).
        load: what to carry.
        segment: where to; ``None`` where all of it lies in segments of the caller's.

    Returns:
        The protocol's input tensors and requested outputs (``None`` for all), which point into the segments.
    """
    inputs = []
    for name, given in load.inputs.items():
        array = given.array if isinstance(given, Mapped) else given
        tensor = tensors.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
        if isinstance(given, Mapped):
            tensor.set_shared_memory(load.regions[given.key], array.nbytes)
        else:
            payload, offset = load.payloads[name], load.offsets[name]
            segment.put(payload, offset)  # type: ignore[union-attr]
            tensor.set_shared_memory(segment.name, payload.nbytes, offset)  # type: ignore[union-attr]
        inputs.append(tensor)
    outputs = []
    for name, size in load.outputs.items():
        output = tensors.InferRequestedOutput(name)
        if isinstance(size, Mapped):
            output.set_shared_memory(load.regions[size.key], size.array.nbytes)
        elif size is not None:
            output.set_shared_memory(segment.name, size, load.offsets[_room(name)])  # type: ignore[union-attr]
        outputs.append(output)
    return inputs, outputs or None


def collect(result: Any, load: Load, segment: Segment | None) -> dict[str, NDArray[Any]]:
    """An answer's tensors: copies of those in the segment, and the caller's own arrays.

    Raises:
        ValueError: a tensor has another shape or type than the array that it was to be written to.
    """
    response = result.get_response()
    entries = response["outputs"] if isinstance(response, dict) else response.outputs
    arrays: dict[str, NDArray[Any]] = {}
    for entry in entries:
        name, kind, shape = _facts(entry)
        dtype, wanted = triton_to_np_dtype(kind), load.outputs.get(name)
        if wanted is None:
            arrays[name] = result.as_numpy(name)
        elif isinstance(wanted, Mapped):
            if (list(wanted.array.shape), wanted.array.dtype) != (shape, np.dtype(dtype)):
                raise ValueError(f"{name} is {kind} {shape}, not {wanted.array.dtype} {list(wanted.array.shape)}")
            arrays[name] = wanted.array
        else:
            arrays[name] = segment.get(shape, dtype, load.offsets[_room(name)])  # type: ignore[union-attr]
    return arrays


def _free(fd: int) -> int:
    """Bytes that the file system of an open segment can take, and the machine's memory: a limit may be above it."""
    system = os.fstatvfs(fd)
    room = system.f_bavail * system.f_frsize if system.f_blocks else LARGEST  # no blocks: it has no limit of its own
    with contextlib.suppress(OSError, StopIteration, ValueError, IndexError), Path("/proc/meminfo").open() as facts:
        available = next(line for line in facts if line.startswith("MemAvailable:"))
        room = min(room, int(available.split()[1]) * 1024)
    return room


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
