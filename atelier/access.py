"""The key of a server's administration, and how programs on the same machine find it.

Triton shows shared memory, its list of models, statistics, logging and tracing to those who send the key. A server that
is given none makes one for each start, and leaves it where programs of the same user find it by the server's port.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import stat
import tempfile
from collections.abc import Iterable
from pathlib import Path

from atelier.errors import InvalidInput

VARIABLE = "ATELIER_ADMIN_KEY"
FILE_VARIABLE = "ATELIER_ADMIN_KEY_FILE"
FOLDER_VARIABLE = "ATELIER_RUNTIME_FOLDER"
"""Where servers leave their keys, and clients look, in place of the places of `_folders`."""

HTTP_HEADER = "x-admin-key"
GRPC_HEADER = f"triton-grpc-protocol-{HTTP_HEADER}"
"""Triton puts its own words in front of a restricted protocol's header."""

_KEY = re.compile(r"[A-Za-z0-9._~+/=-]{8,256}")


def check(key: str, origin: str = "The admin key") -> str:
    """The key, where it is one.

    Raises:
        InvalidInput: it holds what a header or Triton's command line cannot carry, or is too short.
    """
    if not _KEY.fullmatch(key):
        raise InvalidInput(f"{origin} is no key; accepted: 8 to 256 letters, digits and . _ ~ + / = -.")
    return key


def read(file: Path) -> str:
    """The key that a file holds, blanks around it removed.

    Raises:
        InvalidInput: the file cannot be read, or holds no key.
    """
    try:
        return check(file.read_text(encoding="ascii").strip(), f"The content of {file.name}")
    except OSError as error:
        raise InvalidInput(f"The file of the admin key, {file}, cannot be read ({error.strerror}).") from None
    except UnicodeDecodeError:
        raise InvalidInput(f"The content of {file.name} is no key; accepted: ASCII.") from None


def given() -> str | None:
    """The key that the environment names, by itself or by its file; ``None`` where it does not.

    Raises:
        InvalidInput: it is none.
    """
    if key := os.environ.get(VARIABLE):
        return check(key, VARIABLE)
    if file := os.environ.get(FILE_VARIABLE):
        return read(Path(file).expanduser())
    return None


def make() -> str:
    """The key that the environment names, or a new one."""
    return given() or secrets.token_hex(16)


def publish(ports: Iterable[int], key: str) -> list[Path]:
    """Leave a server's key where programs of this user find it.

    Returns:
        The files, one a port; none where no folder can be had that only this user reads.
    """
    for folder in _folders():
        with contextlib.suppress(OSError):
            folder.mkdir(mode=0o700, exist_ok=True)
            if _is_private(folder):
                return [_write(folder / f"{port}.key", key) for port in ports]
    return []


def withdraw(files: Iterable[Path], key: str) -> None:
    """Remove a server's files; those that another server has written meanwhile stay."""
    for file in files:
        with contextlib.suppress(OSError, InvalidInput):
            if read(file) == key:
                file.unlink()


def find(port: int) -> str | None:
    """The key of this user's server on this port, unless the environment names one; ``None`` where there is none.

    Raises:
        InvalidInput: what the environment names is none.
    """
    if (key := given()) is not None:
        return key
    for folder in _folders():
        file = folder / f"{port}.key"
        with contextlib.suppress(OSError, InvalidInput):
            if _is_private(folder) and _is_private(file):
                return read(file)
    return None


def _folders() -> list[Path]:
    """Where keys may lie, in order: both sides look there, whatever their sessions' variables say."""
    if named := os.environ.get(FOLDER_VARIABLE):
        return [Path(named)]
    user = os.getuid()
    temporary = (Path(tempfile.gettempdir()), Path("/tmp"))
    return [Path(f"/run/user/{user}/atelier"), *dict.fromkeys(parent / f"atelier-{user}" for parent in temporary)]


def _is_private(path: Path) -> bool:
    """Whether nobody but this user can have written it, and nobody else reads it: /tmp is everybody's."""
    found = path.lstat()
    return found.st_uid == os.getuid() and not stat.S_ISLNK(found.st_mode) and not found.st_mode & 0o077


def _write(file: Path, key: str) -> Path:
    """Write aside, then rename: nobody reads half a key, and the file is never readable by others."""
    handle, name = tempfile.mkstemp(dir=file.parent)  # with rights for this user alone
    with os.fdopen(handle, "w", encoding="ascii") as stream:
        stream.write(f"{key}\n")
    return Path(name).replace(file)
