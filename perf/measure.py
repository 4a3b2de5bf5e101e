"""Times of calls that are compared with each other, taken turn by turn, and what is read off them."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, sleep

import numpy as np

PAUSE = 0.05
"""Seconds before every timed call. Thread pools (ONNX Runtime's, OpenMP's) spin for some milliseconds after their work;
without a pause the end of one call would take the cores from the beginning of the next."""

QUIET = 0.85
"""Share of the cores' time that must be idle in a pause for the machine to count as quiet."""

PATIENCE = 20.0
"""Seconds that one comparison waits, in all its pauses together, for other programs to leave the cores."""


class BenchmarkError(RuntimeError):
    """A benchmark that cannot be run, or whose subjects do not compute the same; the sentence is for the user."""


@dataclass(frozen=True)
class Summary:
    """The spread of a list of numbers: its extremes, its quartiles and the median."""

    median: float
    q1: float
    q3: float
    minimum: float
    maximum: float


@dataclass(frozen=True)
class Timings:
    """What `interleave` found.

    Attributes:
        seconds: by name; entries of the same index are of the same round.
        disturbed: how many of these calls began while something else kept the cores busy.
    """

    seconds: dict[str, list[float]]
    disturbed: int


def interleave(
    calls: Mapping[str, Callable[[], object]],
    *,
    rounds: int,
    warm_up: int,
    seed: int,
    on_call: Callable[[str, float, bool], None] = lambda _name, _seconds, _timed: None,
) -> Timings:
    """Time calls in rounds: in each round every call once.

    A machine that slows down or is busy with something else slows all calls of a round, so a ratio within a round holds
    where the times do not. The order is drawn anew for each round: no call always follows the same other one.

    Args:
        calls: what is compared, by name.
        rounds: timed rounds.
        warm_up: rounds before them, which are not kept.
        seed: of the orders.
        on_call: told each call's name, seconds and whether they are kept; its own time counts for nothing.
    """
    orders = random.Random(seed)
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    disturbed, patience = 0, PATIENCE
    for number in range(warm_up + rounds):
        timed = number >= warm_up
        for name in orders.sample(list(calls), len(calls)):
            quiet, waited = settle(patience)
            patience -= waited
            started = perf_counter()
            calls[name]()
            taken = perf_counter() - started
            if timed:
                seconds[name].append(taken)
                disturbed += not quiet
            on_call(name, taken, timed)
    return Timings(seconds, disturbed)


def settle(patience: float) -> tuple[bool, float]:
    """Pause, and go on pausing while something keeps the cores busy.

    Threads that wait for each other by spinning lose far more to a busy machine than others do (an OpenMP team on two
    cores was seen to take ten times as long), so even ratios are only fair on a quiet one.

    Args:
        patience: seconds beyond the first pause.

    Returns:
        Whether the machine was quiet at last, and the seconds beyond the first pause.
    """
    waited = 0.0
    while True:
        before, started = _idle_seconds(), perf_counter()
        sleep(PAUSE)
        idle, passed = _idle_seconds() - before, perf_counter() - started
        quiet = idle >= QUIET * passed * len(os.sched_getaffinity(0))
        if quiet or waited >= patience:
            return quiet, waited
        waited += PAUSE


def _idle_seconds() -> float:
    """Idle time of the cores that this process may use, since the machine started."""
    names = {f"cpu{core}" for core in os.sched_getaffinity(0)}
    lines = (line.split() for line in Path("/proc/stat").read_text(encoding="ascii").splitlines())
    # Columns 4 and 5: idle, and idle while something is read from a disk.
    return sum(int(line[4]) + int(line[5]) for line in lines if line[0] in names) / os.sysconf("SC_CLK_TCK")


def summarise(values: Sequence[float]) -> Summary:
    """Median, quartiles and extremes.

    Raises:
        ValueError: there are no values.
    """
    if not values:
        raise ValueError("There is nothing to summarise.")
    minimum, q1, median, q3, maximum = (float(q) for q in np.quantile(values, (0, 0.25, 0.5, 0.75, 1)))
    return Summary(median=median, q1=q1, q3=q3, minimum=minimum, maximum=maximum)


def ratios(numerators: Sequence[float], denominators: Sequence[float]) -> list[float]:
    """Quotients round by round.

    Raises:
        ValueError: the two are not of the same rounds.
    """
    return [over / under for over, under in zip(numerators, denominators, strict=True)]


def shares_added(whole: Sequence[float], part: Sequence[float]) -> list[float]:
    """Round by round, what ``whole`` takes beyond ``part``, as a share of ``part``.

    Raises:
        ValueError: the two are not of the same rounds.
    """
    return [ratio - 1 for ratio in ratios(whole, part)]


def host_peak() -> int:
    """The most memory that this process had, bytes."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
