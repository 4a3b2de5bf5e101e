"""What a server keeps outside its process, and how it is found again when its launcher was killed.

Shared memory and scratch folders carry their launcher's PID namespace and number in their names, so that the next
launcher removes what nobody owns any more, and nothing else: containers may share ``/dev/shm`` or ``/tmp``.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

SHARED_MEMORY = Path("/dev/shm")
REGIONS = "atelier_py_"
FOLDERS = "atelier-server-"


def _namespace() -> str:
    """The number of this process's PID namespace."""
    return "".join(filter(str.isdigit, str(Path("/proc/self/ns/pid").readlink())))


def region_prefix(number: int) -> str:
    """Begin of the names of one server's shared memory; ``number`` tells the servers of a process apart."""
    return f"{REGIONS}{_namespace()}_{os.getpid()}_{number}_"


def scratch_folder() -> Path:
    """A new folder whose path is plain ASCII without blanks, whatever ``TMPDIR`` says.

    The Python backend gives its stubs a command line that is split at blanks, and decodes paths as ASCII.
    """
    parent = Path(tempfile.gettempdir())
    return Path(
        tempfile.mkdtemp(prefix=f"{FOLDERS}{_namespace()}_{os.getpid()}_", dir=parent if _plain(parent) else "/tmp")
    )


def _plain(path: Path) -> bool:
    return str(path).isascii() and not any(letter.isspace() for letter in str(path))


def remove_regions(prefix: str) -> None:
    """Unlink the shared memory of one server: a stub that was killed does not clean up after itself."""
    for region in SHARED_MEMORY.glob(f"{prefix}*"):
        with contextlib.suppress(OSError):
            region.unlink()


def sweep() -> None:
    """Remove what servers left behind whose launchers are gone; what belongs to other users stays."""
    for region in SHARED_MEMORY.glob(f"{REGIONS}*"):
        if _abandoned(region.name.removeprefix(REGIONS)):
            with contextlib.suppress(OSError):
                region.unlink()
    for parent in {Path(tempfile.gettempdir()), Path("/tmp")}:
        for folder in parent.glob(f"{FOLDERS}*"):
            if _abandoned(folder.name.removeprefix(FOLDERS)):
                shutil.rmtree(folder, ignore_errors=True)


def _abandoned(owner: str) -> bool:
    namespace, _, rest = owner.partition("_")
    launcher = rest.partition("_")[0]
    return namespace == _namespace() and launcher.isdecimal() and not Path(f"/proc/{launcher}").exists()
