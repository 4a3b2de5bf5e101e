"""``atelier serve``."""

from __future__ import annotations

import contextlib
import signal
import sys
from types import FrameType

from rich.console import Console
from rich.table import Column, Table

from atelier import access
from atelier.cli import serve_options as given
from atelier.serving import checkout
from atelier.serving.launcher import LaunchError, ModelState, Server
from atelier.serving.log_lines import is_harmless
from atelier.serving.options import ENOUGH_SHARED_MEMORY, ServerOptions, free_shared_memory
from atelier.serving.supervisor import Supervisor


class _Stop(BaseException):
    """SIGTERM or Ctrl-C; not an ``Exception``, so that nothing on the way takes it for a failure."""


def command(
    profile: given.Profile = None,
    models: given.Models = None,
    repository: given.Repository = None,
    host: given.Host = "127.0.0.1",
    http_port: given.HttpPort = 8000,
    grpc_port: given.GrpcPort = 8001,
    metrics_port: given.MetricsPort = 8002,
    health_port: given.HealthPort = 8003,
    server: given.ServerProgram = None,
    exit_timeout: given.ExitTimeout = 60,
    admin_key_file: given.AdminKeyFile = None,
    on_dead_stub: given.OnDead = given.OnDeadStub.restart,
    max_restarts: given.MaxRestarts = 5,
    stub_timeout: given.StubTimeout = 300,
    shared_memory_step: given.SharedMemoryStep = None,
    client_shared_memory: given.ClientSharedMemory = None,
    otel_url: given.OtelUrl = None,
    otel_rate: given.OtelRate = 100,
    server_flag: given.ServerFlag = None,
    verbose: given.Verbose = False,
) -> None:
    """Start Triton with the models whose artefacts are there, and serve until SIGTERM or Ctrl-C."""
    options = ServerOptions(
        repositories=tuple(repository) if repository else checkout.default_repositories(),
        models=tuple(name.strip() for name in models.split(",") if name.strip()) if models is not None else None,
        profile=profile,
        host=host,
        http_port=http_port,
        grpc_port=grpc_port,
        metrics_port=metrics_port,
        health_port=health_port,
        binary=server,
        exit_timeout=exit_timeout,
        admin_key=access.read(admin_key_file) if admin_key_file else access.make(),
        stub_timeout=stub_timeout,
        shared_memory_step=shared_memory_step * 2**20 if shared_memory_step else None,
        client_shared_memory=client_shared_memory,
        otel_url=otel_url,
        otel_rate=otel_rate,
        extra_flags=tuple(server_flag or ()),
    )
    supervisor = Supervisor(
        options,
        on_line=lambda line: _show(line, verbose),
        on_event=_say,
        most_restarts=max_restarts if on_dead_stub is given.OnDeadStub.restart else 0,
    )
    _stop_on_signals(supervisor.server)
    try:
        with supervisor:
            _report(supervisor.server)
            supervisor.run()
    except _Stop:
        if supervisor.exit_status:
            raise LaunchError(
                "Stopped before the running requests were finished; what they were about is lost "
                f"(tritonserver: exit status {supervisor.exit_status})."
            ) from None
        _say("Stopped.")


def _say(sentence: str) -> None:
    with contextlib.suppress(OSError):  # a full disk, a closed pipe: no reason to end
        sys.stderr.write(f"{sentence}\n")


def _stop_on_signals(process: Server) -> None:
    """The first signal drains the server, the second ends it at once."""
    seen = 0

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal seen
        seen += 1
        if seen > 1:
            process.kill()
            return
        _say("Finishing the running requests.")
        raise _Stop

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handle)


def _show(line: str, verbose: bool) -> None:
    """Triton's lines carry their level after the time: ``2026-01-31T12:00:00Z E 123 file.cc:45] …``."""
    if verbose or (line[20:23] in (" E ", " W ") and not is_harmless(line)):
        sys.stderr.write(f"{line}\n")


def _report(process: Server) -> None:
    """Print what became of the models.

    Raises:
        LaunchError: a model that was asked for by name did not load, or none did.
    """
    states = process.states()
    console = Console()
    console.print(_table(states))
    ready = [state.name for state in states if state.state == "READY"]
    for state in states:
        if state.name in (process.options.models or ()) and state.state != "READY":
            raise LaunchError(f"The model '{state.name}' could not be loaded: {state.reason}")
    if not ready:
        raise LaunchError("No model could be loaded; the table says what each of them lacks.")
    console.print(
        f"Ready: HTTP {process.http_url}, gRPC {process.grpc_url}, metrics {process.metrics_url}{_health(process)} "
        f"(Triton {process.administration.version()})",
        soft_wrap=True,
    )
    if (free := free_shared_memory()) < ENOUGH_SHARED_MEMORY:
        sys.stderr.write(
            f"/dev/shm has {free // 2**20} MiB free, and large pictures need 1 GiB: in a container give it more "
            "(docker run --shm-size=1g).\n"
        )
    if process.options.binary is None and not process.options.is_loopback:
        sys.stderr.write(
            "The embedded server is for development on one machine: it lacks the security fixes of 2025 and 2026. "
            "Where others reach it, serve on NVIDIA's container.\n"
        )


def _health(process: Server) -> str:
    options = process.options
    return f", health http://{options.host}:{options.health_port}/healthz" if options.health_port else ""


def _table(states: list[ModelState]) -> Table:
    table = Table(Column("model", no_wrap=True), "profile", "version", "state", "what is missing")
    colours = {"READY": "green", "FAILED": "red", "MISSING": "yellow"}
    for state in states:
        word = f"[{colours.get(state.state, 'dim')}]{state.state}[/]"
        table.add_row(state.name, state.profile, str(state.version or "-"), word, state.reason)
    return table
