"""Whether a caller still waits for a model that it called.

Triton 2.51 does not tell a model that its caller, another model, was given up or is gone. A lock on a file tells it:
the operating system lets the lock go when the caller releases it, and when its process ends, however it does.
"""

from __future__ import annotations

import os
import re
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from atelier.serving.locked import LockedFile, is_locked

LEASE = "atelier_lease"
"""Parameter of a request: the lease that its caller, another model, holds while it waits."""

POLL = 0.1
"""Seconds between two looks at whether an answer is still wanted."""


class Lease:
    """Held for as long as an answer is waited for. Use it as a context manager.

    Attributes:
        name: what the called model is told.
    """

    def __init__(self) -> None:
        self.name = uuid.uuid4().hex
        self._held: LockedFile | None = None

    def __enter__(self) -> Lease:
        self._held = LockedFile(_file(self.name))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    @contextmanager
    def while_wanted(self, check: Callable[[], None]) -> Iterator[None]:
        """Release it as soon as ``check`` raises, while the block waits for an answer."""
        over = threading.Event()

        def watch() -> None:
            while not over.wait(POLL):
                try:
                    check()
                except Exception:
                    self.release()
                    return

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def release(self) -> None:
        """Nobody waits any more. May be called from any thread, and again."""
        if self._held is not None:
            self._held.remove()


def is_held(name: str) -> bool:
    """Whether a lease of this name is held; a name that is none is not."""
    return re.fullmatch(r"[0-9a-f]{32}", name) is not None and is_locked(_file(name)) is True


def sweep() -> None:
    """Remove this user's leases whose holders were killed."""
    for file in Path(tempfile.gettempdir()).glob(f"{_file('').name}*"):
        if is_locked(file) is False:
            file.unlink(missing_ok=True)


def _file(name: str) -> Path:
    return Path(tempfile.gettempdir()) / f"atelier-lease-{os.getuid()}-{name}"
