"""The object synthesizer behind Triton, with its progress. Importable only inside Triton's Python backend."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from PIL import Image
from pydantic import Field
from pydantic_settings import SettingsConfigDict

from atelier.compositing.jobs import SynthesisProgress
from atelier.compositing.settings import SynthesizerSettings
from atelier.serving.answering import Task
from atelier.serving.compositing import Staged, finish, tensors_of_synthesis
from atelier.serving.model import Tensors
from atelier.serving.progress import tensors_of_progress


class SynthesisSettings(SynthesizerSettings):
    """What ``config.pbtxt`` and the environment may set beside what the stage knows."""

    model_config = SettingsConfigDict(env_prefix="ATELIER_OBJECT_SYNTHESIZER_", extra="forbid", frozen=True)

    max_queue: int = Field(16, ge=0, description="requests that may wait")


def synthesize(stage: Callable[..., Any], task: Task[Staged]) -> Exception | None:
    """Set the object in; progress goes out as the work goes on, the picture last.

    Args:
        stage: an `ObjectSynthesizer`.
        task: the request.

    Returns:
        What it failed with, if it did.
    """
    staged = task.job
    job = replace(staged.job, check=task.check, on_progress=lambda progress: task.report(_tell(progress)))
    try:
        made = stage(job, staged.mode)
        finish("object_synthesizer", made.report, staged)
        task.send(tensors_of_synthesis(made, staged))
    except Exception as error:
        return error
    return None


def _tell(progress: SynthesisProgress) -> Tensors:
    """``PROGRESS``, and ``PREVIEW``, JPEG, where there is one."""
    told = tensors_of_progress(progress.stage, progress.step, progress.of, progress.seconds)
    if progress.preview is None:
        return told
    file = io.BytesIO()
    Image.fromarray(progress.preview).save(file, "JPEG", quality=85)
    return {**told, "PREVIEW": file.getvalue()}
