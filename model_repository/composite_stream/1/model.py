"""`composite_stream`: `composite` with progress, previews, cancellation within a step, the best of several seeds."""

from collections.abc import Sequence

from atelier.serving.answering import Task
from atelier.serving.composite_stream import CompositeJob, CompositeSettings, compose, read_job
from atelier.serving.model import Tensors
from atelier.serving.progress import tensors_of_progress
from atelier.serving.queued import QueuedModel
from atelier.serving.request import Request
from atelier.serving.settings import Settled


class TritonPythonModel(QueuedModel[CompositeSettings, CompositeJob]):
    """Calls the stages one after the other; those that wait are told their position."""

    settings_class = CompositeSettings

    @property
    def most_waiting(self) -> int:
        return self.settings.values.max_queue

    def decode(self, request: Request, settings: Settled[CompositeSettings]) -> CompositeJob:
        return read_job(request)

    def waiting(self, position: int) -> Tensors:
        return tensors_of_progress("queued", 0, 0, 0.0, position=position)

    def run(self, tasks: Sequence[Task[CompositeJob]]) -> Sequence[Exception | None]:
        return [compose(task, self.settings.values.timeout) for task in tasks]
