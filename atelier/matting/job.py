"""One matting job: an encoded video in, parts of result files and a report out, as a stream."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from time import monotonic
from typing import Any, Literal

import numpy as np
from pydantic import Field
from pydantic_settings import SettingsConfigDict

from atelier.errors import InvalidInput
from atelier.matting.backgrounds import Background, read_background
from atelier.matting.files import Part
from atelier.matting.pipeline import Frame, MattingPipeline, Run, describe
from atelier.matting.results import ResultFiles
from atelier.matting.settings import MattingSettings, remarks
from atelier.media import DEFAULT_MAX_PIXELS, decode_picture
from atelier.media.video import Facts, open_video
from atelier.media.video.codecs import find_codec
from atelier.timing import timed

OUTPUTS = ("alpha", "green", "foreground", "composite", "rgba", "images")
DEFAULT_OUTPUTS = ("alpha", "green")


class JobSettings(MattingSettings):
    """What a request may set beside the network's own settings."""

    model_config = SettingsConfigDict(env_prefix="ATELIER_MATTE_", extra="forbid", frozen=True)

    codec: Literal["h264", "prores4444", "vp9", "ffv1", "png"] = Field(
        "h264", description="of the video files; prores4444, vp9, ffv1 and png hold transparency"
    )
    estimate_foreground: bool = Field(
        False, description="take the background's colours out of what is partly transparent; costs time"
    )
    image_rate: float = Field(25.0, ge=0.01, le=1000, description="frames a second of pictures in a zip")
    max_pixels: int = Field(DEFAULT_MAX_PIXELS, ge=1, description="pixels of the largest frame that is decoded")


@dataclass(frozen=True)
class MatteJob:
    """What is to be done.

    Attributes:
        video: the file's bytes, or the path of a file or of a folder with pictures.
        settings: what applies.
        outputs: of `OUTPUTS`.
        background: a colour, or a file's bytes; for ``composite``.
        sources: where each setting came from, for the report.
        check: raises when nobody waits for the result any more.
        seconds: filled in, per step.
    """

    video: bytes | Path
    settings: JobSettings
    outputs: Sequence[str] = DEFAULT_OUTPUTS
    background: bytes | None = None
    sources: Mapping[str, str] = field(default_factory=dict)
    check: Callable[[], None] = lambda: None
    seconds: MutableMapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Progress:
    """How far a job is.

    Attributes:
        done: frames.
        of: frames of the whole clip, or as many as were asked for; where the file does not say, as it seems (its
            packets), and never fewer than ``done``.
        rate: frames a second so far.
        left: seconds that are left at this rate.
    """

    done: int
    of: int
    rate: float
    left: float


Event = Progress | Part | dict[str, Any]
"""Progress, a part of a file, and last the report."""


def check_names(outputs: Sequence[str], settings: JobSettings, background: bytes | None) -> tuple[str, ...]:
    """The outputs that are made, in order.

    Args:
        outputs: as they were asked for.
        settings: what applies.
        background: a colour, or a file's bytes.

    Raises:
        InvalidInput: one is not known, they do not go with the codec, or ``composite`` has no background.
    """
    wanted = tuple(dict.fromkeys(outputs))
    if strangers := [name for name in wanted if name not in OUTPUTS]:
        raise InvalidInput(f"OUTPUTS holds {strangers[0]!r:.40}; accepted: {', '.join(OUTPUTS)}.")
    if not wanted:
        raise InvalidInput(f"OUTPUTS is empty; accepted: {', '.join(OUTPUTS)}.")
    if settings.output_image_seq_only:
        return ("images",)
    if "rgba" in wanted and settings.codec != "png":
        find_codec(settings.codec, alpha=True)
    if ("composite" in wanted) != (background is not None):
        raise InvalidInput("BACKGROUND and the output composite go together: one of them is missing.")
    return wanted


def run_job(job: MatteJob, pipeline: MattingPipeline) -> Iterator[Event]:
    """Matte a clip.

    Args:
        job: what is to be done.
        pipeline: what computes the alpha.

    Yields:
        Parts of files as soon as they are there, `Progress` after each, and last the report as a dictionary.

    Raises:
        InvalidInput: the video, the background or the settings cannot be used.
    """
    settings, run, began = job.settings, Run(seconds=job.seconds), monotonic()
    outputs = check_names(job.outputs, settings, job.background)
    with ExitStack() as stack:
        rate = Fraction(settings.image_rate).limit_denominator(1001)
        reader: Any = open_video(job.video, max_pixels=settings.max_pixels, rate=rate)
        stack.callback(reader.close)
        background = None
        if job.background is not None:
            background = read_background(job.background, max_pixels=settings.max_pixels)
            stack.callback(background.close)
            background.skip(settings.first_frame)
        times: deque[Fraction] = deque()

        def frames() -> Iterator[Frame]:
            for number, frame in enumerate(reader):
                if number >= settings.first_frame:
                    times.append(frame.time)
                yield frame.pixels

        files = ResultFiles(outputs, settings, reader.facts, reader.audio, background)
        stack.callback(files.abandon)
        total = reader.count_packets() if reader.facts.frames is None else reader.facts.frames
        total = total if settings.max_frames is None else min(total, settings.max_frames)
        for shown, alpha in pipeline.stream(frames(), settings, run=run, check=job.check):
            with timed(run.seconds, "write"):
                for frame, matte in zip(shown, alpha, strict=True):
                    files.write(frame, matte, times.popleft())
            yield from files.take()
            yield _progress(run.frames, settings.first_frame, total, monotonic() - began)
        files.close()
        yield from files.take()
        yield _report(job, pipeline, run, reader.facts, files, background)


def compose_clip(
    video: Path, alphas: Sequence[Path], settings: JobSettings, outputs: Sequence[str], background: bytes | None
) -> Iterator[Event]:
    """The files of a clip whose alpha is there already, as pictures.

    Args:
        video: the file, or the folder with pictures.
        alphas: a grey picture a frame, in order.
        settings: what applies to files.
        outputs: of `OUTPUTS`, without ``images``.
        background: a colour, or a file's bytes; for ``composite``.

    Yields:
        Parts of files, `Progress`, and last what there is to warn of, under ``warnings``.

    Raises:
        InvalidInput: the video, a picture or the background cannot be used, or they do not fit.
    """
    began = monotonic()
    with ExitStack() as stack:
        rate = Fraction(settings.image_rate).limit_denominator(1001)
        reader: Any = open_video(video, max_pixels=settings.max_pixels, rate=rate)
        stack.callback(reader.close)
        behind = read_background(background, max_pixels=settings.max_pixels) if background is not None else None
        if behind is not None:
            stack.callback(behind.close)
        files = ResultFiles(outputs, settings, reader.facts, reader.audio, behind)
        stack.callback(files.abandon)
        number = 0
        for number, (file, frame) in enumerate(zip(alphas, reader, strict=False), 1):
            grey = decode_picture(file.read_bytes(), name=file.name, max_pixels=settings.max_pixels).pixels[..., 0]
            if grey.shape != frame.pixels.shape[:2]:
                raise InvalidInput(f"{file.name} is not of the video's size.")
            files.write(frame.pixels, grey.astype(np.float32) / np.float32(255), frame.time)
            yield from files.take()
            yield _progress(number, 0, len(alphas), monotonic() - began)
        if number < len(alphas):
            raise InvalidInput(f"{video.name} has {number} frames, and {len(alphas)} pictures belong to it.")
        files.close()
        yield from files.take()
        yield {"warnings": _left_out(files, reader.facts)}


def _left_out(files: ResultFiles, facts: Facts) -> list[str]:
    """A sentence on sound that files cannot hold."""
    if not facts.audio or not files.silent:
        return []
    return [f"The sound ({facts.audio}) was left out of {', '.join(files.silent)}: the file cannot hold it."]


def _progress(frames: int, before: int, total: int, seconds: float) -> Progress:
    rate, done = frames / max(seconds, 1e-9), before + frames
    return Progress(done, max(total, done), round(rate, 3), round(max(0, total - done) / rate, 1))


def _report(
    job: MatteJob,
    pipeline: MattingPipeline,
    run: Run,
    facts: Facts,
    files: ResultFiles,
    background: Background | None,
) -> dict[str, Any]:
    used = job.settings.model_dump(include=set(JobSettings.model_fields))  # paths of the server are nobody's business
    settings = {name: {"value": value, "source": job.sources.get(name, "request")} for name, value in used.items()}
    warnings = [*pipeline.warnings, *remarks(job.settings)]
    warnings += _left_out(files, facts)
    if facts.pixel_aspect != 1:
        warnings.append(f"Pixels of {facts.pixel_aspect} were made square: frames are {facts.width}x{facts.height}.")
    return {
        **describe(run),
        "rate": str(facts.rate),
        "video": {"codec": facts.codec, "rotation": facts.rotation, "audio": facts.audio},
        "files": {name: dict(file.describe()) for name, file in files.files.items()},
        "background": background.kind if background else None,
        "settings": settings,
        "warnings": warnings,
    }
