"""Base class of the Python models that answer a request many times. Importable only inside Triton's backend."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, Generic, TypeVar

import triton_python_backend_utils as pb_utils
from pydantic_settings import BaseSettings

from atelier.serving.beats import PULSE
from atelier.serving.errors import Cancelled
from atelier.serving.model import Model, Tensors, answer_nothing, tensors_of
from atelier.serving.request import Request
from atelier.serving.settings import Settled

Job = TypeVar("Job")
Settings = TypeVar("Settings", bound=BaseSettings)


class StreamModel(Model[Settings], Generic[Settings, Job]):
    """A decoupled model: requests are worked on one after another, each with any number of responses.

    What a response does not hold it leaves out. Errors are translated as `Model` says; one ends its request's stream
    and no other.
    """

    @abstractmethod
    def decode(self, request: Request, settings: Settled[Settings]) -> Job:
        """Read a request's tensors."""

    @abstractmethod
    def run(self, job: Job) -> Iterator[Tensors]:
        """Work, and give out responses as they are ready."""

    def execute(self, raw_requests: Sequence[Any]) -> None:
        """Called by Triton with requests that wait.

        The work stays inside: a model that returned early would be given the next request at once.
        """
        for raw in raw_requests:
            self._answer(Request(raw), raw.get_response_sender())

    def _answer(self, request: Request, sender: Any) -> None:
        if request.asks_nothing:
            answer_nothing(sender)
            return
        outcome = "ok"
        try:
            request.raise_if_cancelled()
            job = self.decode(request, self.settled(request))
            for tensors in self.run(job):
                if sender.is_cancelled():
                    raise Cancelled("The request was cancelled.")
                PULSE.beat()
                sender.send(pb_utils.InferenceResponse(tensors_of(tensors)))
        except Exception as error:
            code, message = self.translate(request, error)
            outcome = code.lower()
            # Within a stream gRPC carries no status: the words begin with it.
            refusal = pb_utils.TritonError(f"[{code}] {message}", getattr(pb_utils.TritonError, code))
            sender.send(pb_utils.InferenceResponse(error=refusal))
        finally:
            self.metrics.answered(outcome, request.seconds)
            sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
