"""What is tried again, and when."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_attempt, wait_random_exponential
from tenacity.wait import wait_base

from clients.job_worker.errors import Passing, one_line
from clients.job_worker.observing import Metrics
from clients.job_worker.settings import Settings

log = structlog.get_logger("job_worker")
T = TypeVar("T")

LONGEST_PAUSE = 60.0
"""Seconds between two tries at most."""


class Retries:
    """Tries again, with a growing pause that two workers do not share.

    Args:
        settings: the worker's.
        metrics: where tries are counted.
    """

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._delay, self._metrics = settings.retry_delay, metrics

    def pause(self) -> wait_base:
        """The pauses, for tenacity."""
        return wait_random_exponential(multiplier=self._delay, max=LONGEST_PAUSE)

    def say(self, step: str) -> Callable[[RetryCallState], None]:
        """What tenacity is to do before every pause of a step: count it and log it."""

        def before(state: RetryCallState) -> None:
            self._metrics.retried.labels(step).inc()
            seconds = round(state.next_action.sleep if state.next_action else 0, 2)
            why = one_line(error_of(state))
            log.warning("trying again", step=step, attempt=state.attempt_number, error=why, seconds=seconds)

        return before

    async def passing(self, step: str, attempts: int, call: Callable[[], Awaitable[T]]) -> T:
        """Call until it does not raise `Passing`, so many times; then raise that."""
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(Passing),
            wait=self.pause(),
            stop=stop_after_attempt(attempts),
            before_sleep=self.say(step),
            reraise=True,
        )

        async def once() -> T:  # tenacity awaits coroutine functions alone
            return await call()

        return await retrying(once)


def error_of(state: RetryCallState) -> BaseException | None:
    """What the last try failed with."""
    return state.outcome.exception() if state.outcome else None
