"""A Redis stream of encoded pictures: the interface for new producers, who may be on any machine.

================================  ========================================================
``STREAM``                        entries, each a task: `tasks.EncodedTask` has the fields
group ``atelier``                 what each bridge has taken, by Redis itself
``{STREAM}:alive:CONSUMER``       there while that bridge lives (it expires)
``{STREAM}:dead``                 stream of what cannot be answered: its fields and ``reason``
================================  ========================================================
"""

from __future__ import annotations

from contextlib import suppress

from redis.exceptions import ResponseError

from clients.redis_bridge.sources import Consumer, Item

GROUP = "atelier"
FORGOTTEN = 24 * 3600 * 1000
"""Milliseconds after which the name of a silent bridge is removed. Not at once: with the name Redis forgets what it
holds, and a bridge that only slept might take an entry just then."""
_MOST = 100  # entries of a dead bridge that are taken over at once; the rest come with the next sign of life


class Stream(Consumer):
    """One stream of tasks, as one consumer sees it: a `Source`."""

    async def touch(self) -> None:
        """Say that this bridge lives; the group is made where there is none, reading from the stream's beginning."""
        await super().touch()
        try:
            await self._redis.xgroup_create(self.name, GROUP, id="0", mkstream=True)
        except ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise

    async def take(self, patience: float) -> Item | None:
        """The oldest entry that nobody has."""
        wanted, block = {self.name: ">"}, int(patience * 1000)
        try:
            found = await self._redis.xreadgroup(GROUP, self._consumer, wanted, count=1, block=block)
        except ResponseError as error:
            if "NOGROUP" not in str(error):
                raise
            await self.touch()  # somebody has emptied Redis
            return None
        return Item(*found[0][1][0]) if found else None

    async def held(self) -> list[bytes]:
        """Ids of what this bridge has taken."""
        return await self._pending(self._consumer)

    async def _pending(self, consumer: str) -> list[bytes]:
        found = await self._redis.xpending_range(self.name, GROUP, "-", "+", _MOST, consumername=consumer)
        return [entry["message_id"] for entry in found]

    async def open(self, key: bytes) -> Item:
        """An entry; one that its producer has deleted is empty."""
        found = await self._redis.xrange(self.name, key, key)
        return Item(key, found[0][1] if found else {})

    async def finish(self, item: Item) -> None:
        """Delete an entry whose answer stands."""
        async with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.xack(self.name, GROUP, item.key)
            pipeline.xdel(self.name, item.key)
            await pipeline.execute()

    async def bury(self, item: Item, reason: str) -> None:
        """Put an entry into the stream of dead letters, with its id and the reason."""
        assert not isinstance(item.body, bytes)
        await self._redis.xadd(self.dead_letters, {**item.body, b"reason": reason, b"entry": item.key})

    async def take_over(self) -> tuple[int, list[bytes]]:
        """Claim what dead bridges had taken: Redis gives each entry to one that asks."""
        claimed: list[bytes] = []
        for member in await self._redis.xinfo_consumers(self.name, GROUP):
            consumer = member["name"].decode("utf-8", "replace")
            if not await self._is_dead(consumer):
                continue
            if ids := await self._pending(consumer):
                idle = int(self.pause * 1000)  # who claims first resets it, so that others claim nothing
                claimed += await self._redis.xclaim(self.name, GROUP, self._consumer, idle, ids, justid=True)
            elif member["idle"] > FORGOTTEN:
                await self._redis.xgroup_delconsumer(self.name, GROUP, consumer)
        return len(claimed), claimed

    async def leave(self) -> None:
        """Go: what is still held stays under this name, which is dead at once, so that others take it over."""
        await super().leave()
        if not await self.held():
            with suppress(ResponseError):
                await self._redis.xgroup_delconsumer(self.name, GROUP, self._consumer)
