"""`object_extractor`: a picture in, its object with alpha out."""

from typing import Any

from atelier.compositing import ObjectExtractor
from atelier.compositing.settings import ExtractorSettings
from atelier.serving import checkout
from atelier.serving.compositing import EXTRACTOR_SETTINGS, Staged, StageModel, read_extraction, tensors_of_object
from atelier.serving.model import Tensors
from atelier.serving.request import Request
from atelier.serving.settings import Settled


class TritonPythonModel(StageModel[ExtractorSettings]):
    """The picture's own alpha; SAM 2 and BiRefNet where their weights are there; else a cut-out without networks."""

    settings_class = ExtractorSettings
    request_settings = EXTRACTOR_SETTINGS

    def setup(self) -> None:
        self.stage = ObjectExtractor(self.settings.values, root=checkout.root())
        self.metrics.show_memory(self.log, self.stage.load())

    def decode(self, request: Request, settings: Settled[ExtractorSettings]) -> Staged:
        return read_extraction(request, settings)

    def encode(self, result: tuple[Any, Staged]) -> Tensors:
        return tensors_of_object(*result)
