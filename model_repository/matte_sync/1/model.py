"""`matte_sync`: `matte` for plain HTTP: a small clip in, one archive and a report out."""

from collections.abc import Sequence

from atelier.matting.archive import Archive, pack
from atelier.matting.job import MatteJob
from atelier.serving import gpu
from atelier.serving.matting import REQUEST_SETTINGS, MatteSettings, load_pipeline, read_job
from atelier.serving.model import BatchModel, Tensors
from atelier.serving.request import Request
from atelier.serving.settings import Settled


class TritonPythonModel(BatchModel[MatteSettings, MatteJob, Archive]):
    """The same work as `matte`, answered at once; refused where the files grow beyond ``max_archive``."""

    settings_class = MatteSettings
    request_settings = REQUEST_SETTINGS

    def setup(self) -> None:
        self.pipeline = load_pipeline(self.settings.values, self.repository)

    def decode(self, request: Request, settings: Settled[MatteSettings]) -> MatteJob:
        return read_job(request, settings)

    def predict(self, jobs: Sequence[MatteJob]) -> Sequence[Archive | Exception]:
        return [self._pack(job) for job in jobs]

    def _pack(self, job: MatteJob) -> Archive:
        with gpu.exclusive(self.settings.values.busy, job.check):
            return pack(job, self.pipeline, self.settings.values.max_archive)

    def encode(self, result: Archive) -> Tensors:
        return {"ARCHIVE": result.data, "REPORT": result.report}
