"""`object_synthesizer`: the last step of `composite`. Weights, queue and work are `object_synthesizer_stream`'s."""

from pydantic_settings import SettingsConfigDict

from atelier.serving.passing import PassingModel, PassingSettings


class CallSettings(PassingSettings):
    """Settings of the call."""

    model_config = SettingsConfigDict(env_prefix="ATELIER_CALL_SYNTHESIZER_", extra="forbid", frozen=True)


class TritonPythonModel(PassingModel):
    """Passes requests on, and the picture back."""

    settings_class = CallSettings
    target = "object_synthesizer_stream"
    outputs = ("IMAGE", "MASK", "REPORT")
