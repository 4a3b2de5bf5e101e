"""`generate_sync`: `generate` for plain HTTP. The weights, the queue and the work are `generate`'s."""

from collections.abc import Sequence

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from atelier.serving.calls import call_stream
from atelier.serving.model import BatchModel, Tensors
from atelier.serving.request import Request
from atelier.serving.settings import Settled


class SyncSettings(BaseSettings):
    """Settings of the call."""

    model_config = SettingsConfigDict(env_prefix="ATELIER_SYNC_GENERATE_", extra="forbid", frozen=True)

    timeout: float = Field(3600.0, gt=0, description="seconds that a request may wait for its turn")


class TritonPythonModel(BatchModel[SyncSettings, Request, dict[str, bytes]]):
    """Passes requests on, and the last answer back."""

    settings_class = SyncSettings

    def decode(self, request: Request, settings: Settled[SyncSettings]) -> Request:
        return request

    def predict(self, jobs: Sequence[Request]) -> Sequence[dict[str, bytes] | Exception]:
        return [self._call(job) for job in jobs]

    def _call(self, request: Request) -> dict[str, bytes] | Exception:
        timeout = self.settings.values.timeout
        try:
            return call_stream("generate", request.tensors(), ["VIDEO", "METADATA"], timeout=timeout)
        except Exception as error:
            return error

    def encode(self, result: dict[str, bytes]) -> Tensors:
        return result
