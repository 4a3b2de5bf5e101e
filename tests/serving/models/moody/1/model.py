import time

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from atelier.errors import InvalidInput
from atelier.serving.calls import call
from atelier.serving.errors import Unavailable
from atelier.serving.model import BatchModel


class MoodSettings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="ATELIER_MOODY_", extra="forbid")
    patience: int = Field(3, ge=0, le=10)


class TritonPythonModel(BatchModel):
    settings_class = MoodSettings
    request_settings = {"PATIENCE": "patience"}

    def decode(self, request, settings):
        mood = request.data("MOOD").decode()
        if mood == "picky":
            raise InvalidInput("MOOD is picky; accepted: anything else.")
        return request, mood, settings

    def predict(self, jobs):
        return [self.feel(*job, mates=len(jobs)) for job in jobs]

    def feel(self, request, mood, settings, mates):
        if mood == "broken":
            return ZeroDivisionError("a secret of the house")
        if mood == "busy":
            return Unavailable("Exceeds maximum queue size")
        if mood.startswith("sleep"):
            time.sleep(float(mood.split()[1]))
        if mood == "watch":
            for _ in range(100):
                time.sleep(0.05)
                try:
                    request.raise_if_cancelled()
                except Exception as error:
                    self.log.log_error(f"moody stopped: {type(error).__name__}")
                    return error
        if mood in ("call", "miscall"):
            try:
                call({"call": "nobody", "miscall": "echo"}[mood], {}, ["X"], timeout=1)
            except Exception as error:
                return error
        return f"{mood} {settings.values.patience} {settings.sources['patience']} {mates}"

    def encode(self, result):
        if result.startswith("mute"):
            raise OSError("nothing to say")
        return {"ANSWER": result}
