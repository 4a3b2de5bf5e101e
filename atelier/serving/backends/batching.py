"""Batches: requests in, one run, results out; a request that fails does not take its batch-mates with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class RunError(Exception):
    """A run failed. The message goes to the client and holds no path of the server.

    Attributes:
        code: name of a ``TritonError`` code.
    """

    def __init__(self, message: str, code: str = "INTERNAL") -> None:
        super().__init__(message)
        self.code = code


class SplitError(RunError):
    """An output does not hold a row for each row of the batch."""

    def __init__(self, name: str, expected: int, got: int) -> None:
        super().__init__(
            f"failed to split the output tensor '{name}' in responses: expected batch size of at least {expected} "
            f"in model output, got {got}",
            "UNSUPPORTED",
        )


class Engine(Protocol):
    """What runs a model."""

    @property
    def max_batch_size(self) -> int:
        """0 where the model does not batch."""

    def run(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> Mapping[str, Array]:
        """Compute the named outputs.

        Raises:
            RunError: the model failed.
        """


@dataclass(frozen=True)
class Request:
    """One request: arrays by input name, and the names of the outputs that it asks for."""

    inputs: Mapping[str, Array]
    outputs: frozenset[str]

    @property
    def batch_size(self) -> int:
        """First dimension of the inputs; Triton's core has checked that all agree."""
        return len(next(iter(self.inputs.values())))

    @property
    def signature(self) -> tuple[tuple[str, tuple[int, ...]], ...]:
        """What must be equal for two requests to share a run: names and shapes but for the batch dimension."""
        return tuple(sorted((name, array.shape[1:]) for name, array in self.inputs.items()))


Result = Mapping[str, Array] | RunError


def run_all(engine: Engine, requests: Sequence[Request]) -> list[Result]:
    """Run the requests of one batch.

    Requests of equal shapes share a run. Triton's core joins only such requests, so that one run is the rule.

    Returns:
        For each request, its outputs or why there are none.
    """
    results: list[Result | None] = [None] * len(requests)
    for group in _groups(engine, requests):
        for index, result in zip(group, _run_group(engine, [requests[i] for i in group]), strict=True):
            results[index] = result
    return [result for result in results if result is not None]


def _groups(engine: Engine, requests: Sequence[Request]) -> list[list[int]]:
    if engine.max_batch_size == 0:
        return [[index] for index in range(len(requests))]
    groups: dict[Any, list[int]] = {}
    for index, request in enumerate(requests):
        groups.setdefault(request.signature, []).append(index)
    return list(groups.values())


def _run_group(engine: Engine, requests: Sequence[Request]) -> list[Result]:
    if len(requests) > 1:
        try:
            return list(_run_joined(engine, requests))
        except RunError:
            pass  # which request was it? each alone will tell, and the others get their answer
    return [_run_alone(engine, request) for request in requests]


def _run_joined(engine: Engine, requests: Sequence[Request]) -> list[dict[str, Array]]:
    """One run for several requests.

    Raises:
        RunError: the model failed, or an output cannot be split into exactly the rows of the batch.
    """
    names = sorted(frozenset[str]().union(*(request.outputs for request in requests)))
    joined = {name: np.concatenate([request.inputs[name] for request in requests]) for name in requests[0].inputs}
    outputs = engine.run(joined, names)
    ends = np.cumsum([request.batch_size for request in requests]).tolist()
    for name in names:
        rows = len(outputs[name]) if outputs[name].ndim else 1
        # More rows than asked for would give a request rows that are another's: each runs alone instead.
        if rows != ends[-1]:
            raise SplitError(name, ends[-1], rows)
    starts = [0, *ends[:-1]]
    return [
        {name: outputs[name][start:end] for name in names if name in request.outputs}  # views: nothing is copied
        for request, start, end in zip(requests, starts, ends, strict=True)
    ]


def _run_alone(engine: Engine, request: Request) -> Result:
    try:
        names = sorted(request.outputs)
        outputs = engine.run(request.inputs, names)
        if engine.max_batch_size == 0:
            return outputs
        return {name: _first_rows(name, outputs[name], request.batch_size) for name in names}
    except RunError as error:
        return error


def _first_rows(name: str, array: Array, rows: int) -> Array:
    """The request's rows; as in the C++ backends too many are cut, and too few are an error."""
    got = len(array) if array.ndim else 1
    if got < rows:
        raise SplitError(name, rows, got)
    return array[:rows]
