"""`matte`: an encoded video in; progress, parts of the result files and a report out, as they are ready."""

from collections.abc import Iterator

from atelier.matting.job import MatteJob, run_job
from atelier.serving import gpu
from atelier.serving.matting import REQUEST_SETTINGS, MatteSettings, load_pipeline, read_job, tensors_of_event
from atelier.serving.model import Tensors
from atelier.serving.request import Request
from atelier.serving.settings import Settled
from atelier.serving.stream import StreamModel


class TritonPythonModel(StreamModel[MatteSettings, MatteJob]):
    """Decodes, calls the three networks of GVM window by window, encodes; holds one window at a time."""

    settings_class = MatteSettings
    request_settings = REQUEST_SETTINGS

    def setup(self) -> None:
        self.pipeline = load_pipeline(self.settings.values, self.repository)

    def decode(self, request: Request, settings: Settled[MatteSettings]) -> MatteJob:
        return read_job(request, settings)

    def run(self, job: MatteJob) -> Iterator[Tensors]:
        with gpu.exclusive(self.settings.values.busy, job.check):
            for event in run_job(job, self.pipeline):
                yield tensors_of_event(event)
