"""`inpaint`: encoded pictures in, inpainted pictures and reports out."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from atelier.inpainting.pipeline import InpaintJob, InpaintResult, inpaint, read_job, write_result
from atelier.inpainting.settings import InpaintSettings
from atelier.serving.calls import Identity, call
from atelier.serving.model import BatchModel, Tensors
from atelier.serving.request import Request
from atelier.serving.settings import Settled


class TritonPythonModel(BatchModel[InpaintSettings, InpaintJob, InpaintResult]):
    """Decodes, plans, calls `lama` with the tiles of all waiting requests, pastes back, encodes."""

    settings_class = InpaintSettings
    request_settings = {name.upper(): name for name in ("strategy", "margin", "feather", "fill_flat", "format")}

    def setup(self) -> None:
        self.network = self.settings.values.network
        self.identity = Identity(self.repository, self.network)

    def decode(self, request: Request, settings: Settled[InpaintSettings]) -> InpaintJob:
        check = request.raise_if_cancelled
        files = request.data("IMAGE"), request.data("MASK")
        return read_job(*files, settings.values, sources=settings.sources, seconds=request.seconds, check=check)

    def predict(self, jobs: Sequence[InpaintJob]) -> Sequence[InpaintResult | Exception]:
        return inpaint(jobs, self.run_network, max_batch=self.settings.values.max_batch)

    def run_network(self, images: NDArray[np.uint8], masks: NDArray[np.uint8]) -> NDArray[np.uint8]:
        inputs = {"IMAGE": images, "MASK": masks}
        return call(self.network, inputs, ["INPAINTED"], timeout=self.settings.values.network_timeout)[0]

    def encode(self, result: InpaintResult) -> Tensors:
        image, report = write_result(result, self.identity.read())
        return {"IMAGE": image, "REPORT": report}
