"""Videos in, numbers out: every metric that can be had, kept beside the videos so that an interruption costs little."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from atelier.errors import InvalidInput
from atelier.evaluation import describing, legacy
from atelier.evaluation.arrays import Frame
from atelier.evaluation.frames import video_metrics
from atelier.evaluation.instruments import Instruments
from atelier.evaluation.legacy import legacy_metrics
from atelier.evaluation.pairs import file_digest, mean_absolute_difference, pair_metrics
from atelier.evaluation.sets import SetDistance, fvd, kvd
from atelier.evaluation.study import read_json, write_json
from atelier.media.video import open_video

KEPT = "measured"
"""Folder of a study with the numbers of each video and pair."""
REVISION = 1
"""Of what is computed: numbers of another one are computed again."""


@dataclass(frozen=True)
class Sample:
    """A video of one variant, and what it was made from.

    Attributes:
        item: what pairs it with the other variants'.
        variant: its variant's id.
        file: the video.
        prompt: its text; empty where nothing is known of it.
        picture: that the video began with, cut to its size: uint8 [H, W, 3]; None without.
    """

    item: str
    variant: str
    file: Path
    prompt: str = ""
    picture: Frame | None = None


@dataclass(frozen=True)
class Measured:
    """What was found of a study's videos.

    Attributes:
        outputs: by item and variant: size, frames, rate, digest, metrics.
        pairs: by item and variant: distances to the base's video.
        seeds: distances of base videos of one prompt and different seeds, mean absolute differences.
        sets: distances to the reference set.
        remarks: what could not be judged, and why.
    """

    outputs: dict[tuple[str, str], dict[str, Any]]
    pairs: dict[tuple[str, str], dict[str, float]]
    seeds: list[float]
    sets: list[dict[str, Any]]
    remarks: list[str]


class Measuring:
    """Measures a study's videos.

    Args:
        folder: the study's; numbers are kept in it.
        instruments: what the metrics with weights need.
        on_step: called with a word for each video and pair that is done.
    """

    def __init__(self, folder: Path, instruments: Instruments, on_step: Callable[[str], None]) -> None:
        self._folder, self._instruments, self._on_step = folder, instruments, on_step

    def __call__(self, samples: Sequence[Sample], base: str, reference: Path | None = None) -> Measured:
        """Measure them all.

        Args:
            samples: of every variant.
            base: the variant that the others are compared with.
            reference: a folder of real videos, for FVD and KVD.

        Raises:
            InvalidInput: a video cannot be read, or two of a pair differ in size or length.
        """
        outputs = {(sample.item, sample.variant): self._output(sample) for sample in samples}
        bases = {sample.item: sample for sample in samples if sample.variant == base}
        others = [sample for sample in samples if sample.variant != base]
        counts = {key: found["shown"]["frames"] for key, found in outputs.items()}
        pairs = {
            (sample.item, sample.variant): self._pair(sample, bases[sample.item], counts[sample.item, sample.variant])
            for sample in others
        }
        remarks = [remark for found in outputs.values() for remark in found["remarks"]]
        return Measured(
            {key: found["shown"] for key, found in outputs.items()},
            pairs,
            self._between_seeds(list(bases.values())),
            self._sets(samples, outputs, reference),
            list(dict.fromkeys(remarks)),
        )

    def _output(self, sample: Sample) -> dict[str, Any]:
        digest = file_digest(sample.file)
        key = {
            "revision": REVISION,
            "sha256": digest,
            "prompt": sample.prompt,
            "picture": None if sample.picture is None else hashlib.sha256(sample.picture.tobytes()).hexdigest(),
            "weights": self._instruments.digests,
        }
        place = self._folder / KEPT / sample.variant / f"{sample.item}.json"
        word = f"{sample.item} {sample.variant}"
        found: dict[str, Any] = self._kept(place, key, word, lambda: self._measure(sample, digest))
        return found

    def _measure(self, sample: Sample, digest: str) -> dict[str, Any]:
        with open_video(sample.file, name=sample.file.name) as reader:
            facts = reader.facts
            count = 0

            def frames() -> Iterator[Frame]:
                nonlocal count
                for timed in reader:
                    count += 1
                    yield timed.pixels

            metrics = video_metrics(frames(), sample.picture)
        metrics |= legacy_metrics(frames_of(sample.file))
        learned = self._instruments.judge(lambda: frames_of(sample.file), sample.prompt)
        if (cosine := learned.metrics.get("clip_score")) is not None:
            metrics["legacy_clip_01"] = legacy.legacy_clip_01(cosine / 100)
        shown = {
            "width": facts.width,
            "height": facts.height,
            "frames": count,
            "fps": round(float(facts.rate), 6),
            "sha256": digest,
            "metrics": metrics | learned.metrics,
        }
        return {"shown": shown, "features": learned.features, "remarks": learned.remarks}

    def _pair(self, sample: Sample, base: Sample, frames: int) -> dict[str, float]:
        digests = [file_digest(base.file), file_digest(sample.file)]
        key = {"revision": REVISION, "sha256": digests, "weights": self._instruments.digests.get("lpips")}
        place = self._folder / KEPT / "pairs" / sample.variant / f"{sample.item}.json"

        def measure() -> dict[str, float]:
            try:
                found = pair_metrics(frames_of(base.file), frames_of(sample.file))
            except InvalidInput as error:
                raise InvalidInput(f"{sample.item}: {base.variant} and {sample.variant}: {error}") from None
            return found | self._instruments.distance(frames_of(base.file), frames_of(sample.file), frames)

        found: dict[str, float] = self._kept(place, key, f"{sample.item} pair", measure)
        return found

    def _between_seeds(self, bases: Sequence[Sample]) -> list[float]:
        """How far two base videos of one prompt are from each other: what another seed alone does."""
        found = []
        for first, second in pairwise(bases):
            if not first.prompt or first.prompt != second.prompt:
                continue
            key = {"revision": REVISION, "sha256": [file_digest(first.file), file_digest(second.file)]}
            place = self._folder / KEPT / "seeds" / f"{first.item} {second.item}.json"
            found.append(self._kept(place, key, "seeds", partial(_mean_difference, first.file, second.file)))
        return found

    def _sets(
        self, samples: Sequence[Sample], outputs: Mapping[tuple[str, str], Any], reference: Path | None
    ) -> list[dict[str, Any]]:
        """FVD and KVD of every variant, or why there are none."""
        if not self._instruments.has_features:
            return []
        real = [self._reference(file) for file in videos_in(reference)] if reference else []
        found = []
        for variant in dict.fromkeys(sample.variant for sample in samples):
            rows = [outputs[sample.item, sample.variant]["features"] for sample in samples if sample.variant == variant]
            if short := next((row for row in rows if isinstance(row, str)), None):
                found += [_without("fvd", variant, len(rows), short), _without("kvd", variant, len(rows), short)]
                continue
            features = np.array(rows)
            truth = np.array(real).reshape(len(real), features.shape[1]) if real else features[:0]
            found += [_as_entry(distance(features, truth), variant) for distance in (fvd, kvd)]
        return found

    def _reference(self, file: Path) -> list[float]:
        key = {"sha256": file_digest(file), "weights": self._instruments.digests.get("i3d")}
        place = self._folder / KEPT / "reference" / f"{file.name}.json"
        found: list[float] = self._kept(
            place, key, f"reference {file.name}", lambda: self._instruments.reference_features(frames_of(file))
        )
        return found

    def _kept(self, place: Path, key: Mapping[str, Any], word: str, measure: Callable[[], Any]) -> Any:
        """What was measured before of the same files, or is now."""
        if place.exists() and (old := read_json(place)).get("key") == key:
            found = old["found"]
        else:
            found = measure()
            write_json(place, {"key": key, "found": found})
        self._on_step(word)
        return found


def _mean_difference(one: Path, other: Path) -> float:
    both = zip(frames_of(one), frames_of(other), strict=False)
    return float(np.mean([mean_absolute_difference(*frames) for frames in both]))


def frames_of(file: Path) -> Iterator[Frame]:
    """A video's frames, RGB, one at a time."""
    with open_video(file, name=file.name) as reader:
        for timed in reader:
            yield timed.pixels


SUFFIXES = (".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".gif")
"""Of files that count as videos in a folder."""


def videos_in(folder: Path) -> list[Path]:
    """The videos of a folder, by name.

    Raises:
        InvalidInput: it is none, or has no videos.
    """
    if not folder.is_dir():
        raise InvalidInput(f"{folder} is no folder.")
    found = sorted(file for file in folder.iterdir() if file.is_file() and file.suffix.lower() in SUFFIXES)
    if not found:
        raise InvalidInput(f"{folder} has no videos; accepted: {', '.join(SUFFIXES)}.")
    return found


def metrics_of(measured: Measured) -> list[describing.Metric]:
    """The metrics that some video or pair has, in the order in which they are shown."""
    names = {name for found in measured.outputs.values() for name in found["metrics"]}
    names |= {name for found in measured.pairs.values() for name in found}
    return [metric for name, metric in all_metrics().items() if name in names]


def all_metrics() -> dict[str, describing.Metric]:
    """Every metric there is, by name: those that always are, those that need weights, and the old ones."""
    learned = {metric.name: metric for metric in Instruments.metrics()}
    fixed = describing.METRICS
    return {name: fixed[name] for name in fixed if fixed[name].group != "legacy"} | learned | fixed


def _as_entry(distance: SetDistance, variant: str) -> dict[str, Any]:
    return {**distance.as_dict(), "variant": variant}


def _without(metric: str, variant: str, n: int, reason: str) -> dict[str, Any]:
    sentence = f"not computed: {reason}"
    entry = {"metric": metric, "label": metric.upper(), "value": None, "low": None, "high": None}
    return {**entry, "variant": variant, "n": n, "sentence": sentence}
