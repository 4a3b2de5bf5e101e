"""A segment of system shared memory that carries one call's tensors."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from multiprocessing.shared_memory import SharedMemory
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tritonclient.utils import np_to_triton_dtype, serialize_byte_tensor, triton_to_np_dtype

ALIGNMENT = 64
"""Tensors begin at multiples of this, as numpy and ONNX Runtime like them."""


class Segment:
    """All inputs of one call, and room for the outputs whose size is known, behind each other in one segment.

    Args:
        tensors: the protocol's module (``tritonclient.grpc`` or ``tritonclient.http``).
        inputs: arrays by tensor name.
        outputs: wanted tensors; those with a number of bytes get room in the segment.

    Attributes:
        inputs: the protocol's input tensors, which point into the segment.
        outputs: the protocol's requested outputs; ``None`` for all that the model has.
    """

    def __init__(self, tensors: Any, inputs: Mapping[str, NDArray[Any]], outputs: Mapping[str, int | None]) -> None:
        payloads = {name: _payload(array) for name, array in inputs.items()}
        rooms = [*((name, payload.nbytes) for name, payload in payloads.items())]
        rooms += [(f"output {name}", size) for name, size in outputs.items() if size is not None]
        offsets: dict[str, int] = {}
        total = 0
        for name, room in rooms:
            offsets[name] = total
            total += -(-room // ALIGNMENT) * ALIGNMENT
        self.size = max(total, ALIGNMENT)
        self._memory = SharedMemory(name=f"atelier_{uuid.uuid4().hex}", create=True, size=self.size)
        self.name = self._memory.name
        self.key = f"/{self._memory.name}"
        self._offsets = offsets
        self._wanted = dict(outputs)
        self.inputs = []
        for name, array in inputs.items():
            view = np.ndarray(payloads[name].shape, payloads[name].dtype, self._memory.buf, offsets[name])
            view[...] = payloads[name]
            tensor = tensors.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
            tensor.set_shared_memory(self.name, payloads[name].nbytes, offsets[name])
            self.inputs.append(tensor)
        self.outputs = [self._requested(tensors, name, size) for name, size in outputs.items()] or None

    def read(self, result: Any) -> dict[str, NDArray[Any]]:
        """The answer's tensors; those in the segment are copied out of it."""
        response = result.get_response()
        entries = response["outputs"] if isinstance(response, dict) else response.outputs
        arrays: dict[str, NDArray[Any]] = {}
        for entry in entries:
            name, kind, shape = _facts(entry)
            if self._wanted.get(name) is None:
                arrays[name] = result.as_numpy(name)
            else:
                offset = self._offsets[f"output {name}"]
                arrays[name] = np.ndarray(shape, triton_to_np_dtype(kind), self._memory.buf, offset).copy()
        return arrays

    def close(self) -> None:
        """Free the segment."""
        self._memory.close()
        self._memory.unlink()

    def _requested(self, tensors: Any, name: str, size: int | None) -> Any:
        output = tensors.InferRequestedOutput(name)
        if size is not None:
            output.set_shared_memory(self.name, size, self._offsets[f"output {name}"])
        return output


def _payload(array: NDArray[Any]) -> NDArray[Any]:
    """The bytes that Triton reads: strings get their length in front of them."""
    if array.dtype != np.object_:
        return np.ascontiguousarray(array)
    return np.frombuffer(serialize_byte_tensor(array).item(), dtype=np.uint8)


def _facts(entry: Any) -> tuple[str, str, list[int]]:
    """Name, data type and shape of an output, which the two protocols hold differently."""
    if isinstance(entry, dict):
        return entry["name"], entry["datatype"], entry["shape"]
    return entry.name, entry.datatype, list(entry.shape)
