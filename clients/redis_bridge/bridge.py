"""The loops: take from every queue in turn, keep so many tasks at work, end without losing one."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from typing import Any, TypeVar

import structlog
from redis.asyncio import Redis, RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, BusyLoadingError, ClusterDownError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from structlog.contextvars import bound_contextvars
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, wait_exponential

from atelier.client import AsyncClient
from clients.redis_bridge.handler import Handler, Interrupted
from clients.redis_bridge.observing import Metrics
from clients.redis_bridge.queues import Queue
from clients.redis_bridge.settings import Settings
from clients.redis_bridge.sources import Item, Source
from clients.redis_bridge.stream import Stream
from clients.redis_bridge.tasks import envelope

log = structlog.get_logger("redis_bridge")
T = TypeVar("T")

PATIENCE = 1.0
"""Seconds that Redis holds back its answer while a list is empty; a bridge that is told to stop waits for it."""

LOST = (RedisConnectionError, RedisTimeoutError, BusyLoadingError, ClusterDownError, ConnectionError)
"""What passes when Redis comes back; no other error of the system does, such as one of `/dev/shm`."""


class Bridge:
    """One bridge.

    Args:
        settings: what it is started with.
        metrics: where it counts.

    Attributes:
        stopping: set it, and the bridge takes nothing more, finishes what it has, and `run` returns.
    """

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._settings, self._metrics = settings, metrics
        self.stopping = asyncio.Event()
        self._ended = asyncio.Event()
        self._slots = asyncio.Semaphore(settings.in_flight)
        self._held: defaultdict[str, Counter[bytes]] = defaultdict(Counter)
        self._working: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Serve until `stopping` is set.

        Raises:
            RedisError: Redis refuses what a bridge must do: a wrong password, a missing right, no ``BLMOVE``.
        """
        settings = self._settings
        async with AsyncExitStack() as stack:
            redis = await stack.enter_async_context(connect(settings))
            client = await stack.enter_async_context(
                AsyncClient(settings.url, timeout=settings.timeout, shared_memory=settings.shared_memory)
            )
            handler = Handler(settings, client, redis, self.stopping)
            sources = _sources(settings, redis)
            for source in sources:
                self._metrics.show(source.name)
            if not await self._touched(sources):
                return
            names = [source.name for source in sources]
            log.info("serving", queues=names, consumer=settings.consumer, triton=settings.url)
            try:
                await self._serve(sources, handler)
            finally:
                for source in sources:
                    with suppress(*LOST):
                        await source.leave()
            log.info("stopped")

    async def _touched(self, sources: list[Source]) -> bool:
        """Wait for Redis; ``False`` where this bridge is told to stop first."""
        try:
            for source in sources:
                await self._patiently(lambda source=source: self._touch(source))
        except LOST:
            if self.stopping.is_set():
                return False
            raise
        return True

    async def _touch(self, source: Source) -> None:
        """A sign of life: to whoever watches this process, also where Redis is away; and to other bridges."""
        self._metrics.beat.set_to_current_time()
        await source.touch()

    async def _serve(self, sources: list[Source], handler: Handler) -> None:
        """All loops at once; one that fails ends the others."""
        async with asyncio.TaskGroup() as group:
            for source in sources:
                group.create_task(self._beat(source, handler))
            await asyncio.gather(*(group.create_task(self._take(source, handler)) for source in sources))
            if self._working:
                log.info("finishing", in_flight=len(self._working))
            while self._working:
                await asyncio.gather(*self._working)
            self._ended.set()

    async def _beat(self, source: Source, handler: Handler) -> None:
        """Say that this bridge lives, take over from those that do not, and begin what was taken unnoticed."""
        unnoticed: Counter[bytes] = Counter()
        # Not cancelled at the end: redis-py may take a cancellation for a lost connection, and the loop went on.
        while not self._ended.is_set():
            with suppress(*LOST):
                await self._touch(source)
                if not self.stopping.is_set():
                    unnoticed = await self._look_around(source, handler, unnoticed)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._ended.wait(), source.pause)

    async def _look_around(self, source: Source, handler: Handler, unnoticed: Counter[bytes]) -> Counter[bytes]:
        """Take over from the dead; begin what this bridge holds but does not work at, this time and the last.

        The last as well: what is on its way from Redis is no stray.
        """
        count, keys = await source.take_over()
        if count:
            self._metrics.recovered.labels(source.name).inc(count)
            log.warning("took over from a dead bridge", queue=source.name, tasks=count)
        strays = Counter(await source.held()) - self._held[source.name]
        for key in {*keys, *(strays & unnoticed)}:
            self._begin_soon(source, handler, await source.open(key))
        return strays

    async def _take(self, source: Source, handler: Handler) -> None:
        """Take task after task. Each source holds one in its hand; whoever waits longest for a slot gets the next."""
        await self._reconcile(source, handler)  # an earlier life's, under the same name
        while not self.stopping.is_set():
            try:
                item = await source.take(PATIENCE)
            except LOST as error:
                log.warning("Redis is gone", queue=source.name, error=str(error))
                await self._reconcile(source, handler)
                log.info("Redis is back", queue=source.name)
                continue
            if item is not None:
                await self._begin(source, handler, item)

    async def _reconcile(self, source: Source, handler: Handler) -> None:
        """Begin what Redis has moved but could not say any more that it had."""
        try:
            standing = Counter(await self._patiently(source.held))
            for key in (standing - self._held[source.name]).elements():
                await self._begin(source, handler, await source.open(key))
        except LOST:
            if not self.stopping.is_set() and not await self._touched([source]):
                raise

    def _begin_soon(self, source: Source, handler: Handler, item: Item) -> None:
        begin = asyncio.create_task(self._begin(source, handler, item))
        self._working.add(begin)
        begin.add_done_callback(self._working.discard)

    async def _begin(self, source: Source, handler: Handler, item: Item) -> None:
        self._held[source.name][item.key] += 1
        await self._slots.acquire()
        self._metrics.taken.labels(source.name).inc()
        task = asyncio.create_task(self._work(source, handler, item))
        self._working.add(task)
        task.add_done_callback(self._working.discard)

    async def _work(self, source: Source, handler: Handler, item: Item) -> None:
        """One task, from its slot to its end."""
        metrics, started = self._metrics, time.perf_counter()
        metrics.in_flight.labels(source.name).inc()
        with bound_contextvars(request_id=envelope(item).request_id, queue=source.name):
            try:
                retried = metrics.retried.labels(source.name).inc
                reason = await self._patiently(lambda: handler.answer(item, retried))
                if reason:
                    await self._patiently(lambda: source.bury(item, reason))
                    metrics.dead.labels(source.name).inc()
                await self._patiently(lambda: source.finish(item))
                (metrics.failed if reason else metrics.answered).labels(source.name).inc()
                seconds = time.perf_counter() - started
                metrics.seconds.labels(source.name).observe(seconds)
                if reason:
                    log.error("failed", error=reason, seconds=round(seconds, 3))
                else:
                    log.info("answered", seconds=round(seconds, 3))
            except (Interrupted, *LOST) as error:
                log.warning("given back", error=str(error))
            except Exception:
                # A fault of ours: the task stays held, and is there for others when this bridge ends.
                log.exception("left undone")
                self._held[source.name][item.key] += 1  # it is no stray
            finally:
                self._held[source.name] -= Counter([item.key])
                metrics.in_flight.labels(source.name).dec()
                self._slots.release()

    async def _patiently(self, call: Callable[[], Awaitable[T]]) -> T:
        """Do it until Redis is there; once this bridge is to stop, no longer than one more try."""
        attempts = AsyncRetrying(
            retry=retry_if_exception(_passes),
            wait=wait_exponential(multiplier=0.1, max=2),
            stop=self._told_to_stop,
            before_sleep=_waiting,
            reraise=True,
        )

        async def once() -> T:  # tenacity awaits coroutine functions alone
            return await call()

        return await attempts(once)

    def _told_to_stop(self, _state: RetryCallState) -> bool:
        return self.stopping.is_set()


def _passes(error: BaseException) -> bool:
    """A password that is refused is a lost connection to redis-py, and does not come back."""
    return isinstance(error, LOST) and not isinstance(error, AuthenticationError)


def _waiting(state: RetryCallState) -> None:
    if state.attempt_number == 1:
        log.warning("waiting for Redis", error=str(state.outcome.exception() if state.outcome else ""))


def _sources(settings: Settings, redis: Any) -> list[Source]:
    me = settings.consumer, settings.heartbeat
    sources: list[Source] = [Queue(redis, name, *me) for name in (settings.long_queue, settings.short_queue)]
    if settings.stream:
        sources.append(Stream(redis, settings.stream, *me))
    return sources


def connect(settings: Settings) -> Any:
    """A client of Redis, to be entered; it connects on its first call."""
    options: dict[str, Any] = {"socket_connect_timeout": 5, "socket_timeout": 10, "health_check_interval": 15}
    if not settings.cluster:
        # A repeated BLMOVE takes a second task while the first, whose reply was lost, waits: `Bridge` repeats itself.
        options["retry"] = Retry(NoBackoff(), 0)
    kind: Any = RedisCluster if settings.cluster else Redis
    return kind.from_url(settings.redis_url, **options)
