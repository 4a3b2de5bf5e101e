"""Metrics of the Python models, on Triton's own metrics page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import triton_python_backend_utils as pb_utils

BUCKETS = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0]
"""Upper bounds in seconds: a picture takes milliseconds, a video many minutes."""


class Metrics:
    """Requests by outcome and seconds by step of one model: ``atelier_requests_total``, ``atelier_step_seconds``."""

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
        self._made: dict[tuple[str, ...], Any] = {}

    def answered(self, outcome: str, seconds: Mapping[str, float]) -> None:
        """Count one answer and observe its steps."""
        key = ("outcome", outcome)
        if key not in self._made:
            self._made[key] = self._requests.Metric(labels={"model": self._model, "outcome": outcome})
        self._made[key].increment(1)
        for step, value in seconds.items():
            key = ("step", step)
            if key not in self._made:
                labels = {"model": self._model, "step": step}
                self._made[key] = self._steps.Metric(labels=labels, buckets=BUCKETS)
            self._made[key].observe(value)

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
                key = ("memory", stage, kind)
                if key not in self._made:
                    labels = {"model": self._model, "stage": stage, "kind": kind}
                    self._made[key] = self._memory.Metric(labels=labels)
                self._made[key].set(value)
