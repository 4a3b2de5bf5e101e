"""A request that is answered many times, by more than one thread. Importable only inside Triton's Python backend."""

from __future__ import annotations

import threading
from typing import Any, Generic, TypeVar

import triton_python_backend_utils as pb_utils

from atelier.serving.beats import PULSE
from atelier.serving.calls import ERRORS, FACTS, error_as_data
from atelier.serving.errors import Cancelled
from atelier.serving.leases import LEASE, is_held
from atelier.serving.model import Tensors, tensors_of
from atelier.serving.request import Request

Job = TypeVar("Job")


class Task(Generic[Job]):
    """A request on its way. Triton's sender is no thing for two threads: each response goes out under a lock.

    Args:
        request: its tensors can be read while `job` is made, and not later.
        sender: Triton's, of its responses.

    Attributes:
        request: for its id and seconds.
        job: what was read from it.
    """

    def __init__(self, request: Request, sender: Any) -> None:
        self.request = request
        self.job: Job
        self._sender = sender
        # A call from another model (`calls.call_stream`) loses what fails within a stream, and is not told of its end.
        facts = request.parameter(ERRORS)
        self._errors_in = facts if facts in FACTS else None
        self._lease = request.parameter(LEASE)
        self._lock = threading.Lock()
        self._begun = self._ended = False

    @property
    def is_cancelled(self) -> bool:
        """Whether nobody waits for it."""
        return bool(self._sender.is_cancelled()) or (self._lease is not None and not is_held(str(self._lease)))

    def check(self) -> None:
        """See whether anybody waits for it.

        Raises:
            Cancelled: nobody does.
        """
        if self.is_cancelled:
            raise Cancelled("The request was cancelled.")

    def begin(self) -> None:
        """The work begins: what it is told in the queue comes too late from now on."""
        with self._lock:
            self._begun = True

    def tell(self, tensors: Tensors) -> None:
        """Send what a request in the queue is told; nothing where it does not wait any more."""
        with self._lock:
            if not (self._begun or self._ended or self.is_cancelled):
                self._sender.send(pb_utils.InferenceResponse(tensors_of(tensors)))

    def report(self, tensors: Tensors) -> None:
        """Send how far the work is.

        Raises:
            Cancelled: nobody waits for it.
        """
        self.check()
        PULSE.beat()
        with self._lock:
            if not self._ended:
                self._sender.send(pb_utils.InferenceResponse(tensors_of(tensors)))

    def send(self, tensors: Tensors) -> None:
        """Send what was asked for.

        Raises:
            Cancelled: nobody waits for it.
        """
        self.check()
        PULSE.beat()
        with self._lock:
            self._sender.send(pb_utils.InferenceResponse(tensors_of(tensors)))

    def end(self, code: str = "", message: str = "") -> bool:
        """End the stream, once.

        Args:
            code: of what it failed with; empty: it did not.
            message: for people.

        Returns:
            Whether this ended it.
        """
        with self._lock:
            if self._ended:
                return False
            self._ended = True
            if code and self._errors_in:
                told = tensors_of({self._errors_in: error_as_data(code, message)})
                self._sender.send(pb_utils.InferenceResponse(told))
            elif code:
                # Within a stream gRPC carries no status: the words begin with it.
                error = pb_utils.TritonError(f"[{code}] {message}", getattr(pb_utils.TritonError, code))
                self._sender.send(pb_utils.InferenceResponse(error=error))
            self._sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
        return True
