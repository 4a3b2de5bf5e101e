"""Metrics of the Python models, on Triton's own metrics page."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from typing import Any

import triton_python_backend_utils as pb_utils

BUCKETS = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0]
"""Upper bounds in seconds: a picture takes milliseconds, a video many minutes."""


class Metrics:
    """What one model shows of itself: its requests by outcome, the seconds of their steps, what waits, its memory.

    Labels are bounded: models, outcomes, steps and stages by the code, adapters by the files of their folder.
    """

    def __init__(self, model: str) -> None:
        self._model = model
        self._requests = pb_utils.MetricFamily(
            name="atelier_requests_total",
            description="Requests answered, by model and outcome (ok, or the error's code)",
            kind=pb_utils.MetricFamily.COUNTER,
        )
        self._steps = pb_utils.MetricFamily(
            name="atelier_step_seconds",
            description="Seconds that one step of a request took, by model and step",
            kind=pb_utils.MetricFamily.HISTOGRAM,
        )
        self._memory = pb_utils.MetricFamily(
            name="atelier_memory_bytes",
            description="Memory after a stage of loading, by model, stage and kind (host, gpu)",
            kind=pb_utils.MetricFamily.GAUGE,
        )
        self._waiting = pb_utils.MetricFamily(
            name="atelier_waiting_requests",
            description="Requests in the queue of a model that has its own, by model",
            kind=pb_utils.MetricFamily.GAUGE,
        )
        self._shared = pb_utils.MetricFamily(
            name="atelier_shared_memory_bytes",
            description="/dev/shm as it was at the last answer, by state (used, free)",
            kind=pb_utils.MetricFamily.GAUGE,
        )
        self._videos = pb_utils.MetricFamily(
            name="atelier_lora_videos_total",
            description="Videos that an adapter was applied to, by model and adapter",
            kind=pb_utils.MetricFamily.COUNTER,
        )
        self._effects = pb_utils.MetricFamily(
            name="atelier_lora_effect",
            description="Largest difference that an adapter makes to one answer of the network, by model and adapter",
            kind=pb_utils.MetricFamily.GAUGE,
        )
        self._made: dict[tuple[str, ...], Any] = {}
        self._show_shared_memory()

    def answered(self, outcome: str, seconds: Mapping[str, float]) -> None:
        """Count one answer and observe its steps."""
        self._metric(self._requests, outcome=outcome).increment(1)
        for step, value in seconds.items():
            self._metric(self._steps, buckets=BUCKETS, step=step).observe(value)
        self._show_shared_memory()

    def waiting(self, requests: int) -> None:
        """Show how many requests a queue of the model's own holds; Triton's counts what it has handed over as begun."""
        self._metric(self._waiting).set(requests)

    def applied(self, reports: Iterable[Mapping[str, Any]]) -> None:
        """Count a video for each adapter that was applied to it, and show what each changes.

        Args:
            reports: of the adapters, each with ``name`` and ``effect``.
        """
        for report in reports:
            self._metric(self._videos, adapter=report["name"]).increment(1)
            self._metric(self._effects, adapter=report["name"]).set(report["effect"])

    def show_memory(self, log: Any, stages: Mapping[str, Any]) -> None:
        """Log and export what memory each stage of loading left in use.

        Args:
            log: Triton's logger.
            stages: by name, each with ``host`` and, where there is a GPU, ``gpu`` in bytes.
        """
        for stage, memory in stages.items():
            for kind, value in (("host", memory.host), ("gpu", memory.gpu)):
                if value is None:  # no GPU, no figure
                    continue
                log.log_info(f"{self._model}: {value / 2**20:.0f} MiB of {kind} memory after {stage}")
                self._metric(self._memory, stage=stage, kind=kind).set(value)

    def _show_shared_memory(self) -> None:
        """Of the machine, or the container: the same for all models, so without their names."""
        usage = shutil.disk_usage("/dev/shm")
        for state, value in (("used", usage.used), ("free", usage.free)):
            key = ("shared", state)
            if key not in self._made:
                self._made[key] = self._shared.Metric(labels={"state": state})
            self._made[key].set(value)

    def _metric(self, family: Any, buckets: list[float] | None = None, **labels: str) -> Any:
        """The family's metric for this model and these labels, made when first asked for."""
        key = (str(id(family)), *labels.values())
        if key not in self._made:
            more = {"buckets": buckets} if buckets else {}
            self._made[key] = family.Metric(labels={"model": self._model, **labels}, **more)
        return self._made[key]
