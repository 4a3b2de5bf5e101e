"""What a bridge shows of itself: metrics for Prometheus, and log lines as JSON."""

from __future__ import annotations

import logging
import sys

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

_SECONDS = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60, 120)


class Metrics:
    """Counters of one bridge, each by list; in a registry of its own, so that two can live in one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()

        def counter(name: str, text: str) -> Counter:
            return Counter(f"atelier_bridge_{name}", text, ["queue"], registry=self.registry)

        self.taken = counter("taken", "Tasks that were taken from a list")
        self.answered = counter("answered", "Tasks that were answered with a picture")
        self.failed = counter("failed", "Tasks that were answered with an error")
        self.retried = counter("retried", "Calls to Triton that were made again")
        self.dead = counter("dead", "Payloads in the dead-letter list")
        self.recovered = counter("recovered", "Tasks that were taken over from a bridge that died")
        self.in_flight = Gauge("atelier_bridge_in_flight", "Tasks at work", ["queue"], registry=self.registry)
        self.seconds = Histogram(
            "atelier_bridge_seconds",
            "Seconds from taking a task to its answer",
            ["queue"],
            registry=self.registry,
            buckets=_SECONDS,
        )
        self.beat = Gauge(
            "atelier_bridge_beat_seconds", "Time of the loops' last sign of life (Unix)", registry=self.registry
        )

    def show(self, queue: str) -> None:
        """Show all that is counted of a list, from 0 on: rules see no step from nothing to 1."""
        counters = (self.taken, self.answered, self.failed, self.retried, self.dead, self.recovered)
        for metric in (*counters, self.in_flight, self.seconds):
            metric.labels(queue)

    def serve(self, host: str, port: int) -> None:
        """Listen, in a thread of its own.

        Raises:
            OSError: the port is not free.
        """
        start_http_server(port, addr=host, registry=self.registry)


def configure_logs(level: str) -> None:
    """One JSON object a line on stderr: time, level, event, and what belongs to it, request_id above all."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(ensure_ascii=False),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level)),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    # The libraries' own lines, the client's about shared memory among them, in the same form.
    formatter = structlog.stdlib.ProcessorFormatter(
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.JSONRenderer(ensure_ascii=False),
        ],
        foreign_pre_chain=[
            structlog.stdlib.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
        ],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(logging.WARNING, getattr(logging, level)))
