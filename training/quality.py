"""How well holes were filled: errors inside the hole, and what they say of one method against others.

PSNR is 10 log10(255² / mse), in dB. SSIM is Wang, Bovik, Sheikh and Simoncelli 2004, "Image quality assessment", as
scikit-image computes it in windows of 7 x 7.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from skimage.metrics import structural_similarity

Pixels = NDArray[np.uint8]

CAP = 60.0
"""dB that a single picture counts for at most: an exact fill has no error, and would make every mean infinite."""

RESAMPLES = 10_000
"""Draws of the bootstrap."""

CONFIDENCE = 0.95
"""Share of the bootstrap's means that lie in an interval."""


@dataclass(frozen=True)
class Outcome:
    """What the methods made of one picture.

    Attributes:
        group: what it is a picture of: ``pages`` or ``photographs``.
        category: of the page, or the mask's kind on a photograph.
        source: what it was made from; pictures of one source (masks on one photograph) are not independent.
        values: how many values, pixels times channels, the hole has.
        hole: the hole's share of the pixels.
        mse: by method, the mean squared error inside the hole, levels².
        ssim: by method, the mean structural similarity inside the hole, -1..1.
    """

    group: str
    category: str
    source: str
    values: int
    hole: float
    mse: Mapping[str, float]
    ssim: Mapping[str, float]

    def psnr(self, method: str) -> float:
        """dB, `CAP` at most."""
        return min(CAP, psnr(self.mse[method]))


@dataclass(frozen=True)
class Score:
    """One method on several pictures.

    Attributes:
        psnr: mean of the pictures' PSNR, each capped, dB.
        pooled_psnr: PSNR of the mean squared error of all holes together, dB: large holes and bad fills weigh more.
            None where nothing differs.
        ssim: mean of the pictures' SSIM.
    """

    psnr: float
    pooled_psnr: float | None
    ssim: float


@dataclass(frozen=True)
class Comparison:
    """One method against the better of several others, on the same pictures.

    Attributes:
        baseline: the other whose `Score.psnr` is highest on these pictures.
        gain: mean difference of the PSNR to that one, picture by picture, dB.
        low: lower end of the bootstrap's interval around the mean, dB; None where all is of one source.
        high: its upper end.
        gain_by_category: the same difference where each category has the better baseline of its own, dB.
        won: share of the pictures with a higher PSNR than every other's; a tie is not won.
    """

    baseline: str
    gain: float
    low: float | None
    high: float | None
    gain_by_category: float
    won: float


def mean_squared_error(truth: Pixels, painted: Pixels, mask: Pixels) -> float:
    """Mean squared difference inside the hole, over pixels and channels, levels².

    Args:
        truth: uint8 [H, W, 3].
        painted: uint8 [H, W, 3].
        mask: [H, W], not 0 = hole.

    Raises:
        ValueError: the sizes differ, or there is no hole.
    """
    hole = _hole(truth, painted, mask)
    return float(np.mean(np.square(painted[hole].astype(np.float64) - truth[hole])))


def psnr(error: float) -> float:
    """Peak signal-to-noise ratio in dB of a mean squared error in levels²; infinite where there is none."""
    return 10 * math.log10(255**2 / error) if error else math.inf


def ssim(truth: Pixels, painted: Pixels, mask: Pixels) -> float:
    """Mean structural similarity of the windows around the hole's pixels, over channels; -1..1, 1 where all is equal.

    Args:
        truth: uint8 [H, W, 3]; sides of 7 pixels or more.
        painted: uint8 [H, W, 3]; what differs outside the hole counts where a window reaches it.
        mask: [H, W], not 0 = hole.

    Raises:
        ValueError: the sizes differ, or there is no hole.
    """
    hole = _hole(truth, painted, mask)
    _, similarity = structural_similarity(truth, painted, full=True, channel_axis=2, data_range=255)
    return float(similarity[hole].mean())


def score(outcomes: Sequence[Outcome], method: str) -> Score:
    """A method on all pictures.

    Raises:
        ValueError: there are no pictures.
    """
    if not outcomes:
        raise ValueError("There is nothing to score.")
    pooled = np.average([o.mse[method] for o in outcomes], weights=[o.values for o in outcomes])
    return Score(
        psnr=float(np.mean([o.psnr(method) for o in outcomes])),
        pooled_psnr=psnr(float(pooled)) if pooled else None,
        ssim=float(np.mean([o.ssim[method] for o in outcomes])),
    )


def better(outcomes: Sequence[Outcome], methods: Sequence[str]) -> str:
    """The method with the highest `Score.psnr`; of equal ones the first."""
    return max(methods, key=lambda method: score(outcomes, method).psnr)


def compare(outcomes: Sequence[Outcome], judged: str, baselines: Sequence[str], seed: int) -> Comparison:
    """A method against the better of the baselines.

    Args:
        outcomes: the pictures.
        judged: the method.
        baselines: the others.
        seed: of the bootstrap.
    """
    baseline = better(outcomes, baselines)
    gains = differences(outcomes, judged, baseline)
    sources = [o.source for o in outcomes]
    low, high = interval(gains, sources, seed) if len(set(sources)) > 1 else (None, None)
    categories: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        categories.setdefault(outcome.category, []).append(outcome)
    strict = [gain for part in categories.values() for gain in differences(part, judged, better(part, baselines))]
    won = [all(o.psnr(judged) > o.psnr(other) for other in baselines) for o in outcomes]
    return Comparison(baseline, float(np.mean(gains)), low, high, float(np.mean(strict)), float(np.mean(won)))


def differences(outcomes: Sequence[Outcome], method: str, other: str) -> list[float]:
    """By how many dB a method's PSNR is higher than another's, picture by picture."""
    return [outcome.psnr(method) - outcome.psnr(other) for outcome in outcomes]


def interval(values: Sequence[float], sources: Sequence[str], seed: int) -> tuple[float, float]:
    """Interval of a mean by the percentile bootstrap (Efron 1979), where whole sources are drawn, with replacement.

    Drawing sources and not values is what keeps values of one source, which resemble each other, from passing for
    independent ones.

    Args:
        values: what the mean is of.
        sources: where each value is from.
        seed: of the draws.

    Returns:
        The ends of the middle `CONFIDENCE` of the means of `RESAMPLES` draws.

    Raises:
        ValueError: there are no values, or not as many sources as values.
    """
    if not values or len(values) != len(sources):
        raise ValueError(f"{len(values)} values of {len(sources)} sources have no interval.")
    names, index = np.unique(sources, return_inverse=True)
    sums, counts = np.bincount(index, values), np.bincount(index)
    drawn = np.random.default_rng(seed).integers(len(names), size=(RESAMPLES, len(names)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def _hole(truth: Pixels, painted: Pixels, mask: Pixels) -> NDArray[np.bool_]:
    if truth.shape != painted.shape or truth.shape[:2] != mask.shape:
        shapes = f"{truth.shape} and {painted.shape} and a mask of {mask.shape}"
        raise ValueError(f"Pictures of {shapes} do not go together.")
    hole = np.asarray(mask > 0)
    if not hole.any():
        raise ValueError("The mask has no hole.")
    return hole
