"""The metrics with local weights as one thing: what is there is loaded once, and judges video after video."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atelier.errors import InvalidInput
from atelier.evaluation.arrays import Frame
from atelier.evaluation.describing import Metric
from atelier.evaluation.learned import layouts
from atelier.evaluation.learned.describing import BY_FOLDER

LOOKED_AT = 16
"""Frames of a pair that LPIPS looks at: at 1280x704 one takes a CPU seconds."""


@dataclass(frozen=True)
class Judged:
    """What the networks find of one video.

    Attributes:
        metrics: by name.
        features: of I3D; why there are none; or None without I3D.
        remarks: what could not be judged.
    """

    metrics: dict[str, float | None]
    features: list[float] | str | None
    remarks: list[str]


class Instruments:
    """The networks that are there.

    Args:
        root: folder of their folders, see `learned.layouts`.
        device: PyTorch's name.

    Attributes:
        missing: a line for each that is not there.
        digests: of the weights of those that are.

    Raises:
        InvalidInput: weights cannot be read, or PyTorch and transformers are not installed.
    """

    def __init__(self, root: Path = layouts.ROOT, device: str = "cpu") -> None:
        found = layouts.find(root)
        self.missing = list(found.missing)
        self._networks: dict[str, Any] = {}
        if found.available:
            try:
                loaders = _loaders()
            except ImportError as error:
                raise InvalidInput(f"{root} holds weights, and {error.name} is not installed: .[learned].") from None
            for name, place in found.available.items():
                self._networks[name] = loaders[name].from_folder(place, device)
        self.digests: dict[str, str] = {name: network.digest for name, network in self._networks.items()}

    @staticmethod
    def metrics() -> tuple[Metric, ...]:
        """All that weights can give, whether they are there or not."""
        return tuple(metric for metrics in BY_FOLDER.values() for metric in metrics)

    @property
    def has_features(self) -> bool:
        """Whether FVD and KVD could be computed."""
        return "i3d" in self._networks

    def judge(self, frames: Callable[[], Iterator[Frame]], prompt: str) -> Judged:
        """All metrics of one video.

        Args:
            frames: gives the video's frames from the start, each time it is called.
            prompt: what the video was made from; empty: not known.

        Raises:
            InvalidInput: a frame is none.
        """
        if not self._networks:
            return Judged({}, None, [])
        from atelier.evaluation.learned.embedding import consistency

        metrics: dict[str, float | None] = {}
        remarks: list[str] = []
        if clip := self._networks.get("clip"):
            directions = clip.embed(frames())
            metrics["clip_consistency"] = consistency(directions)
            texts = {"clip_score": clip, "clip_score_multilingual": self._networks.get("clip-multilingual")}
            for name, text in texts.items():
                if text is None or not prompt:
                    continue
                score = text.score(directions, prompt)
                metrics[name] = score.value
                label = {metric.name: metric.label for metric in self.metrics()}[name]
                remarks += [f"{label}: {score.warning} ({prompt:.40})."] if score.warning else []
            remarks += [] if prompt else ["CLIP score: not computed, no prompts are known of these videos."]
        if dino := self._networks.get("dino"):
            metrics["dino_consistency"] = consistency(dino.embed(frames()))
        features: list[float] | str | None = None
        if i3d := self._networks.get("i3d"):
            try:
                features = [float(value) for value in i3d.features(frames())]
            except InvalidInput as error:
                features = str(error)
        return Judged(metrics, features, remarks)

    def distance(self, one: Iterable[Frame], other: Iterable[Frame], frames: int) -> dict[str, float]:
        """What networks say of two videos' distance; empty without any.

        Args:
            one: frames of a video.
            other: of another, as many.
            frames: how many there are; `LOOKED_AT` of them at most are looked at, evenly.
        """
        lpips = self._networks.get("lpips")
        if not lpips:
            return {}
        chosen = {round(place * (frames - 1) / (LOOKED_AT - 1)) for place in range(LOOKED_AT)}
        some = [(frame for number, frame in enumerate(video) if number in chosen) for video in (one, other)]
        return {"lpips": float(lpips.distance(*some))}

    def reference_features(self, frames: Iterable[Frame]) -> list[float]:
        """A real video's features.

        Raises:
            InvalidInput: it is too short.
        """
        return [float(value) for value in self._networks["i3d"].features(frames)]


def _loaders() -> dict[str, Any]:
    """Where each is loaded. PyTorch and transformers are imported here and nowhere above."""
    from atelier.evaluation.learned.clip import Clip, MultilingualText
    from atelier.evaluation.learned.dino import Dino
    from atelier.evaluation.learned.i3d import I3d
    from atelier.evaluation.learned.lpips import Lpips

    return {"clip": Clip, "clip-multilingual": MultilingualText, "dino": Dino, "lpips": Lpips, "i3d": I3d}
