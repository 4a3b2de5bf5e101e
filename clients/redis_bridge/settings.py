"""What a bridge is started with: options over environment over defaults."""

from __future__ import annotations

import os
import socket
import uuid
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AliasChoices, Field, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

Seconds = Annotated[float, Field(gt=0, le=86400, allow_inf_nan=False)]
Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\s{}]+$")]
REDIS_SCHEMES = ("redis", "rediss", "unix")


def _consumer() -> str:
    """A name that no other bridge has, and that tells which one it was."""
    return f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:6]}"


class Settings(BaseSettings):
    """A bridge's settings; in the environment ``ATELIER_BRIDGE_…``, the lists' names also as the old worker had."""

    model_config = SettingsConfigDict(env_prefix="ATELIER_BRIDGE_", frozen=True, extra="forbid", populate_by_name=True)

    redis_url: str = Field(
        "redis://127.0.0.1:6379/0", description="redis://, rediss:// (TLS) or unix://, with password and options."
    )
    cluster: bool = Field(False, description="Whether it is a Redis Cluster.")
    url: str = Field("localhost:8001", description="Triton's address; gRPC, or HTTP with http:// before it.")
    shared_memory: bool = Field(True, description="Let Triton read the producers' segments in place.")
    long_queue: Name = Field(
        "lama_inference:longtasks",
        validation_alias=AliasChoices("long_queue", "ATELIER_BRIDGE_LONG_QUEUE", "LAMA_INFERENCE_LONG_TASKS_QUEUE"),
        description="List of the long pages' tasks.",
    )
    short_queue: Name = Field(
        "lama_inference:shorttasks",
        validation_alias=AliasChoices("short_queue", "ATELIER_BRIDGE_SHORT_QUEUE", "LAMA_INFERENCE_SHORT_TASKS_QUEUE"),
        description="List of the short pages' tasks.",
    )
    stream: Name | None = Field(None, description="Stream of encoded pictures; none: lists alone.")
    in_flight: int = Field(16, ge=1, le=1024, description="Requests that Triton has at once.")
    timeout: Seconds = Field(120.0, description="Seconds that Triton has for one request before it is tried again.")
    attempts: int = Field(5, ge=1, le=100, description="Times that the server may fail on one task.")
    result_ttl: Annotated[int, Field(ge=1)] | None = Field(
        None, description="Seconds until an answer's hash expires; none: never, as the old worker had it."
    )
    heartbeat: Seconds = Field(10.0, description="Seconds after which a silent bridge counts as dead.")
    consumer: Name = Field(default_factory=_consumer, description="This bridge's name among others; one process each.")
    metrics_host: str = Field("127.0.0.1", description="Address that the metrics listen on.")
    metrics_port: int = Field(0, ge=0, le=65535, description="Port of the metrics; 0: none.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", validation_alias=AliasChoices("log_level", "ATELIER_BRIDGE_LOG_LEVEL", "LOG_LEVEL")
    )

    @field_validator("redis_url")
    @classmethod
    def _known_scheme(cls, value: str) -> str:
        if urlsplit(value).scheme not in REDIS_SCHEMES:
            raise ValueError(f"accepted: {', '.join(f'{scheme}://' for scheme in REDIS_SCHEMES)}")
        return value

    @model_validator(mode="after")
    def _apart(self) -> Self:
        if self.long_queue == self.short_queue:
            raise ValueError(f"both lists are {self.long_queue}")
        return self
