"""Base class of models whose requests wait for minutes, and are told where they stand.

Triton tells a request nothing while it waits in its queue. Here the queue is the model's own: Triton hands requests
over at once, a thread works on them one by one, and each is told its position whenever that changes. Importable only
inside Triton's Python backend.
"""

from __future__ import annotations

import threading
import time
from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any, Generic, TypeVar

from pydantic_settings import BaseSettings

from atelier.serving.answering import Task
from atelier.serving.beats import PULSE
from atelier.serving.canary import BROKEN
from atelier.serving.errors import Cancelled, Unavailable
from atelier.serving.model import Model, Tensors, answer_nothing
from atelier.serving.request import Request
from atelier.serving.settings import Settled

Job = TypeVar("Job")
Settings = TypeVar("Settings", bound=BaseSettings)

POLL = 0.1
"""Seconds between two looks at whether a waiting request was given up, or has waited for too long."""


class QueuedModel(Model[Settings], Generic[Settings, Job]):
    """A decoupled model with a bounded queue of its own. Errors are translated as `Model` says.

    One that finds the queue full is answered ``UNAVAILABLE`` at once, as is one that waits for longer than its
    ``timeout`` parameter says; one that is given up while it waits is answered ``CANCELLED``, and leaves its place.
    """

    def initialize(self, args: Any) -> None:
        """Called by Triton when the model is loaded."""
        super().initialize(args)
        self._queue: deque[tuple[Task[Job], float]] = deque()  # with the time until which each waits
        self._changed = threading.Condition()
        self._closing = self._busy = False
        self._threads = [
            threading.Thread(target=target, name=f"{self.name}-{target.__name__}", daemon=True)
            for target in (self._work, self._watch)
        ]
        for thread in self._threads:
            thread.start()

    @abstractmethod
    def decode(self, request: Request, settings: Settled[Settings]) -> Job:
        """Read a request's tensors; nothing of them can be read later."""

    @abstractmethod
    def run(self, tasks: Sequence[Task[Job]]) -> Sequence[Exception | None]:
        """Work on tasks of one kind together, and send their responses: what each failed with, if it did."""

    def kind(self, job: Job) -> Hashable:
        """Waiting jobs of one kind may be worked on together; None: by itself."""
        del job
        return None

    @property
    def most_together(self) -> int:
        """Jobs that are worked on together."""
        return 1

    @abstractmethod
    def waiting(self, position: int) -> Tensors:
        """What a request in the queue is told: how many are before it, the one that is worked on counted."""

    @property
    @abstractmethod
    def most_waiting(self) -> int:
        """Requests that may wait."""

    def exclusive(self, check: Callable[[], None]) -> AbstractContextManager[None]:
        """Held while requests are worked on; ``check`` raises where all of them are given up meanwhile."""
        del check
        return nullcontext()

    def execute(self, raw_requests: Sequence[Any]) -> None:
        """Called by Triton: put requests into the queue."""
        for raw in raw_requests:
            request = Request(raw)
            if request.asks_nothing:
                answer_nothing(raw.get_response_sender(), self._trouble())
                continue
            task: Task[Job] = Task(request, raw.get_response_sender())
            try:
                request.raise_if_cancelled()
                task.job = self.decode(request, self.settled(request))
                self._enter(task)
            except Exception as error:
                self._refuse(task, error)

    def _trouble(self) -> str:
        """Why no request will be answered any more; empty where they will be."""
        if not all(thread.is_alive() for thread in self._threads):
            return f"{self.name} {BROKEN}: a thread of it has ended."
        if self._busy and PULSE.silence() > self.patience:
            return f"{self.name} {BROKEN}: its work has not gone on for {self.patience:.0f} s."
        return ""

    def _enter(self, task: Task[Job]) -> None:
        patience = task.request.queue_timeout
        with self._changed:
            # One that finds nothing before it does not wait, though the worker has still to take it.
            if len(self._queue) >= self.most_waiting + (not self._busy):
                raise Unavailable(f"Exceeds maximum queue size: {self.most_waiting} requests wait already.")
            task.tell(self.waiting(len(self._queue) + self._busy))
            self._queue.append((task, time.monotonic() + patience))
            self.metrics.waiting(len(self._queue))
            self._changed.notify_all()

    def finalize(self) -> None:
        """Called by Triton when the model is unloaded, after the last request was answered."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._queue or self._closing)
                if not self._queue:
                    return
                PULSE.beat()
                tasks, self._busy = self._take(), True
                self._tell_positions()
            try:
                self._answer(tasks)
            except Exception as error:  # whatever it was, those behind it are answered
                self._give_up(tasks, error)
            with self._changed:
                self._busy = False

    def _take(self) -> list[Task[Job]]:
        """The next task, and those behind it that can be worked on with it."""
        lead = self._queue[0][0]
        kind = self.kind(lead.job)
        alike = [] if kind is None else [entry for entry in self._queue if self.kind(entry[0].job) == kind]
        taken = [self._queue[0], *alike[1:]][: self.most_together]
        for entry in taken:
            self._queue.remove(entry)
            entry[0].begin()
        return [task for task, _ in taken]

    def _tell_positions(self) -> None:
        self.metrics.waiting(len(self._queue))
        for position, (task, _) in enumerate(self._queue):
            with suppress(Exception):  # who cannot be told, as memory is short, waits all the same
                task.tell(self.waiting(position + self._busy))

    def _answer(self, tasks: list[Task[Job]]) -> None:
        def check() -> None:
            if all(task.is_cancelled for task in tasks):
                raise Cancelled("The request was cancelled.")

        with self.exclusive(check):
            failures = self.run(tasks)
        for task, failure in zip(tasks, failures, strict=True):
            if failure is not None:
                self._refuse(task, failure)
            elif task.end():
                self.metrics.answered("ok", task.request.seconds)

    def _watch(self) -> None:
        """Answer those that were given up while they waited, or waited for too long: they take no place from others."""
        while True:
            with self._changed:
                if self._changed.wait_for(lambda: self._closing, timeout=POLL):
                    return
                now = time.monotonic()
                leaving = [entry for entry in self._queue if entry[0].is_cancelled or now > entry[1]]
                for entry in leaving:
                    self._queue.remove(entry)
                if leaving:
                    self._tell_positions()
            for task, _ in leaving:
                cancelled = task.is_cancelled
                late = Unavailable("Request timeout expired: it waited for its turn for longer than it was allowed to.")
                self._give_up([task], Cancelled("The request was cancelled.") if cancelled else late)

    def _give_up(self, tasks: Sequence[Task[Job]], error: Exception) -> None:
        """Refuse without failing: the thread goes on."""
        for task in tasks:
            try:
                self._refuse(task, error)
            except Exception as second:
                self.log.log_error(f"{self.name}: request {task.request.id} could not be answered: {second!r}")

    def _refuse(self, task: Task[Job], error: Exception) -> None:
        code, message = self.translate(task.request, error)
        if task.end(code, message):
            self.metrics.answered(code.lower(), task.request.seconds)
