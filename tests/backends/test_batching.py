"""Joining, splitting and failing alone, without a server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from atelier.serving.backends.batching import Request, RunError, SplitError, run_all


class Doubling:
    """An engine that doubles, fails on negative rows, and writes down the rows of each run."""

    def __init__(self, max_batch_size: int = 8) -> None:
        self.max_batch_size = max_batch_size
        self.runs: list[int] = []
        self.asked: list[list[str]] = []

    def run(self, inputs: Mapping[str, Any], outputs: Sequence[str]) -> dict[str, Any]:
        self.runs.append(len(inputs["x"]))
        self.asked.append(list(outputs))
        if (inputs["x"] < 0).any():
            raise RunError("negative")
        return dict.fromkeys(outputs, inputs["x"] * 2)


class Summing(Doubling):
    def run(self, inputs: Mapping[str, Any], outputs: Sequence[str]) -> dict[str, Any]:
        super().run(inputs, outputs)
        return dict.fromkeys(outputs, inputs["x"].sum(keepdims=True))


def request(*rows: float, width: int = 2, outputs: Sequence[str] = ("y",)) -> Request:
    return Request({"x": np.array(rows)[:, None].repeat(width, axis=1)}, frozenset(outputs))


def test_one_run_and_views_of_its_result() -> None:
    engine = Doubling()

    first, second = run_all(engine, [request(1, 2), request(3)])

    assert isinstance(first, dict) and isinstance(second, dict)
    assert engine.runs == [3]
    assert (first["y"].tolist(), second["y"].tolist()) == ([[2, 2], [4, 4]], [[6, 6]])
    assert first["y"].base is not None and first["y"].base is second["y"].base


def test_a_single_request_is_not_copied() -> None:
    seen = []

    class Looking(Doubling):
        def run(self, inputs: Mapping[str, Any], outputs: Sequence[str]) -> dict[str, Any]:
            seen.append(inputs["x"])
            return super().run(inputs, outputs)

    given = request(1)
    run_all(Looking(), [given])

    assert seen[0] is given.inputs["x"]


def test_requests_of_another_shape_run_apart() -> None:
    engine = Doubling()

    results = run_all(engine, [request(1), request(2, width=3), request(3)])

    assert sorted(engine.runs) == [1, 2]
    assert [result["y"].shape for result in results if isinstance(result, dict)] == [(1, 2), (1, 3), (1, 2)]


def test_each_gets_what_it_asked_for() -> None:
    engine = Doubling()

    first, second = run_all(engine, [request(1, outputs=("z", "y")), request(2, outputs=("a",))])

    assert engine.asked == [["a", "y", "z"]]
    assert isinstance(first, dict) and list(first) == ["y", "z"]
    assert isinstance(second, dict) and list(second) == ["a"]


def test_the_failing_request_fails_alone() -> None:
    engine = Doubling()

    good, bad, last = run_all(engine, [request(1), request(-1), request(2)])

    assert isinstance(good, dict) and isinstance(last, dict)
    assert isinstance(bad, RunError) and (str(bad), bad.code) == ("negative", "INTERNAL")
    assert engine.runs == [3, 1, 1, 1]


def test_without_batching_each_runs_alone() -> None:
    engine = Doubling(max_batch_size=0)

    run_all(engine, [request(1), request(2)])

    assert engine.runs == [1, 1]


def test_a_sum_over_the_batch_never_mixes_requests() -> None:
    """Alone, one row passes; the rows of several requests must not be summed."""
    first, second, third = run_all(Summing(), [request(1), request(2), request(3, 4)])

    assert isinstance(first, dict) and first["y"].tolist() == [[2]]
    assert isinstance(second, dict) and second["y"].tolist() == [[4]]
    assert isinstance(third, SplitError)
    assert str(third).endswith("expected batch size of at least 2 in model output, got 1")
