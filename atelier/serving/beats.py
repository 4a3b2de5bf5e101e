"""Signs of life of a Python model: that its work goes on, however long one request takes.

The model's processes touch a file of the launcher's; a look at it costs no request. The work of minutes is told from a
process that hangs by this alone: Triton 2.51 counts requests when they are done.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

FOLDER_VARIABLE = "ATELIER_BEATS"
"""Environment of the models: the launcher's folder of files, one a model."""

EVERY = 0.5
"""Seconds between two beats, at least."""


class Pulse:
    """Of this process."""

    def __init__(self) -> None:
        self._file: Path | None = None
        self._last = self._touched = time.monotonic()

    def begin(self, model: str) -> None:
        """The process is of this model."""
        folder = os.environ.get(FOLDER_VARIABLE)
        self._file = Path(folder) / model if folder else None

    def beat(self) -> None:
        """The work has gone on by a step."""
        self._last = time.monotonic()
        if self._file is not None and self._last - self._touched >= EVERY:
            self._touched = self._last
            with contextlib.suppress(OSError):  # a full disk is no reason to stop
                self._file.touch()

    def silence(self) -> float:
        """Seconds since the last beat."""
        return time.monotonic() - self._last


PULSE = Pulse()


def last(folder: Path, model: str) -> int:
    """When a model's last beat was, as a number that grows; 0 before the first."""
    try:
        return (folder / model).stat().st_mtime_ns
    except OSError:
        return 0
