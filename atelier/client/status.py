"""What a server says of itself and of its models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from atelier.client.errors import reading
from atelier.client.transport import Transport


@dataclass(frozen=True)
class ModelStatus:
    """One loaded version of a model; means are over all that it has answered, ``None`` before the first.

    Attributes:
        name: the model.
        version: its version.
        ready: whether it takes requests.
        requests: requests answered well.
        failures: requests answered with an error.
        mean_batch: requests that one execution held.
        queue_ms: milliseconds that a request waited in the queue.
        compute_ms: milliseconds that a request was computed.
    """

    name: str
    version: str
    ready: bool
    requests: int
    failures: int
    mean_batch: float | None
    queue_ms: float | None
    compute_ms: float | None


@dataclass(frozen=True)
class ServerStatus:
    """A server: its name, its version, whether it is ready, and its models by name."""

    server: str
    version: str
    ready: bool
    models: tuple[ModelStatus, ...]


async def read_status(transport: Transport, *, timeout: float) -> ServerStatus:
    """Ask a server for its state and its statistics.

    Raises:
        AtelierError: it does not answer.
    """
    with reading(transport.url):
        metadata = await transport.ask("get_server_metadata", timeout=timeout)
        ready = await transport.ask("is_server_ready", timeout=timeout)
        statistics = await transport.ask("get_inference_statistics", timeout=timeout)
        models = []
        for entry in sorted(statistics.get("model_stats", ()), key=lambda entry: str(entry["name"])):
            model_ready = await transport.ask("is_model_ready", entry["name"], entry["version"], timeout=timeout)
            models.append(_model(entry, bool(model_ready)))
        return ServerStatus(metadata["name"], metadata["version"], bool(ready), tuple(models))


def _model(entry: Mapping[str, Any], ready: bool) -> ModelStatus:
    """The statistics of one version; gRPC leaves out zeros and writes 64-bit numbers as strings."""
    figures = entry.get("inference_stats", {})

    def number(kind: str, what: str) -> int:
        return int(figures.get(kind, {}).get(what, 0))

    def mean_ms(kind: str) -> float | None:
        count = number(kind, "count")
        return number(kind, "ns") / count / 1e6 if count else None

    executions = int(entry.get("execution_count", 0))
    return ModelStatus(
        name=entry["name"],
        version=entry["version"],
        ready=ready,
        requests=number("success", "count"),
        failures=number("fail", "count"),
        mean_batch=int(entry.get("inference_count", 0)) / executions if executions else None,
        queue_ms=mean_ms("queue"),
        compute_ms=mean_ms("compute_infer"),
    )
