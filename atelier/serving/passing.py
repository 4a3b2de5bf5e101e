"""Base class of the models that answer once for a decoupled model. Importable only inside Triton's Python backend."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field
from pydantic_settings import BaseSettings

from atelier.serving.calls import call_stream
from atelier.serving.model import BatchModel, Tensors
from atelier.serving.request import Request
from atelier.serving.settings import Settled


class PassingSettings(BaseSettings):
    """Settings of the call; a subclass names the prefix of its variables."""

    timeout: float = Field(3600.0, gt=0, description="seconds that a request may wait for its turn")


class PassingModel(BatchModel[PassingSettings, Request, dict[str, bytes]]):
    """Passes requests on, and the last answer back. Who gives a request up here gives it up there.

    Attributes:
        target: the decoupled model, which holds the weights and the queue.
        outputs: what is passed back.
    """

    target: ClassVar[str]
    outputs: ClassVar[Sequence[str]]

    def decode(self, request: Request, settings: Settled[PassingSettings]) -> Request:
        """The request as it is: the other model reads it."""
        return request

    def predict(self, jobs: Sequence[Request]) -> Sequence[dict[str, bytes] | Exception]:
        """Call the other model for each."""
        return [self._call(job) for job in jobs]

    def _call(self, request: Request) -> dict[str, bytes] | Exception:
        try:
            return call_stream(
                self.target,
                request.tensors(),
                self.outputs,
                timeout=self.settings.values.timeout,
                check=request.raise_if_cancelled,
            )
        except Exception as error:
            return error

    def encode(self, result: dict[str, bytes]) -> Tensors:
        """Its last answer."""
        return result
