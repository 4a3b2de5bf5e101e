"""`mask_generator`: a scene and an object in; where the object goes, as masks, a crop and a first paste."""

from typing import Any

from atelier.compositing import MaskGenerator
from atelier.compositing.settings import PlacementSettings
from atelier.serving.compositing import PLACEMENT_SETTINGS, Staged, StageModel, read_placement, tensors_of_placement
from atelier.serving.model import Tensors
from atelier.serving.request import Request
from atelier.serving.settings import Settled


class TritonPythonModel(StageModel[PlacementSettings]):
    """The caller's mask, box or point, the analyst's box, or a guess."""

    settings_class = PlacementSettings
    request_settings = PLACEMENT_SETTINGS

    def setup(self) -> None:
        generator = MaskGenerator(self.settings.values)
        self.stage = lambda job, mode: generator(job)

    def decode(self, request: Request, settings: Settled[PlacementSettings]) -> Staged:
        return read_placement(request, settings)

    def encode(self, result: tuple[Any, Staged]) -> Tensors:
        return tensors_of_placement(*result)
