"""`generate`: a prompt, or a picture and a prompt, in; progress and one video out. The weights are loaded once."""

from collections.abc import Callable, Hashable, Sequence
from contextlib import AbstractContextManager

from atelier.generation.jobs import GenerationJob, Progress
from atelier.serving import gpu
from atelier.serving.answering import Task
from atelier.serving.generation import (
    REQUEST_SETTINGS,
    GenerateSettings,
    load_pipeline,
    read_job,
    run_tasks,
    tensors_of_progress,
)
from atelier.serving.model import Tensors
from atelier.serving.queued import QueuedModel
from atelier.serving.request import Request
from atelier.serving.settings import Settled


class TritonPythonModel(QueuedModel[GenerateSettings, tuple[GenerationJob, str]]):
    """One video at a time; those that wait are told their position."""

    settings_class = GenerateSettings
    request_settings = REQUEST_SETTINGS

    def setup(self) -> None:
        self.pipeline = load_pipeline(self.settings.values)
        self.metrics.show_memory(self.log, self.pipeline.loaded)

    @property
    def most_waiting(self) -> int:
        return self.settings.values.max_queue

    def decode(self, request: Request, settings: Settled[GenerateSettings]) -> tuple[GenerationJob, str]:
        return read_job(request, settings, self.pipeline)

    def exclusive(self, check: Callable[[], None]) -> AbstractContextManager[None]:
        return gpu.exclusive(self.settings.values.device, check)

    def waiting(self, position: int) -> Tensors:
        return tensors_of_progress(Progress("queued", 0, 0, 0.0, None, position))

    def kind(self, job: tuple[GenerationJob, str]) -> Hashable:
        return job[0].kind

    @property
    def most_together(self) -> int:
        return self.settings.values.max_together

    def run(self, tasks: Sequence[Task[tuple[GenerationJob, str]]]) -> Sequence[Exception | None]:
        return run_tasks(self.pipeline, tasks, self.metrics)
