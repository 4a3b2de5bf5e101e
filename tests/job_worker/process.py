"""``python -m tests.job_worker.process HOLD``: the worker's own process, signals and all, with the tests' generator.

While the file HOLD is there, a generation stays at its first step.
"""

import asyncio
import sys
import threading
from contextlib import asynccontextmanager
from pathlib import Path

from clients.job_worker.__main__ import run
from clients.job_worker.settings import Settings
from tests.job_worker.generator import Generator


class File(threading.Event):
    """Set while a file is not there."""

    def is_set(self) -> bool:
        return not Path(sys.argv[1]).exists()


@asynccontextmanager
async def connect(_settings):
    generator = Generator(hold=File())
    yield generator
    print(f"cancelled: {generator.cancelled}", flush=True)
    await asyncio.sleep(0)


if __name__ == "__main__":
    if reason := run(Settings(polling_interval=0.05, retry_delay=0.05), connect):
        sys.exit(f"job_worker: {reason}")
