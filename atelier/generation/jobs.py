"""A video that is asked for, from the request to the file."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Literal

from PIL import Image

from atelier.generation.settings import GenerationSettings
from atelier.generation.text import Encoded

Stage = Literal["queued", "encoding", "denoising", "decoding", "encoding_video"]


@dataclass(frozen=True)
class Progress:
    """How far a video is.

    Attributes:
        stage: what is being done.
        step: of it, done.
        of: steps of it.
        seconds: since the work began.
        left: seconds that this stage still takes at this rate; None where nothing tells.
        position: in the queue, 0 the one that is worked on.
    """

    stage: Stage
    step: int
    of: int
    seconds: float
    left: float | None
    position: int = 0


@dataclass(frozen=True)
class GenerationJob:
    """A video that is asked for.

    Attributes:
        prompt: what is to be seen.
        settings: that apply.
        image: a file; the video begins with it. None: text alone.
        loras: adapters' names with their scales.
        sources: where each setting comes from, by name; what is not named was asked for.
        check: called before every step; raises to stop the work.
        on_progress: called as the work goes on.
        seconds: filled with seconds by stage.
    """

    prompt: str
    settings: GenerationSettings
    image: bytes | None = None
    loras: Sequence[tuple[str, float]] = ()
    sources: Mapping[str, str] = field(default_factory=dict)
    check: Callable[[], None] = lambda: None
    on_progress: Callable[[Progress], None] = lambda _: None
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def kind(self) -> Hashable:
        """Jobs of one kind can be worked on together: all is the same but prompt and seed. None: of no kind."""
        if self.image is not None:
            return None
        return self.settings.model_dump_json(exclude={"seed"}), tuple(self.loras)


@dataclass(frozen=True)
class Generated:
    """A video.

    Attributes:
        video: the file.
        metadata: everything that is needed to make it again, and what it took.
    """

    video: bytes
    metadata: dict[str, Any]


class Run:
    """What is known of one job while it is worked on.

    Attributes:
        job: what is asked for.
        warnings: sentences for its metadata.
        failure: why it is not worked on any more.
        seed: of its noise.
        width, height: of its frames.
        picture: that it begins with, cut to them.
        prompt, negative: as the network reads them; without guidance there is no negative one.
    """

    def __init__(self, job: GenerationJob) -> None:
        self.job = job
        self.warnings: list[str] = []
        self.failure: Exception | None = None
        self.seed = self.width = self.height = 0
        self.picture: Image.Image | None = None
        self.prompt: Encoded | None = None
        self.negative: Encoded | None = None
        self._began = self._stage_began = monotonic()
        self._stage: Stage | None = None

    def step(self, stage: Stage, step: int, of: int) -> None:
        """A step is done: see whether the work is still wanted, and say so."""
        self.job.check()
        self.say(stage, step, of)

    def say(self, stage: Stage, step: int, of: int) -> None:
        """Report progress, and keep the time of stages."""
        now = monotonic()
        if stage != self._stage:
            self.finish()
            self._stage, self._stage_began = stage, now
        taken = now - self._stage_began
        left = round(taken / step * (of - step), 1) if step else None
        self.job.on_progress(Progress(stage, step, of, round(now - self._began, 3), left))

    def finish(self) -> None:
        """The stage is over."""
        if self._stage is not None:
            seconds = monotonic() - self._stage_began
            self.job.seconds[self._stage] = self.job.seconds.get(self._stage, 0.0) + seconds
            self._stage = None


class Runs:
    """Jobs that are worked on together: each goes its own way when it fails, and the work ends with the last."""

    def __init__(self, jobs: Sequence[GenerationJob]) -> None:
        self.all = [Run(job) for job in jobs]

    @property
    def living(self) -> list[Run]:
        """Those that have not failed."""
        return [run for run in self.all if run.failure is None]

    def each(self, work: Callable[[Run], None]) -> None:
        """Do something for each that has not failed.

        Raises:
            Exception: all have failed: what the first did.
        """
        for run in self.living:
            try:
                work(run)
            except Exception as error:
                run.failure = error
        if not self.living:
            failure = self.all[0].failure
            assert failure is not None, "all have failed"
            raise failure

    def step(self, stage: Stage, step: int, of: int) -> None:
        """A step is done for all."""
        self.each(lambda run: run.step(stage, step, of))
