"""``atelier serve``."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from atelier.serving import checkout
from atelier.serving.launcher import HARMLESS, LaunchError, ModelState, Server
from atelier.serving.options import ENOUGH_SHARED_MEMORY, ServerOptions, free_shared_memory


class _Stop(BaseException):
    """SIGTERM or Ctrl-C; not an ``Exception``, so that nothing on the way takes it for a failure."""


def command(
    profile: Annotated[
        str | None,
        typer.Option(
            help="Use configs/NAME.pbtxt of the models that have it, or, with the name default, config.pbtxt alone. "
            "Without it: openvino on the embedded server where there is no GPU.",
            metavar="NAME",
        ),
    ] = None,
    models: Annotated[
        str | None,
        typer.Option(
            help="Models to load, separated by commas, with those that they call. Default: all that can load."
        ),
    ] = None,
    repository: Annotated[
        list[Path] | None,
        typer.Option(help="Model repository; may repeat. Default: model_repository and ensembles of the checkout."),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    http_port: Annotated[int, typer.Option(help="Port of HTTP.", min=1, max=65535)] = 8000,
    grpc_port: Annotated[int, typer.Option(help="Port of gRPC.", min=1, max=65535)] = 8001,
    metrics_port: Annotated[int, typer.Option(help="Port of the metrics.", min=1, max=65535)] = 8002,
    server: Annotated[
        Path | None,
        typer.Option(
            help="Another tritonserver program. Default: the embedded one.",
            envvar="ATELIER_TRITONSERVER",
            metavar="PATH",
        ),
    ] = None,
    exit_timeout: Annotated[
        int,
        typer.Option(
            help="Seconds that running requests are given when the server is stopped; what takes longer is lost.",
            envvar="ATELIER_EXIT_TIMEOUT",
            metavar="SECONDS",
            min=1,
        ),
    ] = 60,
    verbose: Annotated[bool, typer.Option(help="Show all of the server's log, not only warnings and errors.")] = False,
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
        binary=server,
        exit_timeout=exit_timeout,
    )
    process = Server(options, on_line=lambda line: _show(line, verbose))
    _stop_on_signals(process)
    try:
        with process:
            _report(process)
            status = process.wait()
            raise LaunchError(f"The server ended by itself with status {status}.")
    except _Stop:
        sys.stderr.write("Stopped.\n")


def _stop_on_signals(process: Server) -> None:
    """The first signal drains the server, the second ends it at once."""
    seen = 0

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal seen
        seen += 1
        if seen > 1:
            process.kill()
            return
        sys.stderr.write("Finishing the running requests.\n")
        raise _Stop

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handle)


def _show(line: str, verbose: bool) -> None:
    """Triton's lines carry their level after the time: ``2026-01-31T12:00:00Z E 123 file.cc:45] …``."""
    if verbose or (line[20:23] in (" E ", " W ") and HARMLESS not in line):
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
        f"Ready: HTTP {process.http_url}, gRPC {process.grpc_url}, metrics {process.metrics_url}", soft_wrap=True
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


def _table(states: list[ModelState]) -> Table:
    table = Table("model", "profile", "version", "state", "what is missing")
    colours = {"READY": "green", "FAILED": "red", "MISSING": "yellow"}
    for state in states:
        word = f"[{colours.get(state.state, 'dim')}]{state.state}[/]"
        table.add_row(state.name, state.profile, str(state.version or "-"), word, state.reason)
    return table
