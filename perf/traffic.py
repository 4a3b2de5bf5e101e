"""Tasks into a pair of lists at given times, and when their answers came."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from time import perf_counter, sleep
from typing import Any

import numpy as np

from clients.redis_bridge import producer
from clients.redis_bridge.tasks import RESULT
from perf.measure import BenchmarkError

SHORT, LONG = (256, 256), (216, 376)
"""Height and width of padded pages: a quarter of what the old producers made, so that two cores get through many."""


@dataclass(frozen=True)
class Arrival:
    """One task to come.

    Attributes:
        at: seconds after the start.
        is_long: into which list.
    """

    at: float
    is_long: bool


@dataclass(frozen=True)
class Wait:
    """One task that was answered.

    Attributes:
        at: seconds after the start when it was pushed.
        seconds: from there to its answer.
        is_long: from which list.
    """

    at: float
    seconds: float
    is_long: bool


def poisson(rate: float, count: int, long_share: float, seed: int) -> list[Arrival]:
    """Random arrivals: exponential gaps, ``rate`` a second on average."""
    draw = np.random.default_rng(seed)
    times = np.cumsum(draw.exponential(1 / rate, count))
    return [Arrival(float(at), bool(draw.random() < long_share)) for at in times]


def burst(count: int, long_share: float, seed: int) -> list[Arrival]:
    """All at once, in a mixed order."""
    draw = np.random.default_rng(seed)
    return [Arrival(0.0, bool(draw.random() < long_share)) for _ in range(count)]


class Traffic:
    """A producer and a consumer on one Redis.

    Answers are noticed by Redis' own notifications, so that waiting for them costs the machine nothing.

    Args:
        client: a redis-py client of a server that nobody else uses.
    """

    def __init__(self, client: Any) -> None:
        self._redis, self._numbers = client, count(1)
        client.config_set("notify-keyspace-events", "Kh")
        self._listener = client.pubsub(ignore_subscribe_messages=True)
        self._listener.psubscribe(f"__keyspace@0__:{RESULT.format('*')}")
        self._listener.get_message(timeout=1.0)
        self._pages = {is_long: _page(*(LONG if is_long else SHORT)) for is_long in (False, True)}

    def run(self, lists: Sequence[str], arrivals: Sequence[Arrival], patience: float) -> list[Wait]:
        """Push tasks at their times and wait for every answer.

        Args:
            lists: the short one's name, the long one's.
            arrivals: by time.
            patience: seconds after the last push.

        Raises:
            BenchmarkError: a task was not answered in that time.
        """
        names = [f"perf-{next(self._numbers)}" for _ in arrivals]
        pushed: dict[str, tuple[float, bool]] = {}
        started = perf_counter()
        pushing = threading.Thread(target=self._push, args=(lists, arrivals, names, pushed, started), daemon=True)
        pushing.start()
        waits = []
        for name, now in self._answers(set(names), started + arrivals[-1].at + patience):
            at, is_long = pushed[name]
            waits.append(Wait(round(at - started, 4), round(now - at, 4), is_long))
        pushing.join()
        return waits

    def _push(
        self,
        lists: Sequence[str],
        arrivals: Sequence[Arrival],
        names: Sequence[str],
        pushed: dict[str, tuple[float, bool]],
        started: float,
    ) -> None:
        for name, arrival in zip(names, arrivals, strict=True):
            page, mask = self._pages[arrival.is_long]
            task = producer.payload(name, page, mask, page.shape[:2], (0, 0, 0, 0), arrival.is_long)
            sleep(max(0.0, started + arrival.at - perf_counter()))
            pushed[name] = perf_counter(), arrival.is_long
            self._redis.rpush(lists[arrival.is_long], task)

    def _answers(self, waiting: set[str], deadline: float) -> Iterator[tuple[str, float]]:
        """Name and time of each answer, as it comes; its segment is removed."""
        while waiting:
            if perf_counter() > deadline:
                raise BenchmarkError(f"{len(waiting)} tasks were not answered.")
            message = self._listener.get_message(timeout=1.0)
            now = perf_counter()
            if message is None or message["data"] != b"hset":
                continue
            name = message["channel"].decode().rpartition(":")[2]
            if name in waiting:
                waiting.discard(name)
                fields = producer.answer(self._redis, name)
                if fields.get(b"status", b"ok") != b"ok":
                    raise BenchmarkError(f"A task failed: {fields[b'error'].decode()}")
                producer.received(fields)
                self._redis.delete(RESULT.format(name))
                yield name, now


def _page(height: int, width: int) -> tuple[Any, Any]:
    """Noise with a hole of a ninth of its area."""
    page = np.random.default_rng(height).integers(0, 256, (height, width, 3), dtype=np.uint8)
    mask = np.zeros((height, width), np.uint8)
    mask[height // 3 : height * 2 // 3, width // 3 : width * 2 // 3] = 255
    return page, mask
