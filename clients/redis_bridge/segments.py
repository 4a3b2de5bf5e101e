"""POSIX shared memory as producers and consumers use it: files of ``/dev/shm``.

Python's own class registers every segment with a tracker that removes it when the process ends, also those that were
only opened or are to be handed over. So segments are opened here as what they are on Linux, files.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import stat
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clients.redis_bridge.tasks import SegmentInfo, TaskError

FOLDER = Path("/dev/shm")

Pixels = NDArray[np.uint8]


class NoRoom(Exception):
    """There is not as much shared memory now."""


def attach(info: SegmentInfo) -> Pixels:
    """A producer's array, in place and read-only.

    Raises:
        TaskError: there is no such segment, or it is smaller than it is said to be.
    """
    try:
        descriptor = os.open(FOLDER / info.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise TaskError(f"there is no segment {info.name}") from None
    except OSError as error:
        raise TaskError(f"segment {info.name} cannot be read ({error.strerror})") from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise TaskError(f"{info.name} is no segment")
        if status.st_size < info.size:
            raise TaskError(f"segment {info.name} has {status.st_size} bytes, not {info.size}")
        memory = mmap.mmap(descriptor, info.size, access=mmap.ACCESS_READ)
    except OSError as error:
        raise TaskError(f"segment {info.name} cannot be read ({error.strerror})") from None
    finally:
        os.close(descriptor)
    return np.frombuffer(memory, np.uint8).reshape(info.shape)


@dataclass(frozen=True)
class Created:
    """A new segment and the array in it; it lives until somebody unlinks it."""

    name: str
    array: Pixels

    def info(self) -> dict[str, object]:
        """What a consumer is told of it."""
        shape = list(self.array.shape)
        return {"shm_name": self.name, "shape": shape, "dtype": "uint8", "size": self.array.nbytes}


def create(name: str, shape: tuple[int, ...]) -> Created:
    """Make a segment; one of this name that stands there already is replaced.

    Raises:
        NoRoom: there is no memory for it.
    """
    size, path = prod(shape), FOLDER / name
    unlink(name)
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags, 0o600)
    except OSError as error:
        raise NoRoom(f"no segment of {size} bytes can be made ({error.strerror})") from None
    try:
        # All of it now: writing to a page that cannot be had would end the process.
        os.posix_fallocate(descriptor, 0, size)
        memory = mmap.mmap(descriptor, size)
    except OSError as error:
        unlink(name)
        raise NoRoom(f"no segment of {size} bytes can be made ({error.strerror})") from None
    finally:
        os.close(descriptor)
    return Created(name, np.frombuffer(memory, np.uint8).reshape(shape))


def unlink(name: str) -> None:
    """Remove a segment; those who have it open keep what they have. One that is gone is well."""
    if name:
        with contextlib.suppress(FileNotFoundError):
            (FOLDER / name).unlink()
