"""`background_analyzer`: a scene in; what it is like, for the user, for the synthesizer and for the stages after it."""

from typing import Any

from atelier.compositing import BackgroundAnalyzer
from atelier.compositing.settings import AnalyzerSettings
from atelier.serving import checkout
from atelier.serving.compositing import ANALYZER_SETTINGS, Staged, StageModel, read_analysis, tensors_of_scene
from atelier.serving.model import Tensors
from atelier.serving.request import Request
from atelier.serving.settings import Settled


class TritonPythonModel(StageModel[AnalyzerSettings]):
    """Qwen2-VL where its weights are there, else the picture's statistics."""

    settings_class = AnalyzerSettings
    request_settings = ANALYZER_SETTINGS

    def setup(self) -> None:
        self.stage = BackgroundAnalyzer(self.settings.values, root=checkout.root())
        self.metrics.show_memory(self.log, self.stage.load())

    def decode(self, request: Request, settings: Settled[AnalyzerSettings]) -> Staged:
        return read_analysis(request, settings)

    def encode(self, result: tuple[Any, Staged]) -> Tensors:
        return tensors_of_scene(*result)
