from pydantic_settings import BaseSettings, SettingsConfigDict

from atelier.serving.calls import call
from atelier.serving.model import BatchModel


class RelaySettings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="ATELIER_RELAY_", extra="forbid")


class TritonPythonModel(BatchModel):
    settings_class = RelaySettings

    def decode(self, request, settings):
        return request

    def predict(self, jobs):
        return [self._attempt(self.relay, job) for job in jobs]

    def relay(self, request):
        inputs = {"MOOD": request.array("MOOD")}
        return call("moody", inputs, ["ANSWER"], timeout=5, check=request.raise_if_cancelled)[0]

    def encode(self, result):
        return {"ANSWER": result}
