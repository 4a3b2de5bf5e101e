"""``atelier status``."""

from __future__ import annotations

from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Column, Table

from atelier.client import Client


def command(
    url: Annotated[
        str, typer.Option(help="Server: host:port speaks gRPC, http://host:port speaks HTTP.", envvar="ATELIER_URL")
    ] = "localhost:8001",
    timeout: Annotated[float, typer.Option(help="Seconds until the call is given up.")] = 5.0,
) -> None:
    """Show a server's models and what they have answered; exit status 1 where it is not ready."""
    with Client(url) as client:
        status = client.status(timeout=timeout)
    figures = ("version", "ready", "requests", "failed", "mean batch", "queue ms", "compute ms")
    # Narrow, so that names and figures are whole on 80 columns.
    table = Table(Column("model", no_wrap=True), *figures, box=box.SIMPLE_HEAD, padding=(0, 0), show_edge=False)
    for model in status.models:
        measured = (model.mean_batch, model.queue_ms, model.compute_ms)
        numbers = [f"{value:.1f}" if value is not None else "-" for value in measured]
        ready = "yes" if model.ready else "no"
        table.add_row(model.name, model.version, ready, str(model.requests), str(model.failures), *numbers)
    console = Console()
    console.print(
        f"{status.server} {status.version} at {url}: {'ready' if status.ready else 'not ready'}", soft_wrap=True
    )
    console.print(table)
    if not status.ready:
        raise typer.Exit(1)
