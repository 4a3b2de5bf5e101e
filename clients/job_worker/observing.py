"""What a worker shows of itself: metrics for Prometheus, and how far a video is."""

from __future__ import annotations

import time
from enum import StrEnum
from typing import Protocol

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

log = structlog.get_logger("job_worker")

PAUSE = 10.0
"""Seconds between two lines about one stage."""

STEPS = ("download", "generate", "upload", "report")
"""Of a task, each tried again by itself."""

_SECONDS = (1, 5, 10, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200)


class Outcome(StrEnum):
    """How the work on a task ended."""

    COMPLETED = "completed"
    """Its video is there, and reported."""
    FAILED = "failed"
    """It was reported as failed."""
    LOST = "lost"
    """Its lease was another's."""
    GIVEN_BACK = "given_back"
    """Nothing was reported: when its lease has run out, it is any worker's."""
    UNREPORTED = "unreported"
    """Its report did not come through."""


class Metrics:
    """Counters of one worker, in a registry of its own, so that two can live in one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.taken = Counter("atelier_jobs_taken", "Tasks that were taken", registry=self.registry)
        self.ended = Counter("atelier_jobs_ended", "Tasks by how they ended", ["outcome"], registry=self.registry)
        self.retried = Counter("atelier_jobs_retried", "What was tried again", ["step"], registry=self.registry)
        self.in_flight = Gauge("atelier_jobs_in_flight", "Tasks at work", registry=self.registry)
        self.seconds = Histogram(
            "atelier_jobs_seconds",
            "Seconds from taking a task to its end",
            ["outcome"],
            registry=self.registry,
            buckets=_SECONDS,
        )
        # From 0 on: rules see no step from nothing to 1.
        for outcome in Outcome:
            self.ended.labels(outcome.value)
            self.seconds.labels(outcome.value)
        for step in STEPS:
            self.retried.labels(step)

    def serve(self, host: str, port: int) -> None:
        """Listen, in a thread of its own.

        Raises:
            OSError: the port is not free.
        """
        start_http_server(port, addr=host, registry=self.registry)


class Progress(Protocol):
    """How far the server is: what the client tells, as far as it is logged."""

    @property
    def stage(self) -> str:
        """What is being done."""

    @property
    def step(self) -> int:
        """Steps of the stage that are done."""

    @property
    def of(self) -> int:
        """Steps of the stage."""

    @property
    def left(self) -> float | None:
        """Seconds that are left, where the server can tell."""


class ProgressLog:
    """Logs how far one video is: each new stage at once, its steps every `PAUSE` seconds."""

    def __init__(self) -> None:
        self._stage, self._next = "", 0.0

    def __call__(self, progress: Progress) -> None:
        """Take note of it."""
        now = time.monotonic()
        if progress.stage == self._stage and now < self._next:
            return
        self._stage, self._next = progress.stage, now + PAUSE
        left = None if progress.left is None else round(progress.left, 1)
        log.info("progress", stage=progress.stage, step=progress.step, of=progress.of, left=left)
