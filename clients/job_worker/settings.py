"""What a worker is started with: options over environment over defaults; address and token by environment alone."""

from __future__ import annotations

import json
import os
import socket
import uuid
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from atelier.client.addresses import is_loopback
from clients.job_worker.tasks import checked_frame_num

Seconds = Annotated[float, Field(gt=0, le=86400, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1, le=100)]
Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[!-~]+$")]

BEATS = 3
"""Heartbeats in the time of a lease, at least: two may be lost."""

MULTIPLE = 32
"""Of a video's sides, in pixels: the VAE's 16, and two of its values a patch."""

OWN = {"prompt", "image", "on_progress", "timeout", "size", "frame_num", "format"}
"""Arguments of `generate` that the task, or another setting, decides."""


def _worker_id() -> str:
    """A name that no other worker has: in containers, process ids and even hosts' names repeat."""
    return f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:6]}"


class Settings(BaseSettings):
    """A worker's settings; in the environment ``ATELIER_JOBS_…``. `base_url` and `token` have no other source."""

    model_config = SettingsConfigDict(
        env_prefix="ATELIER_JOBS_", frozen=True, extra="forbid", hide_input_in_errors=True
    )

    base_url: str = Field(description="The control plane: https://host, with a path where it has one.")
    token: SecretStr = Field(description="Sent to the control plane as 'Authorization: Worker TOKEN'; never logged.")
    allow_http: bool = Field(
        False, description="Let token, photos and videos travel unencrypted (http://) to other machines."
    )
    worker_id: Name = Field(default_factory=_worker_id, description="This worker's name; one process each.")
    url: str = Field("localhost:8001", description="Triton's address; gRPC, or HTTP with http:// before it.")
    in_flight: Count = Field(1, description="Tasks that are worked on at once.")
    polling_interval: Seconds = Field(5.0, description="Seconds between two questions for a task while there is none.")
    lease_seconds: int = Field(600, ge=1, le=86400, description="Seconds of a task's lease, and of every extension.")
    heartbeat_interval: Seconds = Field(
        120.0, description="Seconds between two extensions; a third of a lease or less."
    )
    video_size: str = Field(
        "1280*704",
        pattern=r"^[1-9]\d{1,4}\*[1-9]\d{1,4}$",
        description="WIDTH*HEIGHT of the videos, in pixels, multiples of 32; with a photo their area.",
    )
    frame_num: int | None = Field(
        None, description="Frames of a video whose task names none, 4n + 1; none: the server's setting."
    )
    request: Annotated[dict[str, Any], NoDecode] = Field(
        default_factory=dict,
        description='Further settings of every video, as JSON: {"sample_steps": 30, "loras": {"ink": 0.8}}.',
    )
    timeout: Seconds = Field(3600.0, description="Seconds that Triton has for one video, its queue included.")
    attempts: Count = Field(3, description="Times that the server may fail on one task.")
    patience: Seconds = Field(
        600.0, description="Seconds that a task waits for a Triton that is full or away; then it is given back."
    )
    api_timeout: Seconds = Field(30.0, description="Seconds of one call to the control plane.")
    report_attempts: Count = Field(10, description="Times that a report is tried.")
    transfer_timeout: Seconds = Field(300.0, description="Seconds of one download or upload.")
    transfer_attempts: Count = Field(5, description="Times that a photo's download, or a video's upload, is tried.")
    max_photo: int = Field(20_971_520, ge=1, description="Bytes of a photo at most.")
    retry_delay: Seconds = Field(5.0, description="Seconds before the second try; doubled each time, a minute at most.")
    metrics_host: str = Field("127.0.0.1", description="Address that the metrics listen on.")
    metrics_port: int = Field(0, ge=0, le=65535, description="Port of the metrics; 0: none.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="Least level that is logged.")

    @field_validator("base_url")
    @classmethod
    def _address(cls, value: str) -> str:
        said = "no address of a control plane; accepted: https://host, without user, query and fragment"
        try:
            parts = urlsplit(value)
            plain = parts.hostname and parts.port != 0 and "@" not in parts.netloc
        except ValueError:  # an odd port
            raise ValueError(said) from None
        if not plain or parts.scheme not in ("http", "https") or parts.query or parts.fragment or " " in value:
            raise ValueError(said)
        return value.rstrip("/")

    @field_validator("token")
    @classmethod
    def _one_word(cls, value: SecretStr) -> SecretStr:
        text = value.get_secret_value().strip()  # files of secrets end with a line feed
        if not text or not all("!" <= letter <= "~" for letter in text):
            raise ValueError("accepted: one word of printable ASCII")
        return SecretStr(text)

    @field_validator("video_size")
    @classmethod
    def _sides(cls, value: str) -> str:
        if any(int(side) % MULTIPLE for side in value.split("*")):  # else every task would fail for the worker's fault
            raise ValueError(f"{value}: sides are multiples of {MULTIPLE}")
        return value

    @field_validator("frame_num")
    @classmethod
    def _frames(cls, value: int | None) -> int | None:
        return checked_frame_num(value)

    @field_validator("request", mode="before")
    @classmethod
    def _mapping(cls, value: Any) -> Any:
        if isinstance(value, str):
            try:
                value = json.loads(value)
            except ValueError as error:
                raise ValueError(f"no JSON ({error})") from None
        if isinstance(value, dict) and (taken := sorted(OWN & value.keys())):
            raise ValueError(f"{', '.join(taken)}: decided by the task or by another setting")
        return value

    @model_validator(mode="after")
    def _together(self) -> Self:
        if self.heartbeat_interval * BEATS > self.lease_seconds:
            raise ValueError(
                f"heartbeat_interval is {self.heartbeat_interval:g} s; for a lease of {self.lease_seconds} s accepted: "
                f"up to {self.lease_seconds / BEATS:g}"
            )
        if not is_private(self.base_url, self.allow_http):
            raise ValueError("base_url: the token would travel unencrypted; use https://, or allow_http")
        return self


def is_private(url: str, allow_http: bool) -> bool:
    """Whether nobody reads along on the way to a URL, or that is allowed."""
    try:
        parts = urlsplit(url)
        here = is_loopback(parts.netloc.rpartition("@")[2])
    except ValueError:  # brackets around what is no IPv6 address
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and (allow_http or here))
