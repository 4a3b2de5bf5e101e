"""Wan behind Triton: settings, a request as a job, answers as tensors. Importable only inside Triton's backend."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator
from pydantic_settings import SettingsConfigDict

from atelier.errors import InvalidInput
from atelier.generation.jobs import Generated, GenerationJob, Progress
from atelier.generation.loading import LoadOptions
from atelier.generation.pipeline import GenerationPipeline
from atelier.generation.settings import GenerationSettings
from atelier.generation.sizes import read_size
from atelier.serving import checkout
from atelier.serving.answering import Task
from atelier.serving.errors import Cancelled
from atelier.serving.metrics import Metrics
from atelier.serving.request import Request
from atelier.serving.settings import Settled

REQUEST_SETTINGS = {name.upper(): name for name in GenerationSettings.model_fields} | {"ENCODING": "encoding"}
"""Optional inputs, tensor name to field."""


class GenerateSettings(LoadOptions, GenerationSettings):
    """What ``config.pbtxt`` and the environment may set beside what a request may."""

    model_config = SettingsConfigDict(env_prefix="ATELIER_GENERATE_", extra="forbid", frozen=True)

    device: str = Field("auto", validate_default=True, description="cpu, cuda, cuda:N; auto: a GPU where there is one")
    checkpoint: str = Field("weights/wan2.2-ti2v-5b", description="folder of the weights; relative to the checkout")
    loras: str = Field("weights/loras", description="folder of adapters, NAME.safetensors; relative to the checkout")
    sizes: str = Field("1280*704,704*1280", description="sizes that are accepted, with commas between")
    max_frame_num: int = Field(241, ge=1, description="frames at most: 10 seconds")
    max_together: int = Field(
        1, ge=1, le=16, description="waiting prompts with equal settings that are worked on together"
    )
    max_queue: int = Field(16, ge=0, description="requests that may wait")
    encoding: str = Field(
        "binary", pattern="^(binary|base64)$", description="of IMAGE and VIDEO; JSON over HTTP needs base64"
    )

    @field_validator("sizes")
    @classmethod
    def _all_sizes(cls, value: str) -> str:
        for size in value.split(","):
            read_size(size.strip())
        return value


def load_pipeline(settings: GenerateSettings) -> GenerationPipeline:
    """The pipeline that a model's settings describe.

    Raises:
        InvalidInput: the checkpoint cannot be used, or an option is not possible here.
    """
    options = LoadOptions(**settings.model_dump(include=set(LoadOptions.model_fields)))
    return GenerationPipeline.from_pretrained(_place(settings.checkpoint), options, loras=_place(settings.loras))


def read_job(
    request: Request, settings: Settled[GenerateSettings], pipeline: GenerationPipeline
) -> tuple[GenerationJob, str]:
    """A request's tensors as a job that can be worked on, and the encoding of its answer.

    Raises:
        InvalidInput: one of them is not what it should be.
    """
    values = settings.values
    sizes = [size.strip() for size in values.sizes.split(",")]
    if values.size not in sizes:
        raise InvalidInput(f"SIZE is {values.size!r:.40}; accepted: {', '.join(sizes)}.")
    if values.frame_num > values.max_frame_num:
        raise InvalidInput(f"FRAME_NUM is {values.frame_num}; {values.max_frame_num} are the most.")
    try:
        prompt = request.data("PROMPT").decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidInput("PROMPT is not UTF-8 text.") from None
    if not prompt.strip():
        raise InvalidInput("PROMPT is empty.")
    image = request.optional("IMAGE")
    if image is not None and values.encoding == "base64":
        try:
            image = base64.b64decode(image, validate=True)
        except binascii.Error:
            raise InvalidInput("IMAGE is no base64, which ENCODING says that it is.") from None
    names, scales = request.texts("LORA"), request.numbers("LORA_SCALE")
    if scales and len(scales) != len(names):
        raise InvalidInput(f"LORA has {len(names)} names and LORA_SCALE {len(scales)} numbers; as many are accepted.")
    job = GenerationJob(
        prompt,
        GenerationSettings(**values.model_dump(include=set(GenerationSettings.model_fields))),
        image=image,
        loras=list(zip(names, scales or [1.0] * len(names), strict=True)),
        sources=settings.sources,
        seconds=request.seconds,
    )
    pipeline.check(job)  # now: what cannot be done should not have waited for an hour
    return job, values.encoding


def run_tasks(
    pipeline: GenerationPipeline, tasks: Sequence[Task[tuple[GenerationJob, str]]], metrics: Metrics
) -> list[Exception | None]:
    """Make videos; progress goes out as they are made, each video last.

    Args:
        pipeline: what makes them.
        tasks: jobs of one kind, with the encoding of each answer.
        metrics: where the adapters that were applied are counted.

    Returns:
        What each failed with, if it did.
    """
    made = pipeline.together([_reporting(task) for task in tasks])
    failures: list[Exception | None] = []
    for task, found in zip(tasks, made, strict=True):
        if isinstance(found, Exception):
            failures.append(found)
            continue
        try:
            task.send(tensors_of_video(found, task.job[1]))
            metrics.applied(found.metadata["adapters"])
            failures.append(None)
        except Cancelled as error:
            failures.append(error)
    return failures


def _reporting(task: Task[tuple[GenerationJob, str]]) -> GenerationJob:
    """The job, telling its client how far it is."""
    return replace(
        task.job[0], check=task.check, on_progress=lambda progress: task.report(tensors_of_progress(progress))
    )


def tensors_of_progress(progress: Progress) -> dict[str, Any]:
    """``PROGRESS``, JSON."""
    return {"PROGRESS": json.dumps(asdict(progress))}


def tensors_of_video(made: Generated, encoding: str) -> dict[str, Any]:
    """``VIDEO``, a file, and ``METADATA``, JSON."""
    video = base64.b64encode(made.video) if encoding == "base64" else made.video
    return {"VIDEO": video, "METADATA": json.dumps(made.metadata, ensure_ascii=False)}


def _place(folder: str) -> Path:
    path = Path(folder).expanduser()
    return path if path.is_absolute() else checkout.root() / path
