"""Heartbeats that live as long as the work on a task, and not a moment longer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn, TypeVar

import structlog

from clients.job_worker.control_plane import ControlPlane
from clients.job_worker.errors import Passing, Refused
from clients.job_worker.settings import Settings

log = structlog.get_logger("job_worker")
T = TypeVar("T")
Work = Callable[[], Coroutine[Any, Any, T]]


async def while_held(control: ControlPlane, item_id: str, settings: Settings, work: Work[T]) -> T:
    """Do work on a task while heartbeats keep its lease.

    The first comes before it: where two workers were given one task, the one that does not own it learns so at
    once. When this returns or raises, none is on its way any more.

    Args:
        control: what is told that this worker lives.
        item_id: the task.
        settings: how often, and for how long.
        work: what is done; it is cancelled where the lease is lost, or the token refused.

    Raises:
        Dropped: the lease is lost, or the token refused.
        Exception: what the work raises.
    """
    pause = await _beat(control, item_id, settings)
    beating = asyncio.create_task(_keep_beating(control, item_id, settings, pause))
    doing = asyncio.create_task(work())
    try:
        await asyncio.wait((doing, beating), return_when=asyncio.FIRST_COMPLETED)
        if not doing.done():
            beating.result()  # raises
        return await doing
    finally:
        for task in (doing, beating):
            task.cancel()
        await asyncio.gather(doing, beating, return_exceptions=True)


async def _beat(control: ControlPlane, item_id: str, settings: Settings) -> float:
    """Extend the lease; seconds until the next time.

    A control plane that does not answer does not end the work: as long as it is away it can give the task to nobody
    else, and it is asked again before the upload.
    """
    try:
        await control.heartbeat(item_id)
    except (Passing, Refused) as error:
        pause = min(settings.heartbeat_interval, settings.retry_delay)
        log.warning("no heartbeat", error=str(error), seconds=round(pause, 2))
        return pause
    return settings.heartbeat_interval


async def _keep_beating(control: ControlPlane, item_id: str, settings: Settings, pause: float) -> NoReturn:
    while True:
        await asyncio.sleep(pause)
        pause = await _beat(control, item_id, settings)
