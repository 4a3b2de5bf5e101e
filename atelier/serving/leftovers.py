"""What a server keeps outside its process, and how it is found again when its launcher was killed.

Shared memory and scratch folders carry their launcher's PID namespace and number in their names, so that the next
launcher removes what nobody owns any more, and nothing else: containers may share ``/dev/shm`` or ``/tmp``. A
container that is started again in its pod has another namespace: for it there is a locked file, too.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from atelier.owners import is_gone, owner
from atelier.serving import leases
from atelier.serving.locked import LockedFile, is_locked

SHARED_MEMORY = Path("/dev/shm")
REGIONS = "atelier_py_"
SEGMENTS = "atelier_client_"
"""Begin of the names that clients give their shared memory (`atelier.client.shared`)."""
FOLDERS = "atelier-server-"
LOCK = "lock"
"""End of the name of the file that is locked for as long as its owner lives."""
_LOCKS = re.compile(rf"({REGIONS}\d+_\d+_\d+_){LOCK}")


def region_prefix(number: int) -> str:
    """Begin of the names of one server's shared memory; ``number`` tells the servers of a process apart."""
    return f"{REGIONS}{owner()}_{number}_"


def hold_regions(prefix: str) -> LockedFile:
    """Say that the shared memory of this prefix is in use, until the file is removed or this process ends."""
    return LockedFile(SHARED_MEMORY / f"{prefix}{LOCK}")


class Scratch:
    """A new folder, which the next launcher removes where this process did not.

    Its path is plain ASCII without blanks, whatever ``TMPDIR`` says: the Python backend gives its stubs a command line
    that is split at blanks, and decodes paths as ASCII.

    Attributes:
        path: of it.
    """

    def __init__(self) -> None:
        parent = Path(tempfile.gettempdir())
        self.path = Path(tempfile.mkdtemp(prefix=f"{FOLDERS}{owner()}_", dir=parent if _plain(parent) else "/tmp"))
        self._lock = LockedFile(self.path / LOCK)

    def remove(self) -> None:
        """Remove it, with all that is in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        self._lock.remove()


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
    return [path for path in _own(SEGMENTS) if is_of_the_dead(path.name)]


def is_of_the_dead(name: str) -> bool:
    """Whether this is the name of a client's shared memory, and the client has ended."""
    return name.startswith(SEGMENTS) and is_gone(name.removeprefix(SEGMENTS))


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
        if (found := _LOCKS.fullmatch(region.name)) and is_locked(region) is False:
            remove_regions(found[1])
            region.unlink(missing_ok=True)
        elif is_gone(region.name.removeprefix(REGIONS)):
            with contextlib.suppress(OSError):
                region.unlink()
    for parent in {Path(tempfile.gettempdir()), Path("/tmp")}:
        for folder in parent.glob(f"{FOLDERS}*"):
            if is_gone(folder.name.removeprefix(FOLDERS)) or is_locked(folder / LOCK) is False:
                shutil.rmtree(folder, ignore_errors=True)
    leases.sweep()
