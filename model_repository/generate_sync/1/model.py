"""`generate_sync`: `generate` for plain HTTP. The weights, the queue and the work are `generate`'s."""

from pydantic_settings import SettingsConfigDict

from atelier.serving.passing import PassingModel, PassingSettings


class SyncSettings(PassingSettings):
    """Settings of the call."""

    model_config = SettingsConfigDict(env_prefix="ATELIER_SYNC_GENERATE_", extra="forbid", frozen=True)


class TritonPythonModel(PassingModel):
    """Passes requests on, and the video back."""

    settings_class = SyncSettings
    target = "generate"
    outputs = ("VIDEO", "METADATA")
