"""Base classes of the Python models. Importable only inside Triton's Python backend.

A model subclasses ``BatchModel`` and says four things: its settings, how a request becomes a job, what is computed for
a batch of jobs, and how a result becomes tensors (`atelier.serving.stream` has the class of models that answer many
times). Everything that can go wrong is translated here, once:

========================= ================= ==================================================================
raised                    code              the client reads
========================= ================= ==================================================================
``InvalidInput``          ``INVALID_ARG``   the sentence
``Unavailable``           ``UNAVAILABLE``   Triton's own sentence about the queue
``Cancelled``             ``CANCELLED``     that the request was cancelled
anything else             ``INTERNAL``      the request's id; the stack trace goes to the log, never to the client
========================= ================= ==================================================================
"""

from __future__ import annotations

import json
import math
import traceback
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
import triton_python_backend_utils as pb_utils
from numpy.typing import NDArray
from pydantic_settings import BaseSettings

from atelier.errors import InvalidInput
from atelier.serving import canary
from atelier.serving.beats import PULSE
from atelier.serving.calls import ERRORS, FACTS, error_as_data
from atelier.serving.errors import Cancelled, Unavailable
from atelier.serving.metrics import Metrics
from atelier.serving.request import Request
from atelier.serving.settings import Settled, settle

Job = TypeVar("Job")
Result = TypeVar("Result")
Settings = TypeVar("Settings", bound=BaseSettings)

Tensors = Mapping[str, NDArray[Any] | bytes | str]
"""What a model answers: arrays with their batch dimension, or one encoded file or text."""


class Model(ABC, Generic[Settings]):
    """What all models share: their settings, and what clients read when something goes wrong.

    Attributes:
        settings_class: the model's settings.
        request_settings: optional inputs that set something, tensor name to field of ``settings_class``.
        name: the model's name.
        repository: the model's folder.
        settings: what applies where a request says nothing.
        log: Triton's logger (``log_info``, ``log_warn``, ``log_error``).
        metrics: of the model.
        patience: seconds after which a model whose work does not go on counts as dead.
    """

    settings_class: type[Settings]
    request_settings: ClassVar[Mapping[str, str]] = {}

    settings: Settled[Settings]

    def setup(self) -> None:
        """Prepare what all requests share; called once, when the model is loaded."""

    def initialize(self, args: Mapping[str, str]) -> None:
        """Called by Triton when the model is loaded."""
        config = json.loads(args["model_config"])
        self.name = args["model_name"]
        self.repository = args["model_repository"]
        self.log = pb_utils.Logger
        self.metrics = Metrics(self.name)
        PULSE.begin(self.name)
        parameters = {key: value["string_value"] for key, value in config.get("parameters", {}).items()}
        self.patience = float(parameters.get(canary.CONFIG, math.inf))
        self.settings = settle(self.settings_class, parameters)
        self._inputs = [tensor["name"] for tensor in config.get("input", [])]
        self.setup()

    def settled(self, request: Request) -> Settled[Settings]:
        """The settings that apply to a request.

        Raises:
            InvalidInput: a value is not accepted, or a name is no input's.
        """
        request.refuse_strangers(self._inputs)
        return self.settings.override(request.settings(self.request_settings))

    def translate(self, request: Request, error: Exception) -> tuple[str, str]:
        """The code and the message that the client gets."""
        if isinstance(error, InvalidInput):
            return "INVALID_ARG", str(error)
        if isinstance(error, Unavailable):
            return "UNAVAILABLE", str(error)
        if isinstance(error, Cancelled):
            return "CANCELLED", str(error)
        trace = "".join(traceback.format_exception(error))
        self.log.log_error(f"{self.name}: request {request.id} failed:\n{trace}")
        return "INTERNAL", f"{self.name} failed on request {request.id}; the server's log has the cause under this id."


class BatchModel(Model[Settings], Generic[Settings, Job, Result]):
    """A model that answers each request once. One request's error never fails its batch-mates."""

    @abstractmethod
    def decode(self, request: Request, settings: Settled[Settings]) -> Job:
        """Read a request's tensors."""

    @abstractmethod
    def predict(self, jobs: Sequence[Job]) -> Sequence[Result | Exception]:
        """Compute the batch: for each job, in order, its result or what it failed with."""

    @abstractmethod
    def encode(self, result: Result) -> Tensors:
        """A result as tensors, by name."""

    def execute(self, raw_requests: Sequence[Any]) -> list[Any]:
        """Called by Triton with a batch of requests."""
        requests = [Request(raw) for raw in raw_requests]
        outcomes: list[Any] = [self._attempt(self._decode, request) for request in requests]
        ready = [i for i, outcome in enumerate(outcomes) if not isinstance(outcome, Exception)]
        if ready:
            results = self._attempt(self.predict, [outcomes[i] for i in ready])
            failed_together = isinstance(results, Exception)
            for position, i in enumerate(ready):
                outcomes[i] = results if failed_together else results[position]
        return [self._respond(request, outcome) for request, outcome in zip(requests, outcomes, strict=True)]

    def _decode(self, request: Request) -> Job:
        if request.asks_nothing:
            raise _NothingAsked
        request.raise_if_cancelled()
        return self.decode(request, self.settled(request))

    @staticmethod
    def _attempt(function: Any, argument: Any) -> Any:
        """What the function returns, or the exception that it raised."""
        try:
            return function(argument)
        except Exception as error:
            return error

    def _respond(self, request: Request, outcome: Any) -> Any:
        if isinstance(outcome, _NothingAsked):
            return pb_utils.InferenceResponse([])
        tensors = outcome if isinstance(outcome, Exception) else self._attempt(self.encode, outcome)
        if isinstance(tensors, Exception):
            code, message = self.translate(request, tensors)
            self.metrics.answered(code.lower(), request.seconds)
            if (facts := request.parameter(ERRORS)) in FACTS:
                return pb_utils.InferenceResponse(tensors_of({facts: error_as_data(code, message)}))
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(message, getattr(pb_utils.TritonError, code)))
        self.metrics.answered("ok", request.seconds)
        return pb_utils.InferenceResponse(tensors_of(tensors))


class _NothingAsked(Exception):
    """The request is one of the launcher's (`atelier.serving.canary`)."""


def answer_nothing(sender: Any, trouble: str = "") -> None:
    """Answer one of the launcher's requests in a decoupled model: once, without tensors.

    Args:
        sender: of the request's responses.
        trouble: why the model answers nobody else any more; it is the answer then.
    """
    answer = pb_utils.InferenceResponse(error=pb_utils.TritonError(trouble)) if trouble else None
    flags = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL
    sender.send(answer or pb_utils.InferenceResponse([]), flags=flags)


def tensors_of(tensors: Tensors) -> list[Any]:
    """Named values as Triton's tensors."""
    return [pb_utils.Tensor(name, _array(value)) for name, value in tensors.items()]


def _array(value: NDArray[Any] | bytes | str) -> NDArray[Any]:
    """A file or a text as the one element of a ``STRING [1]`` tensor with its batch dimension."""
    if isinstance(value, str):
        value = value.encode("utf-8")
    if isinstance(value, bytes):
        # dtype object: numpy's own bytes type drops trailing zeros
        return np.array([[value]], dtype=np.object_)
    return value
