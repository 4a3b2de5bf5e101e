"""A real control plane, and workers: in a thread of their own, or in a process."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack

import pytest
from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs

from clients.job_worker.observing import Metrics
from clients.job_worker.settings import Settings
from clients.job_worker.worker import Worker
from tests.conftest import ROOT
from tests.job_worker.control_plane import TOKEN, ControlPlane
from tests.job_worker.generator import Generator

QUICK = {"polling_interval": 0.05, "retry_delay": 0.02, "video_size": "64*32", "api_timeout": 5}


def until(condition, patience=20.0, what="it"):
    """Wait for something to be true; what it was, then."""
    deadline = time.monotonic() + patience
    while not (found := condition()):
        assert time.monotonic() < deadline, f"{what} did not come within {patience} s"
        time.sleep(0.01)
    return found


class Running:
    """A worker in a thread of its own."""

    def __init__(self, url: str, generator: Generator, settings: dict, lines: list) -> None:
        self.lines = lines
        self.settings = Settings(base_url=url, token=TOKEN, **{**QUICK, **settings})
        self.metrics, self.error = Metrics(), None
        self._generator, self._started = generator, threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self._thread.start()
        assert self._started.wait(10)

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._worker = Worker(self.settings, self.metrics, self._generator)
        self._task = asyncio.create_task(self._worker.run())
        self._started.set()
        await asyncio.wait((self._task,))
        self.error = None if self._task.cancelled() else self._task.exception()

    @property
    def id(self) -> str:
        return self.settings.worker_id

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def tell(self) -> None:
        """To stop, as a first signal does."""
        self._loop.call_soon_threadsafe(self._worker.stopping.set)

    def cancel(self) -> None:
        """As a second signal does."""
        if self.is_alive:
            self._loop.call_soon_threadsafe(self._task.cancel)

    def join(self, patience: float = 20) -> None:
        self._thread.join(patience)
        assert not self.is_alive, "the worker did not end"

    def stop(self) -> None:
        self.tell()
        self.join()

    def said(self, event: str) -> list[dict]:
        return [line for line in self.lines if line["event"] == event]

    def ended(self, outcome: str) -> int:
        return int(self.metrics.registry.get_sample_value("atelier_jobs_ended_total", {"outcome": outcome}) or 0)

    def retried(self, step: str) -> int:
        return int(self.metrics.registry.get_sample_value("atelier_jobs_retried_total", {"step": step}) or 0)


class WorkerProcess:
    """A worker in a process of its own, with its log."""

    def __init__(self, log, module: str, *options: str, **environment: str) -> None:
        self.log = log
        with log.open("wb") as file:
            command = [sys.executable, "-m", module, *options]
            self.process = subprocess.Popen(
                command, cwd=ROOT, stdout=file, stderr=file, env={**os.environ, **environment}
            )

    @property
    def text(self) -> str:
        return self.log.read_text(encoding="utf-8")

    def said(self, event: str) -> list[dict]:
        lines = [json.loads(line) for line in self.text.splitlines() if line.startswith("{")]
        return [line for line in lines if line["event"] == event]

    def until(self, event: str) -> None:
        until(lambda: self.said(event) or self.process.poll() is not None, 90, event)
        assert self.process.poll() is None, self.text

    def signal(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def wait(self, patience: float = 90) -> int:
        return self.process.wait(patience)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def control():
    server = ControlPlane()
    server.start()
    yield server
    server.stop()


@pytest.fixture
def generator():
    made = Generator()
    yield made
    made.hold.set()


@pytest.fixture
def worker(control, generator):
    """Start workers in threads: ``worker(lease_seconds=…, …)``. They are ended with the test."""
    with ExitStack() as stack:
        lines = stack.enter_context(capture_logs(processors=(merge_contextvars,)))

        def start(using: Generator = generator, **settings) -> Running:
            running = Running(control.url, using, settings, lines)
            stack.callback(running.join)
            stack.callback(running.cancel)
            return running

        yield start


@pytest.fixture
def process(control, tmp_path):
    """Start workers in processes: ``process("clients.job_worker", "--option", …, NAME=…)``."""
    with ExitStack() as stack:

        def start(module: str, *options: str, **environment: str) -> WorkerProcess:
            own = {
                "ATELIER_JOBS_BASE_URL": control.url,
                "ATELIER_JOBS_TOKEN": TOKEN,
                "ATELIER_JOBS_VIDEO_SIZE": "64*32",
            }
            log = tmp_path / f"worker-{len(list(tmp_path.iterdir()))}.log"
            started = WorkerProcess(log, module, *options, **{**own, **environment})
            stack.callback(started.kill)
            return started

        yield start
