"""What paired differences allow one to say: an interval, a test and a verdict, of which "no conclusion" is one.

A difference is variant minus base of one prompt and seed. Seeds of one prompt are not independent of each other: what
is counted, resampled and tested is therefore the prompt, by the mean over its seeds. Nothing here draws from a source
of chance that is not seeded: the same numbers give the same answer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from atelier.errors import InvalidInput

Better = Literal["higher", "lower"] | None
Verdict = Literal["better", "worse", "higher", "lower", "no conclusion", "no difference"]
Values = NDArray[np.float64]

LEVEL = 0.05
"""Of every test; intervals are 95 %."""
SMALLEST = 6
"""Prompts (or videos, where no prompts are told). Five that all point one way have p = 2/2**5 = 0.06: no test of
signs or ranks can reach 5 % on fewer than six."""
RESAMPLES = 9999
_SEED = 20261122


@dataclass(frozen=True)
class Comparison:
    """One metric of one variant against the base.

    Attributes:
        n: items with a value in both.
        groups: independent units among them.
        unit: what they are: prompts where they were told, else the pairs themselves.
        differences: item and value, as given, without the dropped ones.
        median: of the units; None without any.
        mean: of the units; None without any.
        low: of the 95 % interval of the median; None below `SMALLEST` units.
        high: likewise.
        p: two-sided, of `test`; None without a difference that is not 0.
        p_adjusted: after Holm's correction, where `adjust` was called.
        family: p values that the correction was over; 1 without one.
        test: its name; None without p.
        verdict: of what may be said.
        sentence: the same for people, with n and the reason.
        dropped: items without a finite difference.
    """

    n: int
    groups: int
    unit: Literal["pair", "prompt"]
    differences: tuple[tuple[str, float], ...]
    median: float | None
    mean: float | None
    low: float | None
    high: float | None
    p: float | None
    p_adjusted: float | None
    family: int
    test: Literal["Wilcoxon signed-rank", "sign"] | None
    verdict: Verdict
    sentence: str
    dropped: tuple[str, ...]
    better: Better

    def as_dict(self) -> dict[str, Any]:
        """For JSON: plain types, no NaN."""
        plain = asdict(self)
        plain["differences"] = [{"item": item, "value": value} for item, value in self.differences]
        plain["dropped"] = list(self.dropped)
        return plain


def compare(
    differences: Mapping[str, float | None], better: Better, groups: Mapping[str, str] | None = None
) -> Comparison:
    """Compare a variant with the base in one metric.

    Interval: bootstrap over the units, of their median, which one odd video cannot move; percentiles widened for small
    n as in Hesterberg 2015 (arXiv 1411.5279), since plain ones are too narrow (a nominal 95 % of 7 values covers
    87.5 %) and BCa is undefined for ties. Test: Wilcoxon's signed ranks, exact, without
    zeros; the sign test where at least half of the sizes are 0 or tied. The choice looks at sizes alone, never at
    signs, so it does not bend p. A verdict needs all three: `SMALLEST` units, p below 5 % and an interval without 0.

    Args:
        differences: variant minus base, by item. None, NaN and infinite ones are dropped, and reported.
        better: which way is good; None where neither is.
        groups: each item's prompt; None: items are independent.

    Returns:
        The comparison, without a correction for several metrics: see `adjust`.

    Raises:
        InvalidInput: an item has no group.
    """
    kept = {item: float(value) for item, value in differences.items() if value is not None and math.isfinite(value)}
    dropped = tuple(item for item in differences if item not in kept)
    values = _units(kept, groups)
    some = len(values) > 0
    p, test = _test(values)
    low, high = interval(values) if len(values) >= SMALLEST else (None, None)
    return _concluded(
        Comparison(
            n=len(kept),
            groups=len(values),
            unit="pair" if groups is None else "prompt",
            differences=tuple(kept.items()),
            median=float(np.median(values)) if some else None,
            mean=float(values.mean()) if some else None,
            low=low,
            high=high,
            p=p,
            p_adjusted=None,
            family=1,
            test=test,
            verdict="no conclusion",
            sentence="",
            dropped=dropped,
            better=better,
        )
    )


def adjust(comparisons: Mapping[str, Comparison]) -> dict[str, Comparison]:
    """Correct the p values of comparisons that are read together, and conclude again.

    Of fifteen metrics without any effect, one or the other has p below 5 % more often than not; a reader of the table
    would take that for a finding. So the verdict goes by Holm's p values over the table. It costs power: with fifteen
    metrics a conclusion takes about ten prompts, as 2/2**9 * 15 is still 0.06.

    Args:
        comparisons: by metric; those of one variant that are shown together.

    Returns:
        The same with `p_adjusted`, `family`, verdict and sentence.
    """
    adjusted = holm({name: each.p for name, each in comparisons.items()})
    family = sum(each.p is not None for each in comparisons.values())
    return {
        name: _concluded(replace(each, p_adjusted=adjusted[name], family=max(family, 1)))
        for name, each in comparisons.items()
    }


def holm(ps: Mapping[str, float | None]) -> dict[str, float | None]:
    """Holm's step-down p values (Holm 1979): the chance of even one false finding in the family stays below the level.

    Args:
        ps: by name; None is no test, and is not counted.

    Returns:
        By name, each at least as large as given and at most 1.

    Raises:
        InvalidInput: a p is outside 0..1.
    """
    known = sorted((p, name) for name, p in ps.items() if p is not None)
    adjusted: dict[str, float | None] = dict.fromkeys(ps)
    largest = 0.0
    for place, (p, name) in enumerate(known):
        if not 0 <= p <= 1:
            raise InvalidInput(f"p of {name} is {p}; 0 to 1 is accepted.")
        largest = max(largest, min(1.0, p * (len(known) - place)))
        adjusted[name] = largest
    return adjusted


def interval(values: Values) -> tuple[float, float]:
    """Bootstrap 95 % interval of the median, as `compare` describes it.

    Args:
        values: [n] of independent units, at least 2.

    Returns:
        Low and high.

    Raises:
        InvalidInput: fewer than 2.
    """
    n = len(values)
    if n < 2:
        raise InvalidInput(f"an interval of {n} value(s) is not possible; at least 2 are needed.")
    # The bootstrap takes the sample's spread for the population's, which is short by sqrt((n - 1) / n), and a normal
    # quantile for Student's; both are put right in the share that is cut off.
    tail = float(stats.norm.cdf(math.sqrt(n / (n - 1)) * stats.t.ppf(LEVEL / 2, n - 1)))
    found = stats.bootstrap(
        (values,),
        np.median,
        confidence_level=1 - 2 * tail,
        n_resamples=RESAMPLES,
        method="percentile",
        rng=np.random.default_rng(_SEED),
    ).confidence_interval
    return float(found.low), float(found.high)


def _units(kept: Mapping[str, float], groups: Mapping[str, str] | None) -> Values:
    """One value per independent unit: the mean over a group's items."""
    if groups is None:
        return np.array(list(kept.values()), dtype=np.float64)
    members: dict[str, list[float]] = {}
    for item, value in kept.items():
        if item not in groups:
            raise InvalidInput(f"item {item} has no group; each item with a difference needs its prompt.")
        members.setdefault(groups[item], []).append(value)
    return np.array([math.fsum(each) / len(each) for each in members.values()], dtype=np.float64)


def _test(values: Values) -> tuple[float | None, Literal["Wilcoxon signed-rank", "sign"] | None]:
    """Two-sided p against a median of 0."""
    different = values[values != 0]
    if not len(different):
        return None, None
    _, counts = np.unique(np.abs(different), return_counts=True)
    if 2 * int((counts == 1).sum()) <= len(values):
        return float(stats.binomtest(int((different > 0).sum()), len(different)).pvalue), "sign"
    return _signed_ranks(different), "Wilcoxon signed-rank"


def _signed_ranks(values: Values) -> float:
    """Exact two-sided p of Wilcoxon's test: the share of all 2**n signs whose rank sum is as far from the middle.

    SciPy is exact without ties only, and draws signs at random otherwise, slowly. Sums are built up one value at a
    time; ranks are doubled, so that those shared by ties are whole.
    """
    ranks = (2 * stats.rankdata(np.abs(values))).astype(np.int64)
    chances = np.zeros(int(ranks.sum()) + 1)
    chances[0] = 1
    for rank in ranks:
        chances[rank:] += chances[:-rank]
        chances /= 2
    away = np.abs(2 * np.arange(len(chances)) - len(chances) + 1)
    return float(min(1.0, chances[away >= away[ranks[values > 0].sum()]].sum()))


def _concluded(comparison: Comparison) -> Comparison:
    verdict, reason = _verdict(comparison)
    return replace(comparison, verdict=verdict, sentence=f"{verdict.capitalize()}{reason}{_lost(comparison)}")


def _verdict(c: Comparison) -> tuple[Verdict, str]:
    """The verdict, and why."""
    if c.median is None:
        return "no conclusion", ": there is no pair in which both have a value."
    if all(value == 0 for _, value in c.differences):
        return "no difference", f": base and variant are equal in all of {_counted(c)}."
    if c.groups < SMALLEST:
        many = f"{_counted(c)} {'is' if c.n == 1 else 'are'} too few; {SMALLEST} {c.unit}s are the least"
        return "no conclusion", f": {many} on which a test can reach p below {_number(LEVEL)}."
    p = c.p if c.p_adjusted is None else c.p_adjusted
    facts = f"median difference {_signed(c.median)}, 95 % interval {_signed(c.low)} to {_signed(c.high)}"
    facts = f": {facts}; {_counted(c)}, {_tested(c)}"
    includes = c.low is None or c.high is None or c.low <= 0 <= c.high
    if includes:
        return "no conclusion", f"{facts}; the interval includes 0."
    if p is None or p >= LEVEL:
        return "no conclusion", f"{facts}; p is not below {_number(LEVEL)}."
    up = c.median > 0
    if c.better is None:
        return ("higher" if up else "lower"), f"{facts}."
    return ("better" if up == (c.better == "higher") else "worse"), f"{facts}."


def _lost(c: Comparison) -> str:
    if not c.dropped:
        return ""
    return f" Left out, without a finite value in both: {_listed(c.dropped)}."


def _listed(names: Sequence[str], most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more}"


def _counted(c: Comparison) -> str:
    pairs = f"{c.n} pair{'s' if c.n != 1 else ''}"
    return pairs if c.unit == "pair" else f"{pairs} of {c.groups} prompt{'s' if c.groups != 1 else ''}"


def _tested(c: Comparison) -> str:
    if c.p is None:
        return "which cancel out in every prompt"
    corrected = (
        "" if c.p_adjusted is None else f" ({_number(c.p_adjusted)} with Holm's correction for {c.family} tests)"
    )
    return f"{c.test} test p = {_number(c.p)}{corrected}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2g}"


def _signed(value: float | None) -> str:
    return "–" if value is None else f"{value:+.3g}"
