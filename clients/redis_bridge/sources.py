"""What the bridge asks of a place that tasks come from: a list (`queues`) or a stream (`stream`).

Whatever is taken stands in Redis under this bridge's name until its answer stands.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

Body = bytes | Mapping[bytes, bytes]


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
