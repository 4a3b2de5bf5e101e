"""The loops: ask for a task, do it, ask again; end without losing one."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

import aiohttp
import structlog
from structlog.contextvars import bound_contextvars

from atelier.client import AtelierError
from clients.job_worker.control_plane import ControlPlane
from clients.job_worker.errors import Dropped, LeaseLost, Passing, Refused, Unauthorized, one_line
from clients.job_worker.handler import Generator, Handler
from clients.job_worker.observing import Metrics, Outcome
from clients.job_worker.retries import LONGEST_PAUSE
from clients.job_worker.settings import Settings
from clients.job_worker.storage import Storage
from clients.job_worker.tasks import Offer

log = structlog.get_logger("job_worker")

MODEL = "generate"
"""What Triton must have ready before a task is taken."""


class Worker:
    """One worker. Cancelling `run` ends it at once: what it was working on is given back.

    Args:
        settings: what it is started with.
        metrics: where it counts.
        generator: what makes the videos.

    Attributes:
        stopping: set it, and the worker takes nothing more, finishes what it has, and `run` returns.
    """

    def __init__(self, settings: Settings, metrics: Metrics, generator: Generator) -> None:
        self._settings, self._metrics, self._generator = settings, metrics, generator
        self.stopping = asyncio.Event()
        self._turn = asyncio.Lock()
        self._held: set[str] = set()
        self._refusal: Refused | Unauthorized | None = None
        self._troubles: dict[str, int] = {}

    async def run(self) -> None:
        """Serve until `stopping` is set.

        Raises:
            Unauthorized: the control plane does not know the token.
            Refused: it refuses to hand out tasks for another reason, such as a wrong address.
        """
        settings = self._settings
        # Cookies would tie calls together, and presigned URLs need none.
        async with aiohttp.ClientSession(trust_env=True, cookie_jar=aiohttp.DummyCookieJar()) as session:
            control, storage = ControlPlane(settings, session), Storage(settings, session)
            handler = Handler(settings, control, storage, self._generator, self._metrics, self.stopping)
            log.info("serving", worker=settings.worker_id, triton=settings.url, in_flight=settings.in_flight)
            async with asyncio.TaskGroup() as group:
                for _ in range(settings.in_flight):
                    group.create_task(self._serve(control, handler))
        if self._refusal:
            raise self._refusal
        log.info("stopped")

    async def _serve(self, control: ControlPlane, handler: Handler) -> None:
        """Do one task after the other."""
        try:
            while (offer := await self._next(control)) is not None:
                try:
                    await self._work(handler, offer)
                finally:
                    self._held.discard(offer.item_id)
        except (Refused, Unauthorized) as error:
            # No reason to drop what others are working on; they learn for themselves whether they still can report.
            self._refusal = error
            self.stopping.set()

    async def _next(self, control: ControlPlane) -> Offer | None:
        """The next task, whenever it comes; ``None`` when this worker is to stop.

        One asks at a time: a control plane that reads before it writes could give one task to two who ask at once,
        and under one worker's name they would never know.
        """
        async with self._turn:
            while not self.stopping.is_set():
                pause = self._settings.polling_interval
                if await self._is_ready():
                    try:
                        offer = await control.next_task()
                    except Passing as error:
                        pause = self._trouble("the control plane", str(error))
                    else:
                        self._fine("the control plane")
                        if offer is not None and offer.item_id not in self._held:
                            self._held.add(offer.item_id)
                            return offer
                        if offer is not None:
                            log.warning("this task is at work already", item_id=offer.item_id)
                with suppress(TimeoutError):
                    await asyncio.wait_for(self.stopping.wait(), pause)
        return None

    async def _is_ready(self) -> bool:
        """Whether Triton could do a task now: others may have one that can, so none is taken before."""
        try:
            ready, why = await self._generator.is_ready(MODEL), f"{MODEL} is not ready"
        except AtelierError as error:
            ready, why = False, one_line(error)
        if ready:
            self._fine("Triton")
        else:
            self._trouble("Triton", why)
        return ready

    def _trouble(self, what: str, error: str) -> float:
        """Say once that it is waited for; seconds until it is asked again."""
        count = self._troubles.get(what, 0)
        if not count:
            log.warning("waiting", what=what, error=error)
        self._troubles[what] = count + 1
        return min(LONGEST_PAUSE, self._settings.retry_delay * 2.0 ** min(count, 16))

    def _fine(self, what: str) -> None:
        if self._troubles.pop(what, 0):
            log.info("back", what=what)

    async def _work(self, handler: Handler, offer: Offer) -> None:
        """One task, from its lease to its end."""
        metrics, started, outcome = self._metrics, time.perf_counter(), Outcome.GIVEN_BACK
        metrics.taken.inc()
        with bound_contextvars(item_id=offer.item_id), metrics.in_flight.track_inprogress():
            log.info("taken")
            error = ""
            try:
                outcome = await handler.do(offer)
            except LeaseLost as lost:
                outcome, error = Outcome.LOST, str(lost)
            except Unauthorized as refused:
                outcome, error = Outcome.UNREPORTED, str(refused)
                raise
            except Dropped as dropped:
                error = str(dropped)
            except asyncio.CancelledError:
                error = "told to stop at once"
                raise
            finally:
                seconds = time.perf_counter() - started
                metrics.ended.labels(outcome).inc()
                metrics.seconds.labels(outcome).observe(seconds)
                facts = {"outcome": outcome, "seconds": round(seconds, 3)}
                if error:
                    log.warning("ended", **facts, error=error)
                else:
                    log.info("ended", **facts)
