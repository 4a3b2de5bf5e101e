"""The embedded server, as benchmarks start it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from atelier.serving.launcher import Server
from atelier.serving.options import ServerOptions
from atelier.serving.ports import free_ports


@contextmanager
def served(repository: Path, models: Sequence[str], profile: str | None = None) -> Iterator[Server]:
    """Serve these models, and what they call, on free ports until the block ends.

    The server is killed then: to unload its models would take it seconds each, after all was measured.

    Args:
        repository: the model repository.
        models: their names.
        profile: of the models that have it; the server's own choice unless told otherwise.

    Raises:
        LaunchError: the server or a model did not come up.
    """
    http, grpc, metrics = free_ports(3)
    ports = {"http_port": http, "grpc_port": grpc, "metrics_port": metrics, "exit_timeout": 10}
    with Server(ServerOptions((repository,), tuple(models), profile, **ports)) as server:
        try:
            server.require_ready()
            yield server
        finally:
            server.kill()
