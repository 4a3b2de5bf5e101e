"""The neural synthesizer: FLUX on the crop of a placement. What it makes is pasted back by whoever called it."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from atelier import memory
from atelier.compositing.jobs import Pixels, StageReport, SynthesisJob
from atelier.compositing.neural import holding
from atelier.compositing.neural.flux_fill import FluxFill, Made
from atelier.compositing.neural.klein import Klein
from atelier.compositing.neural.pictures import resize
from atelier.compositing.neural.watching import Watch
from atelier.compositing.settings import SynthesizerSettings
from atelier.errors import InvalidInput

_FOLDERS = {"flux.1-fill": "checkpoint", "flux.2-klein": "klein"}


class Painter(Protocol):
    """What both networks are to the synthesizer."""

    facts: dict[str, dict[str, object]]

    def __call__(self, job: SynthesisJob, seed: int, watch: Watch) -> Made:
        """Paint the crop of a job's placement."""
        ...


class NeuralSynthesizer:
    """FLUX, loaded once. One picture at a time.

    Args:
        folders: of weights that are there: ``checkpoint`` (FLUX.1-Fill), ``redux``, ``klein``; ``gguf`` may name the
            transformer's file.
        settings: which network, how the object is shown to it, and how it is held.

    Attributes:
        loaded: memory after each load stage, by the network's name; the last is ``ready``.

    Raises:
        CheckpointError: a folder cannot be used.
        InvalidInput: this machine cannot do what the settings ask for.
    """

    def __init__(self, folders: Mapping[str, Path], settings: SynthesizerSettings) -> None:
        self._holding = holding.resolve(settings, folders)
        self._network = settings.network
        self.loaded: dict[str, memory.Memory] = {}
        if _FOLDERS[settings.network] not in folders:
            raise InvalidInput(f"network {settings.network} needs its weights, which are not there.")
        memory.reset_peak(self._holding.device)

        def loaded(stage: str) -> None:
            self.loaded[stage] = memory.measure(self._holding.device)

        painter = FluxFill if settings.network == "flux.1-fill" else Klein
        self._paint: Painter = painter(folders, settings, self._holding, loaded)
        loaded("ready")

    def __call__(self, job: SynthesisJob) -> tuple[Pixels, int, str, StageReport]:
        """Set the object of a job into its scene.

        Args:
            job: what is asked for. Its fill mask says what is painted; the rest of the crop comes back as the VAE
                decodes it, not as it was.

        Returns:
            The crop, RGB [height, width, 3] of ``job.placement.crop``; the seed, and the prompt, that were used; the
            report.

        Raises:
            InvalidInput: something of the job cannot be used.
            Exception: whatever ``job.check`` raises; the next picture is right all the same.
        """
        memory.reset_peak(self._holding.device)
        seed = secrets.randbelow(2**63) if job.seed is None else job.seed
        watch, crop = Watch(job), job.placement.crop
        if not job.placement.fill_mask[crop.slices].any():
            raise InvalidInput("The fill mask is empty inside the crop: there is nothing to paint.")
        made = self._paint(job, seed, watch)
        return resize(made.pixels, crop.width, crop.height), seed, made.prompt, self._report(watch, made)

    def _report(self, watch: Watch, made: Made) -> StageReport:
        stages = {stage: found.as_dict() for stage, found in self.loaded.items()}
        return StageReport(
            mode="neural",
            models=dict(self._paint.facts),
            seconds={name: round(value, 4) for name, value in watch.seconds.items()},
            memory={**stages, "after": memory.measure(self._holding.device).as_dict()},
            warnings=made.warnings,
            facts={"network": self._network, "steps": watch.steps, **self._holding.as_dict(), **made.facts},
        )
