"""The last stage: the object set in."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from atelier.compositing import checks
from atelier.compositing.choosing import Network, note
from atelier.compositing.classical import setting
from atelier.compositing.jobs import Pixels, StageReport, Synthesis, SynthesisJob, SynthesisProgress
from atelier.compositing.metrics import measure, score
from atelier.compositing.scene import check_placement
from atelier.compositing.settings import Mode, SynthesizerSettings
from atelier.errors import InvalidInput
from atelier.media.blending import paste
from atelier.timing import timed

if TYPE_CHECKING:
    from atelier.compositing.neural.similarity import Similarity
    from atelier.compositing.neural.synthesis import NeuralSynthesizer

FEATHER = 30
"""The crop's longer side over this is the width in pixels of the blend along the fill mask."""


class ObjectSynthesizer:
    """Sets an object in, with FLUX or by pasting.

    Args:
        settings: of the stage.
        root: what the settings' folders are relative to.
    """

    def __init__(self, settings: SynthesizerSettings, *, root: Path) -> None:
        self._settings = settings
        self._asked = _folders(settings, root)
        # What auto makes do with: FLUX.1-Fill alone, shown the object by a diptych.
        self._able = settings
        if "redux" in self._asked and not self._asked["redux"].is_dir():
            self._able = settings.model_copy(update={"identity": "diptych"})
        self._folders = _folders(self._able, root)
        file = {"gguf": root / settings.gguf} if settings.gguf else {}
        self._network: Network[NeuralSynthesizer] = Network(
            "object synthesizer",
            "atelier.compositing.neural.synthesis",
            lambda module: module.NeuralSynthesizer({**self._folders, **file}, self._able),
            settings.residence,
        )
        judges = {name: root / getattr(settings, name) for name in ("clip", "dino") if getattr(settings, name)}
        self._similarity: Network[Similarity] | None = None
        if judges:
            self._similarity = Network(
                "similarity",
                "atelier.compositing.neural.similarity",
                lambda module: module.Similarity(judges, settings.device),
                settings.residence,
            )

    @property
    def loaded(self) -> dict[str, Any]:
        """Memory by load stage, of the networks that were made last."""
        return self._network.loaded | (self._similarity.loaded if self._similarity else {})

    @property
    def device(self) -> str:
        """PyTorch's name of where the networks compute; ``cpu`` without any."""
        if self._similarity:
            return self._similarity.device(self._settings.device, {})
        return self._network.device(self._settings.device, self._folders)

    def load(self) -> dict[str, Any]:
        """Load the networks that will be needed and kept; memory by load stage.

        Raises:
            InvalidInput: ``neural`` is set where it cannot work, or the weights cannot be used.
        """
        self._network.load(self._settings.mode, self._asked if self._settings.mode == "neural" else self._folders)
        if self._similarity and self._settings.residence == "always":
            self._similarity.use(lambda network: None)
        return self.loaded

    def __call__(self, job: SynthesisJob, mode: Mode | None = None) -> Synthesis:
        """Set an object in.

        Args:
            job: background, object and its place.
            mode: as in the settings without it.

        Raises:
            InvalidInput: the parts of the job do not fit together, or ``neural`` was asked for where it cannot work.
        """
        mode = mode or self._settings.mode
        _check(job, self._settings.max_pixels)
        job.check()
        # Who asks for the network by name gets it as it is set, or not at all.
        reason = self._network.choose(mode, self._asked if mode == "neural" else self._folders)
        seed: int | None = None
        prompt = ""
        if reason is None:
            crop, seed, prompt, report = self._network.use(lambda network: network(job))
            if self._able is not self._settings:
                name = self._asked["redux"].name
                report.warnings.append(f"There are no weights {name}: the object was shown to FLUX by a diptych.")
        else:
            report = StageReport("classical")
            crop = self._classical(job, report)
        note(report, mode, reason)
        place = job.placement
        # The classical crop is the background already where it meets it.
        side = max(place.crop.height, place.crop.width)
        radius = 0.0 if report.mode == "classical" else min(side / FEATHER, self._settings.feather)
        with timed(report.seconds, "paste"):
            image = paste_back(job, crop, radius)
        with timed(report.seconds, "metrics"):
            metrics = measure(job.background, image, place.pre_composite, place.object_mask, place.fill_mask)
            metrics |= self._similarities(job, image, report)
        report.facts["score"] = score(metrics)
        return Synthesis(image, metrics, seed, prompt, report)

    def _similarities(self, job: SynthesisJob, image: Pixels, report: StageReport) -> dict[str, float]:
        """How like the object what is in its place still is, where the settings name networks for that."""
        if self._similarity is None:
            return {}
        place = job.placement
        there = np.dstack([image[place.box.slices], place.object_mask[place.box.slices]])
        found, facts = self._similarity.use(lambda network: (network(job.object, there), dict(network.facts)))
        report.models |= facts
        return found

    def _classical(self, job: SynthesisJob, report: StageReport) -> Pixels:
        with timed(report.seconds, "shadow"):
            crop = setting.set_in(job)
        report.facts["blend"] = self._settings.blend
        if self._settings.blend == "poisson":
            report.warnings.append("Poisson blending was asked for: it may smear or recolour the object.")
            with timed(report.seconds, "poisson"):
                crop = setting.with_poisson(job, crop)
        job.check()
        seconds = sum(report.seconds.values())
        job.on_progress(SynthesisProgress("decoding", 1, 1, seconds))
        return crop


def _folders(settings: SynthesizerSettings, root: Path) -> dict[str, Path]:
    """Of the weights that the settings need, by the name of their setting."""
    if settings.network == "flux.2-klein":
        names = ["klein"]
    else:
        names = ["checkpoint", "redux"] if settings.identity == "redux" else ["checkpoint"]
    return {name: root / getattr(settings, name) for name in names}


def paste_back(job: SynthesisJob, crop: Pixels, radius: float) -> Pixels:
    """The background with the crop inside the fill mask; every other pixel is the background's own.

    Args:
        job: background, and the placement with crop and fill mask.
        crop: RGB of the crop's size.
        radius: pixels inside the fill mask over which it fades in; 0: none.

    Raises:
        ValueError: the crop has another size or type.
    """
    place = job.placement.crop
    if crop.shape != (place.height, place.width, 3) or crop.dtype != np.uint8:
        raise ValueError(f"a crop of {place.width}x{place.height} is needed, got {crop.dtype} {crop.shape}")
    image = job.background.copy()
    image[place.slices] = paste(job.background[place.slices], crop, job.placement.fill_mask[place.slices], radius)
    return image


def _check(job: SynthesisJob, max_pixels: int) -> None:
    checks.picture(job.background, "BACKGROUND", max_pixels)
    checks.picture(job.object, "The object", max_pixels, channels=(4,))
    check_placement(job.placement, job.background)
    if not job.placement.object_mask[job.placement.box.slices].any():
        raise InvalidInput("The placement's object mask is empty inside its box; alpha above 0 is needed somewhere.")
    if not 0 < job.strength <= 1:
        raise InvalidInput(f"STRENGTH is {job.strength:g}; above 0 to 1 is accepted.")
