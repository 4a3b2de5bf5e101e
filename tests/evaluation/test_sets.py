"""FVD and KVD: against SciPy, formulas by hand, loops over pairs and simulation; and when they are refused."""

import json
import math

import numpy as np
import pytest
from scipy import linalg

from atelier.errors import InvalidInput
from atelier.evaluation.sets import FVD_SMALLEST, KVD_SMALLEST, frechet_distance, fvd, kvd


def drawn(seed, n, width=6, shift=0.0, scale=1.0):
    return np.random.default_rng(seed).normal(shift, scale, (n, width))


def mixed(seed, n, width=6):
    """With covariances of all kinds."""
    return drawn(seed, n, width) @ drawn(seed + 1, width, width) + drawn(seed + 2, 1, width)


def test_the_frechet_distance_is_scipys_root():
    one, other = mixed(1, 300), mixed(5, 400)
    first, second = np.cov(one.T), np.cov(other.T)
    root = linalg.sqrtm(first @ second)
    expected = np.sum((one.mean(0) - other.mean(0)) ** 2) + np.trace(first + second - 2 * root.real)
    assert frechet_distance(one, other) == pytest.approx(expected, rel=1e-9)
    assert frechet_distance(other, one) == pytest.approx(expected, rel=1e-9)


def test_the_frechet_distance_of_one_dimension_is_that_of_means_and_deviations():
    one, other = drawn(1, 50, 1), drawn(2, 60, 1, shift=3, scale=2)
    expected = (one.mean() - other.mean()) ** 2 + (one.std(ddof=1) - other.std(ddof=1)) ** 2
    assert frechet_distance(one, other) == pytest.approx(expected)


def test_the_frechet_distance_stays_real_where_the_covariance_has_not_full_rank():
    few = mixed(3, 10, 40)
    assert frechet_distance(few, few) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(few, few + 2) == pytest.approx(40 * 4)
    turned = linalg.qr(drawn(9, 40, 40))[0]
    other = mixed(7, 12, 40)
    assert frechet_distance(few @ turned, other @ turned) == pytest.approx(frechet_distance(few, other))


def test_the_reason_for_the_smallest_number_is_true():
    """Two samples of one distribution of 400 dimensions: far from 0 on few videos, and less so on more."""
    of = {n: frechet_distance(drawn(1, n, 400), drawn(2, n, 400)) for n in (16, 256, 1024)}
    assert of[16] > 2 * of[256] > 4 * of[1024] > 0
    assert of[16] > 500  # the trace of a whole covariance is 400


def test_fvd_of_enough_videos_is_the_distance():
    one, other = drawn(1, FVD_SMALLEST), drawn(2, FVD_SMALLEST + 4, shift=1)
    found = fvd(one, other)
    assert found.value == pytest.approx(frechet_distance(one, other))
    assert (found.n, found.reference, found.low, found.high) == (FVD_SMALLEST, FVD_SMALLEST + 4, None, None)
    assert "biased upwards" in found.sentence
    assert fvd(one, one).value == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    ("n", "reference"), [(3, 3), (3, 0), (FVD_SMALLEST - 1, 500), (500, FVD_SMALLEST - 1), (500, 0)]
)
def test_fvd_of_few_videos_is_refused_with_the_reason(n, reference):
    found = fvd(drawn(1, n, 400), drawn(2, reference, 400))
    assert found.value is None
    assert found.sentence.startswith(f"FVD: not computed: {n} distinct videos against {reference} of the reference set")
    assert "covariance of 400 dimensions" in found.sentence
    json.dumps(found.as_dict(), allow_nan=False)


def test_repeats_do_not_make_a_set_larger():
    three = np.tile(drawn(1, 3), (100, 1))
    assert fvd(three, drawn(2, 300)).value is None
    assert fvd(three, drawn(2, 300)).n == 3
    assert kvd(three, drawn(2, 300)).value is None
    once, again = drawn(1, 20), drawn(2, 20, shift=1)
    assert kvd(np.repeat(once, 2, axis=0), again).value == pytest.approx(kvd(once, again).value)


def test_kvd_is_the_mean_over_pairs():
    one, other = drawn(1, 9, 5), drawn(2, 11, 5, shift=0.5)

    def kernel(a, b):
        return (sum(x * y for x, y in zip(a, b, strict=True)) / 5 + 1) ** 3

    within = [kernel(a, b) for i, a in enumerate(one) for j, b in enumerate(one) if i != j]
    without = [kernel(a, b) for i, a in enumerate(other) for j, b in enumerate(other) if i != j]
    across = [kernel(a, b) for a in one for b in other]
    expected = math.fsum(within) / 72 + math.fsum(without) / 110 - 2 * math.fsum(across) / 99
    found = kvd(one, other)
    assert found.value == pytest.approx(expected)
    assert found.low < found.value < found.high
    assert kvd(one, other) == found  # nothing is left to chance
    assert kvd(other, one).value == pytest.approx(expected)


def test_kvd_is_unbiased_and_its_interval_covers_the_truth():
    """One dimension: the means of (xy + 1)³ follow from the moments. Twelve videos a side, 150 draws."""
    moments = [1, 0.5, 1.25, 1.625]  # of a normal with mean 0.5
    other = [1, 0, 1, 0]  # with mean 0
    terms = list(zip([1, 3, 3, 1], moments, other, strict=True))
    truth = sum(c * (a * a + b * b - 2 * a * b) for c, a, b in terms)
    found = [kvd(drawn(2 * k, 12, 1, shift=0.5), drawn(2 * k + 1, 12, 1)) for k in range(150)]
    values = np.array([each.value for each in found])
    assert abs(values.mean() - truth) < 3 * values.std() / math.sqrt(150)
    assert np.mean([each.low <= truth <= each.high for each in found]) >= 0.88


def test_kvd_of_one_distribution_has_0_in_its_interval():
    found = [kvd(drawn(2 * k, KVD_SMALLEST, 400), drawn(2 * k + 1, KVD_SMALLEST, 400)) for k in range(20)]
    assert sum(each.low <= 0 <= each.high for each in found) >= 19
    assert "no difference is shown" in found[0].sentence
    apart = kvd(drawn(1, 40, 400), drawn(2, 40, 400, shift=0.5))
    assert apart.low > 0
    assert "no difference" not in apart.sentence


def test_kvd_of_few_videos_is_refused_with_the_reason():
    found = kvd(drawn(1, KVD_SMALLEST - 1), drawn(2, 100))
    assert (found.value, found.low, found.high) == (None, None, None)
    assert "needs at least 8 on either side, as its interval is made from halves" in found.sentence
    assert kvd(drawn(1, KVD_SMALLEST), drawn(2, KVD_SMALLEST)).value is not None


@pytest.mark.parametrize("measure", [fvd, kvd])
@pytest.mark.parametrize(
    ("one", "other", "words"),
    [
        (np.zeros((3, 4)), np.zeros((3, 5)), "4 and 5 dimensions"),
        (np.zeros(3), np.zeros((3, 5)), r"features is \[3\]"),
        (np.zeros((3, 4)), np.full((3, 4), np.nan), "reference is"),
    ],
)
def test_what_is_no_features_is_refused(measure, one, other, words):
    with pytest.raises(InvalidInput, match=words):
        measure(one, other)
