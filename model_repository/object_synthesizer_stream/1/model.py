"""`object_synthesizer_stream`: an object and its place in; progress, previews and the picture with the object out."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

from atelier.compositing import ObjectSynthesizer
from atelier.serving import checkout, gpu
from atelier.serving.answering import Task
from atelier.serving.compositing import SYNTHESIZER_SETTINGS, Staged, busy_device, read_synthesis
from atelier.serving.model import Tensors
from atelier.serving.progress import tensors_of_progress
from atelier.serving.queued import QueuedModel
from atelier.serving.request import Request
from atelier.serving.settings import Settled
from atelier.serving.synthesis import SynthesisSettings, synthesize


class TritonPythonModel(QueuedModel[SynthesisSettings, Staged]):
    """FLUX where its weights are there, else pasting with matched colours and a shadow. One picture at a time."""

    settings_class = SynthesisSettings
    request_settings = SYNTHESIZER_SETTINGS

    def setup(self) -> None:
        self.stage = ObjectSynthesizer(self.settings.values, root=checkout.root())
        self.metrics.show_memory(self.log, self.stage.load())

    @property
    def most_waiting(self) -> int:
        return self.settings.values.max_queue

    def decode(self, request: Request, settings: Settled[SynthesisSettings]) -> Staged:
        return read_synthesis(request, settings)

    def exclusive(self, check: Callable[[], None]) -> AbstractContextManager[None]:
        return gpu.exclusive(busy_device(self.stage, "auto"), check)

    def waiting(self, position: int) -> Tensors:
        return tensors_of_progress("queued", 0, 0, 0.0, position=position)

    def run(self, tasks: Sequence[Task[Staged]]) -> Sequence[Exception | None]:
        return [synthesize(self.stage, task) for task in tasks]
