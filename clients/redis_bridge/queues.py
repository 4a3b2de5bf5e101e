"""The lists of one queue, so that a task is always in one of them until its answer stands.

===============================  =========================================================
``{queue}:processing:CONSUMER``  what a bridge has taken
``{queue}:alive:CONSUMER``       there while that bridge lives (it expires)
``{queue}:consumers``            the bridges that have, or had, a processing list
``{queue}:dead``                 what cannot be answered, as JSON: payload, reason, time
===============================  =========================================================

The braces are part of the names: they keep a queue's keys on one node of a cluster, where `BLMOVE` needs them.
"""

from __future__ import annotations

import base64
import json
import time
from typing import Any

from clients.redis_bridge.sources import Consumer, Item


class Queue(Consumer):
    """One list of tasks, as one consumer sees it: a `Source`."""

    def __init__(self, redis: Any, name: str, consumer: str, heartbeat: float) -> None:
        super().__init__(redis, name, consumer, heartbeat)
        self._consumers = f"{{{name}}}:consumers"
        self.processing = self._processing(consumer)

    def _processing(self, consumer: str) -> str:
        return f"{{{self.name}}}:processing:{consumer}"

    async def touch(self) -> None:
        """Say that this bridge lives, and that it may have a processing list."""
        await super().touch()
        await self._redis.sadd(self._consumers, self._consumer)

    async def take(self, patience: float) -> Item | None:
        """Move the oldest task to this bridge's processing list; ``None`` where none came for so many seconds."""
        payload: bytes | None = await self._redis.blmove(self.name, self.processing, patience, "LEFT", "RIGHT")
        return None if payload is None else Item(payload, payload)

    async def held(self) -> list[bytes]:
        """What stands in this bridge's processing list."""
        found: list[bytes] = await self._redis.lrange(self.processing, 0, -1)
        return found

    async def open(self, key: bytes) -> Item:
        """A payload is its own key."""
        return Item(key, key)

    async def finish(self, item: Item) -> None:
        """Let go of a task whose answer stands."""
        await self._redis.lrem(self.processing, 1, item.key)

    async def bury(self, item: Item, reason: str) -> None:
        """Put a payload that cannot be answered among the dead letters."""
        try:
            readable = {"payload": item.key.decode("utf-8")}
        except UnicodeDecodeError:
            readable = {"payload_base64": base64.b64encode(item.key).decode("ascii")}
        letter = {**readable, "reason": reason, "time": time.time(), "consumer": self._consumer}
        await self._redis.rpush(self.dead_letters, json.dumps(letter, ensure_ascii=False))

    async def give_back(self, consumer: str | None = None) -> int:
        """Put what a bridge has taken, this one or another, back to the front of the list, in its order.

        Returns:
            How many tasks there were.
        """
        source, count = self._processing(consumer or self._consumer), 0
        while await self._redis.lmove(source, self.name, "RIGHT", "LEFT") is not None:
            count += 1
        return count

    async def take_over(self) -> tuple[int, list[bytes]]:
        """Give back what dead bridges had taken, for every bridge to take."""
        count = 0
        for member in await self._redis.smembers(self._consumers):
            consumer = member.decode("utf-8", "replace")
            if await self._is_dead(consumer):
                count += await self.give_back(consumer)
                await self._redis.srem(self._consumers, member)
        return count, []

    async def leave(self) -> None:
        """Go: what is left is given back, and no trace stays."""
        await self.give_back()
        await self._redis.srem(self._consumers, self._consumer)
        await super().leave()
