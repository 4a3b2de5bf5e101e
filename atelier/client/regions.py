"""What the server is told of shared memory: segments are registered, used by calls, and let go of."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

from atelier.client.errors import AtelierError, InvalidRequest, ServerError
from atelier.client.requests import Deadline
from atelier.client.shared import Load, Mapped, region_of

FOLDER = Path("/dev/shm")
KNOWN_ALREADY = ("already in manager", "currently in use", "Invalid shared memory region")
"""What Triton 2.51 says of a segment that it knows already: by this name; in a request; by another name."""
LONGEST_PAUSE = 120.0
"""Seconds between two tries to have the server let go of a segment; then it is left to it."""
LAST_CHORES = 2.0
"""Seconds that closing waits for the server to let go of segments."""

Register = Callable[[str, str, int, Deadline], Awaitable[object]]
Unregister = Callable[[str, Deadline], Awaitable[object]]


class Refused(Exception):
    """The server takes no segments at all; its reason is the cause."""


class Regions:
    """The segments that one connection has told its server of.

    Args:
        register: tells the server of a segment: name, key (with a slash), bytes, deadline.
        unregister: has the server let go of one: name, deadline.
    """

    def __init__(self, register: Register, unregister: Unregister) -> None:
        self._register, self._unregister = register, unregister
        self._known: dict[str, tuple[int, int]] = {}  # inode and bytes, by name
        self._users: Counter[str] = Counter()  # how many calls use each
        self._lock = asyncio.Lock()  # nothing is let go of while a call begins to use it
        self._chores: set[asyncio.Task[None]] = set()

    async def use(self, load: Load, deadline: Deadline) -> list[str] | None:
        """Have the server know the caller's own segments in a call, and keep them until `release`.

        Returns:
            Their names; ``None`` where this call has to be sent in a message.

        Raises:
            InvalidRequest: there is no such segment.
            Refused: the server takes none.
        """
        sizes: dict[str, int] = {}
        for given in (*load.inputs.values(), *load.outputs.values()):
            if isinstance(given, Mapped):
                sizes[given.key] = max(sizes.get(given.key, 0), given.array.nbytes)
        used: list[str] = []
        try:
            async with self._lock:
                for key, size in sizes.items():
                    if not await self._know(key, size, deadline):
                        self.release(used)
                        return None
                    self._users[region_of(key)] += 1
                    used.append(region_of(key))
        except BaseException:
            self.release(used)
            raise
        return used

    def release(self, names: list[str]) -> None:
        """A call has ended: the server is to let go of what no other call uses."""
        self._users.subtract(names)
        for name in names:
            if not self._users[name]:
                self.forget(name)

    def forget(self, name: str) -> None:
        """Have the server let go of a segment, soon: nobody waits for that."""
        chore = asyncio.create_task(self._until_forgotten(name))
        self._chores.add(chore)
        chore.add_done_callback(self._chores.discard)

    def lose(self) -> None:
        """The server has been started anew, and knows nothing."""
        self._known.clear()

    async def close(self) -> None:
        """Wait a little for what the server is still to let go of."""
        if self._chores:
            await asyncio.wait(self._chores, timeout=LAST_CHORES)
        for chore in self._chores:
            chore.cancel()

    async def _know(self, key: str, size: int, deadline: Deadline) -> bool:
        """Register a segment where that is needed; ``False`` where the server cannot take it now."""
        name, inode = region_of(key), _inode(key)
        found, room = self._known.get(name, (None, 0))
        if inode is not None and found == inode and size <= room:
            return True
        try:
            await self._replace(name, f"/{key}", size, deadline)
        except (InvalidRequest, ServerError) as error:
            if inode is None:  # it is gone: that says nothing of others
                raise InvalidRequest(f"There is no segment {key}.") from None
            if any(words in str(error) for words in KNOWN_ALREADY):
                return False  # still used by a call that was given up, or known to a process that was killed
            raise Refused from error
        if inode is not None:
            self._known[name] = inode, size
        return True

    async def _replace(self, name: str, key: str, size: int, deadline: Deadline) -> None:
        """Register a segment, in place of what a process that was killed has left under its name."""
        try:
            await self._register(name, key, size, deadline)
        except (InvalidRequest, ServerError) as error:
            if KNOWN_ALREADY[0] not in str(error):
                raise
            await self._unregister(name, deadline)
            await self._register(name, key, size, deadline)

    async def _until_forgotten(self, name: str) -> None:
        """Ask until the server does: what a request uses it keeps, and for a moment after the answer it still does."""
        pause = 0.002
        while pause < LONGEST_PAUSE:
            async with self._lock:
                if self._users[name]:
                    return
                try:
                    await self._unregister(name, Deadline(2.0))
                except AtelierError as error:
                    again = KNOWN_ALREADY[1] in str(error)
                else:
                    again = False
                if not again:
                    self._known.pop(name, None)
                    return
            await asyncio.sleep(pause)
            pause *= 2


def _inode(key: str) -> int | None:
    """Tells one segment of a name from the next; ``None`` where there is none on this machine."""
    try:
        return (FOLDER / key).stat().st_ino
    except (OSError, ValueError):
        return None
