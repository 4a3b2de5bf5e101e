"""Base class of models whose requests wait for minutes, and are told where they stand.

Triton tells a request nothing while it waits in its queue. Here the queue is the model's own: Triton hands requests
over at once, a thread works on them one by one, and each is told its position whenever that changes. Importable only
inside Triton's Python backend.
"""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import triton_python_backend_utils as pb_utils
from pydantic_settings import BaseSettings

from atelier.serving.errors import Cancelled, Unavailable
from atelier.serving.model import Model, Tensors, tensors_of
from atelier.serving.request import Request
from atelier.serving.settings import Settled

Job = TypeVar("Job")
Settings = TypeVar("Settings", bound=BaseSettings)

POLL = 0.1
"""Seconds between two looks at whether a waiting request was given up."""


@dataclass(eq=False)
class Task(Generic[Job]):
    """A request on its way.

    Attributes:
        request: whose tensors cannot be read any more.
        sender: Triton's, of its responses.
        job: what was read from it.
    """

    request: Request
    sender: Any
    job: Job

    def check(self) -> None:
        """See whether anybody waits for it.

        Raises:
            Cancelled: nobody does.
        """
        if self.sender.is_cancelled():
            raise Cancelled("The request was cancelled.")

    def send(self, tensors: Tensors) -> None:
        """Give out one response.

        Raises:
            Cancelled: nobody waits for it.
        """
        self.check()
        self.sender.send(pb_utils.InferenceResponse(tensors_of(tensors)))


class QueuedModel(Model[Settings], Generic[Settings, Job]):
    """A decoupled model with a bounded queue of its own. Errors are translated as `Model` says.

    One that finds the queue full is answered ``UNAVAILABLE`` at once; one that is given up while it waits is answered
    ``CANCELLED``, and leaves its place.
    """

    def initialize(self, args: Any) -> None:
        """Called by Triton when the model is loaded."""
        super().initialize(args)
        self._queue: deque[Task[Job]] = deque()
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
        """Held while a request is worked on; ``check`` raises where it is given up meanwhile."""
        del check
        return nullcontext()

    def execute(self, raw_requests: Sequence[Any]) -> None:
        """Called by Triton: put requests into the queue."""
        for raw in raw_requests:
            request, sender = Request(raw), raw.get_response_sender()
            try:
                request.raise_if_cancelled()
                job = self.decode(request, self.settings.override(request.settings(self.request_settings)))
                with self._changed:
                    if len(self._queue) >= self.most_waiting:
                        raise Unavailable(f"Exceeds maximum queue size: {self.most_waiting} requests wait already.")
                    self._queue.append(Task(request, sender, job))
                    position = len(self._queue) - 1 + self._busy
                    self._changed.notify_all()
                self._tell(sender, self.waiting(position))
            except Exception as error:
                self._refuse(request, sender, error)

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
                tasks, self._busy = self._take(), True
            try:
                self._answer(tasks)
            finally:
                with self._changed:
                    self._busy = False
                    standing = list(enumerate(self._queue))
                for position, other in standing:
                    self._tell(other.sender, self.waiting(position))

    def _take(self) -> list[Task[Job]]:
        """The next task, and those behind it that can be worked on with it."""
        tasks = [self._queue.popleft()]
        kind = self.kind(tasks[0].job)
        alike = [task for task in self._queue if kind is not None and self.kind(task.job) == kind]
        for task in alike[: self.most_together - 1]:
            self._queue.remove(task)
            tasks.append(task)
        return tasks

    def _answer(self, tasks: list[Task[Job]]) -> None:
        try:
            with self.exclusive(tasks[0].check):
                failures = self.run(tasks)
        except Exception as error:
            failures = [error] * len(tasks)
        for task, failure in zip(tasks, failures, strict=True):
            if failure is not None:
                self._refuse(task.request, task.sender, failure)
                continue
            self.metrics.answered("ok", task.request.seconds)
            task.sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)

    def _watch(self) -> None:
        """Answer those that were given up while they waited: they take no place from others."""
        while True:
            with self._changed:
                if self._changed.wait_for(lambda: self._closing, timeout=POLL):
                    return
                given_up = [entry for entry in self._queue if entry.sender.is_cancelled()]
                for entry in given_up:
                    self._queue.remove(entry)
            for entry in given_up:
                self._refuse(entry.request, entry.sender, Cancelled("The request was cancelled."))

    def _tell(self, sender: Any, tensors: Tensors) -> None:
        """Send what is not worth a failure: the request may have ended meanwhile."""
        try:
            if not sender.is_cancelled():
                sender.send(pb_utils.InferenceResponse(tensors_of(tensors)))
        except pb_utils.TritonModelException as error:
            self.log.log_info(f"{self.name}: a position was not sent: {error}")

    def _refuse(self, request: Request, sender: Any, error: Exception) -> None:
        code, message = self.translate(request, error)
        self.metrics.answered(code.lower(), request.seconds)
        # Within a stream gRPC carries no status: the words begin with it.
        refusal = pb_utils.TritonError(f"[{code}] {message}", getattr(pb_utils.TritonError, code))
        sender.send(pb_utils.InferenceResponse(error=refusal), flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
