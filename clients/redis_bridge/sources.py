"""What the bridge asks of a place that tasks come from: a list (`queues`) or a stream (`stream`).

Whatever is taken stands in Redis under this bridge's name until its answer stands.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

Body = bytes | Mapping[bytes, bytes]

TOUCHES = 3
"""Signs of life in the time after which a bridge counts as dead."""


@dataclass(frozen=True)
class Item:
    """What was taken.

    Attributes:
        key: by which it is held: the payload itself in a list, the entry's id in a stream.
        body: what its producer wrote: a payload, or an entry's fields.
    """

    key: bytes
    body: Body = field(compare=False, repr=False)


class Source(Protocol):
    """One place that tasks come from, as one consumer sees it.

    Attributes:
        name: the list's or stream's.
        pause: seconds between two signs of life.
    """

    name: str
    pause: float

    async def touch(self) -> None:
        """Say that this bridge lives, first of all before it takes anything."""

    async def take(self, patience: float) -> Item | None:
        """The oldest task, held by this bridge from now on; ``None`` where none came for so many seconds."""

    async def held(self) -> list[bytes]:
        """Keys of what this bridge holds."""

    async def open(self, key: bytes) -> Item:
        """What stands under a key that `held` named."""

    async def finish(self, item: Item) -> None:
        """Let go of a task whose answer stands."""

    async def bury(self, item: Item, reason: str) -> None:
        """Put what cannot be answered among the dead letters."""

    async def take_over(self) -> tuple[int, list[bytes]]:
        """Take over from dead bridges.

        Returns:
            How many tasks there were, and the keys of those that this bridge holds now and has to begin. The others
            are where every bridge takes from.
        """

    async def leave(self) -> None:
        """Go: what is still held is there for others."""


class Consumer:
    """What lists and streams have in common: one bridge among others, and a sign of life that expires.

    Args:
        redis: an asyncio client of redis-py, answering with bytes.
        name: the list's or stream's.
        consumer: this bridge's name.
        heartbeat: seconds after which a silent bridge counts as dead.
    """

    def __init__(self, redis: Any, name: str, consumer: str, heartbeat: float) -> None:
        self._redis, self.name, self._consumer = redis, name, consumer
        self._milliseconds = int(heartbeat * 1000)
        self.pause = heartbeat / TOUCHES
        self.dead_letters = f"{{{name}}}:dead"

    def _alive(self, consumer: str) -> str:
        return f"{{{self.name}}}:alive:{consumer}"

    async def touch(self) -> None:
        """Say that this bridge lives, first of all before it takes anything."""
        await self._redis.set(self._alive(self._consumer), b"1", px=self._milliseconds)

    async def _is_dead(self, consumer: str) -> bool:
        """Whether another bridge has been silent for too long."""
        return consumer != self._consumer and not await self._redis.exists(self._alive(consumer))

    async def leave(self) -> None:
        """Take the sign of life away."""
        await self._redis.delete(self._alive(self._consumer))
