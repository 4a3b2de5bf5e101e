"""Files that are locked for as long as they are wanted.

A process number means something in its own PID namespace alone (`atelier.owners`). A lock tells everywhere: the
operating system lets it go when its holder does, and when its holder's process ends, however it ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import uuid
from pathlib import Path


class LockedFile:
    """A new file that this process holds until it removes it, or ends.

    Args:
        path: of it. It gets this name when it is locked: nobody sees it free before.

    Raises:
        OSError: it cannot be made.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._removing = path, threading.Lock()
        aside = path.with_name(f"atelier_new_{uuid.uuid4().hex}")
        self._descriptor: int | None = os.open(aside, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        aside.rename(path)

    def remove(self) -> None:
        """Remove it and let it go. May be called from any thread, and again."""
        with self._removing:
            descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            with contextlib.suppress(OSError):
                self._path.unlink()
            os.close(descriptor)


def is_locked(path: Path) -> bool | None:
    """Whether a `LockedFile` of this user's is held; ``None`` where there is none of that name."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
