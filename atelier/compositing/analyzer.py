"""The first stage: what a scene is like."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from atelier.compositing import checks
from atelier.compositing.choosing import Network, NetworkStage, note
from atelier.compositing.classical.light import look
from atelier.compositing.classical.words import LANGUAGES, describe, english, korean, prompt
from atelier.compositing.jobs import AnalysisJob, Scene, StageReport
from atelier.compositing.settings import AnalyzerSettings, Mode
from atelier.timing import timed


class BackgroundAnalyzer(NetworkStage):
    """Reads a scene, with Qwen2-VL or from its statistics.

    Args:
        settings: of the stage.
        root: what the settings' folders are relative to.
    """

    def __init__(self, settings: AnalyzerSettings, *, root: Path) -> None:
        self.settings = settings
        self.needed = {"checkpoint": root / settings.checkpoint}
        self.network = Network(
            "background analyzer",
            "atelier.compositing.neural.qwen",
            lambda module: module.QwenAnalyzer(self.needed["checkpoint"], settings),
            settings.residence,
        )

    def __call__(self, job: AnalysisJob, mode: Mode | None = None) -> Scene:
        """Read a scene.

        Args:
            job: the scene, and what is asked about it.
            mode: as in the settings without it.

        Raises:
            InvalidInput: a picture is none, or ``neural`` was asked for where it cannot work.
        """
        mode = mode or self.settings.mode
        checks.picture(job.background, "BACKGROUND", self.settings.max_pixels)
        if job.reference is not None:
            checks.picture(job.reference, "REFERENCE", self.settings.max_pixels, channels=(3, 4))
        job.check()
        reason = self.network.choose(mode, self.needed)
        if reason is None:
            scene: Scene = self.network.use(lambda network: network(job))
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
