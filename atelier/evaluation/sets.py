"""Distances of a set of videos from a reference set, by I3D's features: FVD and KVD.

Both compare distributions. Neither says anything about one video, or without a reference set of real ones; and below a
number of videos neither is computed, since the number would be mostly error.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from atelier.errors import InvalidInput

Features = NDArray[np.float64]
"""[N, D], one row a video."""

FVD_SMALLEST = 256
"""Videos on either side. A covariance of 400 dimensions is of less than full rank up to 400 videos, and the distance
of two samples of one distribution is then far from 0; published values use 2048."""
KVD_SMALLEST = 8
"""Videos on either side: the interval is made from halves, and a half of fewer than 4 has no spread to speak of."""
_COMMON = 2048
_HALVES = 1000
_SEED = 20261122


@dataclass(frozen=True)
class SetDistance:
    """A distance of two sets, or why there is none.

    Attributes:
        metric: ``fvd`` or ``kvd``.
        label: for people.
        value: None where it was not computed.
        low: of the 95 % interval; None without one.
        high: likewise.
        n: distinct videos of the set.
        reference: distinct videos of the reference set.
        sentence: what it is and what it is not, with the reason if there is no value.
    """

    metric: Literal["fvd", "kvd"]
    label: str
    value: float | None
    low: float | None
    high: float | None
    n: int
    reference: int
    sentence: str

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def fvd(features: Features, reference: Features) -> SetDistance:
    """Fréchet distance of normal distributions fitted to the features (Unterthiner et al. 2018, arXiv 1812.01717).

    Args:
        features: of the videos, from `I3d.features`. A row that repeats another counts once.
        reference: of real videos, looked at in the same way; no rows: there is no reference set.

    Returns:
        The distance; without a value below `FVD_SMALLEST` videos on either side. It has no interval: it is biased
        upwards by its sample, and a bootstrap only adds to that.

    Raises:
        InvalidInput: the arrays are no features, are of unequal width, or hold what is not finite.
    """
    features, reference = _checked(features, reference)
    n, m = len(features), len(reference)
    if min(n, m) < FVD_SMALLEST:
        reason = (
            f"it needs at least {FVD_SMALLEST} on either side, as it fits a covariance of {features.shape[1]} "
            "dimensions and is far too large on few"
        )
        return SetDistance("fvd", "FVD", None, None, None, n, m, f"FVD: not computed: {_counted(n, m)}; {reason}.")
    value = frechet_distance(features, reference)
    caution = "biased upwards on few; compare it only with values at the same numbers of videos"
    caution = caution if min(n, m) < _COMMON else "compare it only with values of the same reference set"
    sentence = f"FVD {value:.4g}: {_counted(n, m)}, 0 is equal, lower is nearer; {caution}."
    return SetDistance("fvd", "FVD", value, None, None, n, m, sentence)


def kvd(features: Features, reference: Features) -> SetDistance:
    """Unbiased squared MMD of the features with the kernel (x·y / D + 1)³, as KID has it (Bińkowski et al. 2018).

    Unbiased at any number, so it can fall below 0; what few videos cost shows in the interval. That is of 1000 random
    halves of both sets, drawn without repeats: half a sample lies about the whole as the whole about the truth (Politis
    and Romano 1994), while a bootstrap's repeats would bias it. It is widened by Student's quantile for small numbers.
    It is too wide where the sets do not differ at all, and covers some 85 % where few differ much.

    Args:
        features: of the videos, from `I3d.features`. A row that repeats another counts once.
        reference: of real videos, looked at in the same way; no rows: there is no reference set.

    Returns:
        The distance and its interval; without a value below `KVD_SMALLEST` videos on either side.

    Raises:
        InvalidInput: the arrays are no features, are of unequal width, or hold what is not finite.
    """
    features, reference = _checked(features, reference)
    n, m = len(features), len(reference)
    if min(n, m) < KVD_SMALLEST:
        reason = f"it needs at least {KVD_SMALLEST} on either side, as its interval is made from halves of them"
        return SetDistance("kvd", "KVD", None, None, None, n, m, f"KVD: not computed: {_counted(n, m)}; {reason}.")
    within, without, across = _kernel(features, features), _kernel(reference, reference), _kernel(features, reference)
    np.fill_diagonal(within, 0)
    np.fill_diagonal(without, 0)
    whole = _mmd(np.ones((1, n)), np.ones((1, m)), within, without, across)[0]
    random = np.random.default_rng(_SEED)
    halves = _mmd(_half(random, n), _half(random, m), within, without, across)
    wider = stats.t.ppf(0.975, min(n, m) - 1) / stats.norm.ppf(0.975)
    value = float(whole)
    low, high = (float(each) for each in whole + wider * np.quantile(halves - whole, [0.025, 0.975]))
    found = "which includes 0: no difference is shown" if low <= 0 <= high else "0 is equal, lower is nearer"
    sentence = f"KVD {value:.4g}, 95 % interval {low:.4g} to {high:.4g}, {found}; {_counted(n, m)}."
    return SetDistance("kvd", "KVD", value, low, high, n, m, sentence)


def frechet_distance(features: Features, reference: Features) -> float:
    """Squared distance of means, plus tr(A + B - 2 (√A B √A)^½) of the covariances (Dowson and Landau 1982).

    The root of a product AB, as often written, is of a matrix that is not symmetric; of few videos it has complex and
    unstable roots. The form here is symmetric and has no negative eigenvalue, but for rounding, which is cut off.

    Args:
        features: [N, D], N at least 2.
        reference: [M, D], likewise.

    Returns:
        From 0.
    """
    first, second = (np.atleast_2d(np.cov(each, rowvar=False)) for each in (features, reference))
    values, vectors = np.linalg.eigh(first)
    root = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
    cross = np.sqrt(np.linalg.eigvalsh(root @ second @ root).clip(min=0)).sum()
    apart = np.square(features.mean(axis=0) - reference.mean(axis=0)).sum()
    return max(0.0, float(apart + np.trace(first) + np.trace(second) - 2 * cross))


def _checked(features: Features, reference: Features) -> tuple[Features, Features]:
    """Both as float64, each row once: a set is not made larger by repeats."""
    for name, each in (("features", features), ("reference", reference)):
        if each.ndim != 2 or not each.shape[1] or not np.isfinite(each).all():
            raise InvalidInput(f"{name} is {list(each.shape)}; finite numbers [videos, dimensions] are needed.")
    if features.shape[1] != reference.shape[1]:
        widths = f"{features.shape[1]} and {reference.shape[1]}"
        raise InvalidInput(f"features and reference have {widths} dimensions; equal ones are needed.")
    one, other = (np.unique(each.astype(np.float64), axis=0) for each in (features, reference))
    return one, other


def _kernel(one: Features, other: Features) -> Features:
    values: Features = (one @ other.T / one.shape[1] + 1) ** 3
    return values


def _half(random: np.random.Generator, n: int) -> Features:
    """Rows of `_HALVES` random halves: 1 where a video is in it."""
    places = random.permuted(np.tile(np.arange(n), (_HALVES, 1)), axis=1)
    chosen: Features = (places < n // 2).astype(np.float64)
    return chosen


def _mmd(one: Features, other: Features, within: Features, without: Features, across: Features) -> Features:
    """Unbiased squared MMD of subsets, told by rows of 0 and 1; the diagonals of the first two kernels are 0."""
    n, m = one.sum(axis=1), other.sum(axis=1)
    found: Features = (
        ((one @ within) * one).sum(axis=1) / (n * (n - 1))
        + ((other @ without) * other).sum(axis=1) / (m * (m - 1))
        - 2 * ((one @ across) * other).sum(axis=1) / (n * m)
    )
    return found


def _counted(n: int, m: int) -> str:
    return f"{n} distinct video{'s' if n != 1 else ''} against {m} of the reference set"
