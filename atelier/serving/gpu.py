"""One big model at a time on a GPU, whichever process or server it is in."""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from atelier.serving.beats import PULSE

POLL = 0.1
"""Seconds between two tries."""


@contextmanager
def exclusive(device: str, check: Callable[[], None]) -> Iterator[None]:
    """Hold a GPU; wait while another model computes on it.

    The operating system lets a lock go when its process ends, however it does. Triton's rate limiter would let it go as
    soon as a decoupled model has taken a request over, and does not see cancellation meanwhile.

    Args:
        device: PyTorch's name; only ``cuda`` and ``cuda:N`` are locked.
        check: called while it waits; raises to give up.
    """
    kind, _, index = device.partition(":")
    if kind != "cuda":
        yield
        return
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    number = int(index or 0)
    name = visible[number] if number < len(visible) and visible[number] else str(number)
    file = Path(tempfile.gettempdir()) / f"atelier-gpu-{os.getuid()}-{name.replace('/', '_')}.lock"
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                check()
                PULSE.beat()  # to wait for another model's work of hours is no silence
                time.sleep(POLL)
        yield
    finally:
        os.close(descriptor)
