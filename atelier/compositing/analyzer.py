"""The first stage: what a scene is like."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atelier.compositing import checks
from atelier.compositing.choosing import Network, note
from atelier.compositing.classical.light import look
from atelier.compositing.classical.words import LANGUAGES, describe, english, korean, prompt
from atelier.compositing.jobs import AnalysisJob, Scene, StageReport
from atelier.compositing.settings import AnalyzerSettings, Mode
from atelier.timing import timed

if TYPE_CHECKING:
    from atelier.compositing.neural.qwen import QwenAnalyzer


class BackgroundAnalyzer:
    """Reads a scene, with Qwen2-VL or from its statistics.

    Args:
        settings: of the stage.
        root: what the settings' folders are relative to.
    """

    def __init__(self, settings: AnalyzerSettings, *, root: Path) -> None:
        self._settings = settings
        self._folders = {"checkpoint": root / settings.checkpoint}
        self._network: Network[QwenAnalyzer] = Network(
            "background analyzer",
            "atelier.compositing.neural.qwen",
            lambda module: module.QwenAnalyzer(self._folders["checkpoint"], settings),
            settings.residence,
        )

    @property
    def loaded(self) -> dict[str, Any]:
        """Memory by load stage, of the network that was made last."""
        return self._network.loaded

    @property
    def device(self) -> str:
        """PyTorch's name of where the networks compute; ``cpu`` without any."""
        return self._network.device(self._settings.device, self._folders)

    def load(self) -> dict[str, Any]:
        """Load the networks that will be needed and kept; memory by load stage.

        Raises:
            InvalidInput: ``neural`` is set where it cannot work, or the weights cannot be used.
        """
        return self._network.load(self._settings.mode, self._folders)

    def __call__(self, job: AnalysisJob, mode: Mode | None = None) -> Scene:
        """Read a scene.

        Args:
            job: the scene, and what is asked about it.
            mode: as in the settings without it.

        Raises:
            InvalidInput: a picture is none, or ``neural`` was asked for where it cannot work.
        """
        mode = mode or self._settings.mode
        checks.picture(job.background, "BACKGROUND", self._settings.max_pixels)
        if job.reference is not None:
            checks.picture(job.reference, "REFERENCE", self._settings.max_pixels, channels=(3, 4))
        job.check()
        reason = self._network.choose(mode, self._folders)
        if reason is None:
            scene = self._network.use(lambda network: network(job))
        else:
            scene = analyze(job)
        note(scene.report, mode, reason)
        return scene


def analyze(job: AnalysisJob) -> Scene:
    """Read a scene from its statistics, without networks. No place is proposed: a guess is the mask generator's."""
    report = StageReport("classical")
    with timed(report.seconds, "analysis"):
        found = look(job.background)
        words = describe(found)
    language = job.language.partition("-")[0].lower()
    if language not in LANGUAGES:
        report.warnings.append(f"The classical analyzer writes {' and '.join(LANGUAGES)}, not {job.language}: English.")
        language = "en"
    if not job.prompt.isascii():
        report.warnings.append("The prompt is passed on as it is: the classical analyzer does not translate.")
    report.facts |= {"lightness": found.lightness, "contrast": found.contrast, "chroma": found.chroma}
    return Scene(
        text=korean(words) if language == "ko" else english(words),
        prompt=prompt(words, job.prompt),
        light=replace(found.light, description=words.light),
        palette=found.palette,
        mood=f"{words.brightness}, {words.mood}",
        camera=words.camera,
        surfaces=words.surfaces,
        box=None,
        language=language,
        report=report,
    )
