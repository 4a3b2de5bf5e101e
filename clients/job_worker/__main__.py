"""``python -m clients.job_worker``: make the control plane's videos by Triton until told to stop.

Address and token come from the environment alone: ATELIER_JOBS_BASE_URL, ATELIER_JOBS_TOKEN.

SIGTERM or Ctrl-C: the task at work is finished and reported, then it ends. A second one cancels the task, on the
server too, and reports nothing: when its lease has run out, the task is any worker's.

Exit status: 0 (stopped), 1 (the control plane refuses), 2 (usage or settings); one line on stderr says why.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from atelier.client import AsyncClient, AtelierError
from clients.job_worker.errors import Refused, Unauthorized, one_line
from clients.job_worker.handler import Generator
from clients.job_worker.observing import Metrics
from clients.job_worker.settings import Settings
from clients.job_worker.worker import Worker
from clients.redis_bridge.observing import configure_logs

Connect = Callable[[Settings], AbstractAsyncContextManager[Generator]]

_FIELDS = Settings.model_fields


def _option(field: str, *names: str) -> Any:
    """An option; where it is not given, the environment and the default decide."""
    default = _FIELDS[field].default
    shown = f" [default: {default}]" if isinstance(default, str | int | float) and not isinstance(default, bool) else ""
    return typer.Option(*names, help=f"{_FIELDS[field].description}{shown}", show_default=False)


def main(
    allow_http: Annotated[bool | None, _option("allow_http", "--allow-http/--no-allow-http")] = None,
    worker_id: Annotated[str | None, _option("worker_id")] = None,
    url: Annotated[str | None, _option("url")] = None,
    in_flight: Annotated[int | None, _option("in_flight")] = None,
    polling_interval: Annotated[float | None, _option("polling_interval")] = None,
    lease_seconds: Annotated[int | None, _option("lease_seconds")] = None,
    heartbeat_interval: Annotated[float | None, _option("heartbeat_interval")] = None,
    video_size: Annotated[str | None, _option("video_size")] = None,
    frame_num: Annotated[int | None, _option("frame_num")] = None,
    request: Annotated[str | None, _option("request")] = None,
    timeout: Annotated[float | None, _option("timeout")] = None,
    attempts: Annotated[int | None, _option("attempts")] = None,
    patience: Annotated[float | None, _option("patience")] = None,
    api_timeout: Annotated[float | None, _option("api_timeout")] = None,
    report_attempts: Annotated[int | None, _option("report_attempts")] = None,
    transfer_timeout: Annotated[float | None, _option("transfer_timeout")] = None,
    transfer_attempts: Annotated[int | None, _option("transfer_attempts")] = None,
    max_photo: Annotated[int | None, _option("max_photo")] = None,
    retry_delay: Annotated[float | None, _option("retry_delay")] = None,
    metrics_host: Annotated[str | None, _option("metrics_host")] = None,
    metrics_port: Annotated[int | None, _option("metrics_port")] = None,
    log_level: Annotated[str | None, _option("log_level")] = None,
) -> None:
    """Make the control plane's videos by Triton. Every option is also ATELIER_JOBS_NAME in the environment.

    The control plane's address and token come from there alone: ATELIER_JOBS_BASE_URL and ATELIER_JOBS_TOKEN.
    """
    given = {name: value for name, value in locals().items() if value is not None}
    try:
        settings = Settings(**given)
    except ValidationError as error:
        raise typer.BadParameter(_wrong(error)) from None
    if reason := run(settings, _triton):
        sys.stderr.write(f"job_worker: {reason}\n")
        raise typer.Exit(1)


def run(settings: Settings, connect: Connect) -> str:
    """Serve until told to stop by a signal.

    Args:
        settings: what the worker is started with.
        connect: opens what makes the videos.

    Returns:
        Why it ended by itself; empty where it was told to.
    """
    configure_logs(settings.log_level)
    metrics = Metrics()
    try:
        if settings.metrics_port:
            metrics.serve(settings.metrics_host, settings.metrics_port)
        asyncio.run(_serve(settings, metrics, connect))
    except (AtelierError, OSError, Refused, Unauthorized) as error:
        return one_line(error)
    return ""


async def _serve(settings: Settings, metrics: Metrics, connect: Connect) -> None:
    async with connect(settings) as generator:
        worker = Worker(settings, metrics, generator)
        working = asyncio.create_task(worker.run())

        def told() -> None:
            if worker.stopping.is_set():
                working.cancel()
            worker.stopping.set()

        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, told)
        await asyncio.wait((working,))
        if not working.cancelled():
            working.result()


def _triton(settings: Settings) -> AsyncClient:
    return AsyncClient(settings.url, timeout=settings.timeout)


def _wrong(error: ValidationError) -> str:
    """The first of what is wrong with the settings, by the name that it has where it can be set."""
    first = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    if place in ("base_url", "token"):
        place = f"ATELIER_JOBS_{place.upper()}"
    message = "not set" if first["type"] == "missing" else first["msg"].removeprefix("Value error, ")
    return f"{place}: {message}".removeprefix(": ")


if __name__ == "__main__":
    typer.run(main)
