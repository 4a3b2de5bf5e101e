"""Ports for servers: free now, and not given to another process that asks here before they are used."""

from __future__ import annotations

import fcntl
import itertools
import os
import random
import socket
import tempfile
import threading
from pathlib import Path

FIRST, LAST = 20_000, 32_767
"""Of the ports that are given out: below those that Linux takes for connections and for servers that ask for any port
(``net.ipv4.ip_local_port_range``, from 32 768 on), so that none of these comes in between."""

_LOCK = threading.Lock()
_given: set[int] = set()
_reservations: int | None = None


def free_ports(count: int) -> list[int]:
    """Ports of this machine that nothing listens on, all different, and never the same again.

    A server may load its models for a minute before it takes its port. Until this process ends, the others of this user
    that ask here are given others.

    Raises:
        OSError: there are not as many.
    """
    with _LOCK:
        candidates = random.sample(range(FIRST, LAST + 1), LAST + 1 - FIRST)
        found = list(itertools.islice(filter(_take, candidates), count))
    if len(found) < count:
        raise OSError(f"there are no {count} free ports from {FIRST} to {LAST}")
    return found


def _take(port: int) -> bool:
    if port in _given or not _is_free(port):
        return False
    try:
        # A record lock on the byte of the port's number: the system lets go of it when the process ends.
        fcntl.lockf(_file(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except OSError:
        return False
    _given.add(port)
    return True


def _is_free(port: int) -> bool:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def _file() -> int:
    """The file of the reservations. It stays open: to close it would give up all locks of this process."""
    global _reservations
    if _reservations is None:
        path = Path(tempfile.gettempdir()) / f"atelier-ports-{os.getuid()}"
        _reservations = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    return _reservations
