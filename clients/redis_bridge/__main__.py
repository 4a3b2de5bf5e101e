"""``python -m clients.redis_bridge``: answer the old worker's tasks by Triton until told to stop.

Exit status: 0 (stopped by SIGTERM or Ctrl-C, with everything in flight done), 1 (Redis refuses), 2 (usage or settings);
one line on stderr says why.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from redis.exceptions import RedisError

from atelier.client import AtelierError
from clients.redis_bridge.bridge import Bridge
from clients.redis_bridge.observing import Metrics, configure_logs
from clients.redis_bridge.settings import Settings

_FIELDS = Settings.model_fields


def _option(field: str, *names: str) -> Any:
    """An option; where it is not given, the environment and the default decide."""
    default = _FIELDS[field].default
    shown = f" [default: {default}]" if isinstance(default, str | int | float) and not isinstance(default, bool) else ""
    return typer.Option(*names, help=f"{_FIELDS[field].description}{shown}", show_default=False)


def main(
    redis_url: Annotated[str | None, _option("redis_url")] = None,
    cluster: Annotated[bool | None, _option("cluster", "--cluster/--no-cluster")] = None,
    url: Annotated[str | None, _option("url")] = None,
    shared_memory: Annotated[bool | None, _option("shared_memory", "--shared-memory/--no-shared-memory")] = None,
    long_queue: Annotated[str | None, _option("long_queue")] = None,
    short_queue: Annotated[str | None, _option("short_queue")] = None,
    stream: Annotated[str | None, _option("stream")] = None,
    in_flight: Annotated[int | None, _option("in_flight")] = None,
    timeout: Annotated[float | None, _option("timeout")] = None,
    attempts: Annotated[int | None, _option("attempts")] = None,
    result_ttl: Annotated[int | None, _option("result_ttl")] = None,
    heartbeat: Annotated[float | None, _option("heartbeat")] = None,
    consumer: Annotated[str | None, _option("consumer")] = None,
    metrics_host: Annotated[str | None, _option("metrics_host")] = None,
    metrics_port: Annotated[int | None, _option("metrics_port")] = None,
    log_level: Annotated[str | None, _option("log_level")] = None,
) -> None:
    """Answer the old worker's tasks by Triton. Every option is also ATELIER_BRIDGE_NAME in the environment."""
    given = {name: value for name, value in locals().items() if value is not None}
    try:
        settings = Settings(**given)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise typer.BadParameter(f"{place}: {first['msg'].removeprefix('Value error, ')}".removeprefix(": ")) from None
    configure_logs(settings.log_level)
    metrics = Metrics()
    reason = ""
    try:
        if settings.metrics_port:
            metrics.serve(settings.metrics_host, settings.metrics_port)
        asyncio.run(_serve(settings, metrics))
    except* (AtelierError, RedisError, OSError) as group:
        reason = " ".join(str(next(_leaves(group))).split())
    if reason:
        sys.stderr.write(f"redis_bridge: {reason}\n")
        raise typer.Exit(1)


async def _serve(settings: Settings, metrics: Metrics) -> None:
    bridge = Bridge(settings, metrics)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, bridge.stopping.set)
    await bridge.run()


def _leaves(group: BaseExceptionGroup[Any]) -> Any:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


if __name__ == "__main__":
    typer.run(main)
