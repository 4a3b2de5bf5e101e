"""What a server keeps outside its process, and how it is found again when its launcher was killed.

Shared memory and scratch folders carry their launcher's PID namespace and number in their names, so that the next
launcher removes what nobody owns any more, and nothing else: containers may share ``/dev/shm`` or ``/tmp``. A number
of another namespace says nothing here, and a container that is started again in its pod has a new one: a locked file
tells, which the operating system lets go however its holder ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

from atelier.owners import is_gone, owner
from atelier.serving import leases

SHARED_MEMORY = Path("/dev/shm")
REGIONS = "atelier_py_"
SEGMENTS = "atelier_client_"
"""Begin of the names that clients give their shared memory (`atelier.client.shared`)."""
FOLDERS = "atelier-server-"
LOCK = "lock"
"""End of the name of the file that is locked for as long as its owner lives."""


def region_prefix(number: int) -> str:
    """Begin of the names of one server's shared memory; ``number`` tells the servers of a process apart."""
    return f"{REGIONS}{owner()}_{number}_"


class Held:
    """Something that is removed by the next launcher, once this process has ended.

    Args:
        path: a folder of its own; or the begin of the names of what is held.
        lock: the file that says so.

    Attributes:
        path: as given.
    """

    def __init__(self, path: Path, lock: Path) -> None:
        self.path, self._lock = path, lock
        # Locked under another name: one that found it before it is locked would take it for free.
        aside = lock.with_name(f"atelier_new_{uuid.uuid4().hex}")
        self._descriptor = os.open(aside, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        aside.rename(lock)

    def remove(self) -> None:
        """Remove it; nothing on the second call."""
        if self._descriptor >= 0:
            shutil.rmtree(self.path, ignore_errors=True)
            self._lock.unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = -1


def _is_free(lock: Path) -> bool:
    """Whether the owner of something has ended; not where there is no such file, or it is another user's."""
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)


def hold_regions(prefix: str) -> Held:
    """Say that the shared memory of this prefix is in use, until it is removed or this process ends."""
    return Held(SHARED_MEMORY / prefix, SHARED_MEMORY / f"{prefix}{LOCK}")


def scratch_folder() -> Held:
    """A new folder whose path is plain ASCII without blanks, whatever ``TMPDIR`` says.

    The Python backend gives its stubs a command line that is split at blanks, and decodes paths as ASCII.
    """
    parent = Path(tempfile.gettempdir())
    folder = Path(tempfile.mkdtemp(prefix=f"{FOLDERS}{owner()}_", dir=parent if _plain(parent) else "/tmp"))
    return Held(folder, folder / LOCK)


def _plain(path: Path) -> bool:
    return str(path).isascii() and not any(letter.isspace() for letter in str(path))


def remove_regions(prefix: str) -> None:
    """Unlink the shared memory of one server: a stub that was killed does not clean up after itself."""
    for region in SHARED_MEMORY.glob(f"{prefix}*"):
        if region.name != f"{prefix}{LOCK}":
            with contextlib.suppress(OSError):
                region.unlink()


def segments_of_the_dead() -> list[Path]:
    """This user's shared memory of clients that have ended without freeing it: they were killed, with their helpers."""
    return [path for path in _own(SEGMENTS) if is_gone(path.name.removeprefix(SEGMENTS))]


def _own(start: str) -> Iterator[Path]:
    """What is this user's in shared memory, under a name such as is given here: others may put there what they like."""
    for path in SHARED_MEMORY.glob(f"{start}*"):
        with contextlib.suppress(OSError):
            if re.fullmatch(r"[0-9A-Za-z_.-]+", path.name) and path.lstat().st_uid == os.getuid():
                yield path


def sweep() -> None:
    """Remove what servers and clients left behind that are gone; what belongs to other users stays."""
    for segment in segments_of_the_dead():
        with contextlib.suppress(OSError):
            segment.unlink()
    for region in _own(REGIONS):
        if region.name.endswith(f"_{LOCK}") and _is_free(region):
            remove_regions(region.name.removesuffix(LOCK))
            region.unlink(missing_ok=True)
        elif is_gone(region.name.removeprefix(REGIONS)):
            with contextlib.suppress(OSError):
                region.unlink()
    for parent in {Path(tempfile.gettempdir()), Path("/tmp")}:
        for folder in parent.glob(f"{FOLDERS}*"):
            if is_gone(folder.name.removeprefix(FOLDERS)) or _is_free(folder / LOCK):
                shutil.rmtree(folder, ignore_errors=True)
    leases.sweep()
