"""What a server keeps outside its process, and how it is found again when its launcher was killed.

Shared memory and scratch folders carry their launcher's PID namespace and number in their names, so that the next
launcher removes what nobody owns any more, and nothing else: containers may share ``/dev/shm`` or ``/tmp``.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from pathlib import Path

from atelier.owners import is_gone, owner

SHARED_MEMORY = Path("/dev/shm")
REGIONS = "atelier_py_"
SEGMENTS = "atelier_client_"
"""Begin of the names that clients give their shared memory (`atelier.client.shared`)."""
FOLDERS = "atelier-server-"


def region_prefix(number: int) -> str:
    """Begin of the names of one server's shared memory; ``number`` tells the servers of a process apart."""
    return f"{REGIONS}{owner()}_{number}_"


def scratch_folder() -> Path:
    """A new folder whose path is plain ASCII without blanks, whatever ``TMPDIR`` says.

    The Python backend gives its stubs a command line that is split at blanks, and decodes paths as ASCII.
    """
    parent = Path(tempfile.gettempdir())
    return Path(tempfile.mkdtemp(prefix=f"{FOLDERS}{owner()}_", dir=parent if _plain(parent) else "/tmp"))


def _plain(path: Path) -> bool:
    return str(path).isascii() and not any(letter.isspace() for letter in str(path))


def remove_regions(prefix: str) -> None:
    """Unlink the shared memory of one server: a stub that was killed does not clean up after itself."""
    for region in SHARED_MEMORY.glob(f"{prefix}*"):
        with contextlib.suppress(OSError):
            region.unlink()


def segments_of_the_dead() -> list[Path]:
    """The shared memory of clients that have ended without freeing it: they were killed, and all their helpers."""
    return [path for path in SHARED_MEMORY.glob(f"{SEGMENTS}*") if is_gone(path.name.removeprefix(SEGMENTS))]


def sweep() -> None:
    """Remove what servers and clients left behind that are gone; what belongs to other users stays."""
    for segment in segments_of_the_dead():
        with contextlib.suppress(OSError):
            segment.unlink()
    for region in SHARED_MEMORY.glob(f"{REGIONS}*"):
        if is_gone(region.name.removeprefix(REGIONS)):
            with contextlib.suppress(OSError):
                region.unlink()
    for parent in {Path(tempfile.gettempdir()), Path("/tmp")}:
        for folder in parent.glob(f"{FOLDERS}*"):
            if is_gone(folder.name.removeprefix(FOLDERS)):
                shutil.rmtree(folder, ignore_errors=True)
