"""A whole job's files in one zip."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import dataclass

from atelier.errors import InvalidInput
from atelier.matting.files import Part
from atelier.matting.job import MatteJob, run_job
from atelier.matting.pipeline import MattingPipeline


@dataclass(frozen=True)
class Archive:
    """A finished job.

    Attributes:
        data: a zip of the result files, not compressed: they are already.
        report: JSON.
    """

    data: bytes
    report: str


def pack(job: MatteJob, pipeline: MattingPipeline, most: int) -> Archive:
    """Run a job to its end.

    Args:
        job: what is to be done.
        pipeline: what computes the alpha.
        most: bytes of the result files together.

    Raises:
        InvalidInput: as `run_job`, and where the files are larger than ``most``.
    """
    files: dict[str, bytearray] = {}
    report = ""
    for event in run_job(job, pipeline):
        if isinstance(event, Part):
            file = files.setdefault(event.name, bytearray())
            end = event.offset + len(event.data)
            if len(file) < end:
                file.extend(bytes(end - len(file)))
            file[event.offset : end] = event.data
            if sum(map(len, files.values())) > most:
                raise InvalidInput(
                    f"The result is larger than {most} bytes, the most that one answer holds: shorten the clip with "
                    "MAX_FRAMES, or use matte, which sends files in parts."
                )
        elif isinstance(event, dict):
            report = json.dumps(event)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), bytes(content))
    return Archive(packed.getvalue(), report)
