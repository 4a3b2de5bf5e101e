"""The measures, against values that were worked out by hand."""

import math

import numpy as np
import pytest

from training import quality
from training.quality import Outcome


def outcome(mse, category="a", source="s", values=3, group="pages"):
    return Outcome(group, category, source, values, 0.1, mse, dict.fromkeys(mse, 0.5))


def flat(level, side=16):
    return np.full((side, side, 3), level, np.uint8)


def hole(rows, columns, side=16):
    mask = np.zeros((side, side), np.uint8)
    mask[rows, columns] = 1
    return mask


def test_the_error_is_that_of_the_hole_alone():
    truth, painted = flat(100), flat(0)  # far off outside
    mask = hole(slice(0, 1), slice(0, 2))
    painted[0, 0], painted[0, 1] = (100, 103, 96), (100, 100, 100)
    assert quality.mean_squared_error(truth, painted, mask) == pytest.approx((9 + 16) / 6)


def test_an_error_of_all_levels_does_not_wrap_around():
    mask = hole(slice(0, 2), slice(0, 2))
    assert quality.mean_squared_error(flat(0), flat(255), mask) == 255**2
    assert quality.mean_squared_error(flat(255), flat(0), mask) == 255**2


@pytest.mark.parametrize(("error", "expected"), [(1, 48.1308), (100, 28.1308), (255**2, 0), (0, math.inf)])
def test_psnr(error, expected):
    assert quality.psnr(error) == pytest.approx(expected, abs=1e-4)


def test_one_picture_counts_for_the_cap_at_most():
    assert outcome({"m": 0.0}).psnr("m") == quality.CAP == 60
    assert outcome({"m": 1e-9}).psnr("m") == 60
    assert outcome({"m": 1.0}).psnr("m") == pytest.approx(48.1308, abs=1e-4)


def test_similarity_of_flat_pictures():
    """Without variance SSIM is (2ab + c) / (a² + b² + c), c = (0.01 · 255)² (Wang et al. 2004, equation 13)."""
    c = 2.55**2
    expected = (2 * 100 * 120 + c) / (100**2 + 120**2 + c)
    mask = hole(slice(4, 8), slice(4, 8))
    assert quality.ssim(flat(100), flat(120), mask) == pytest.approx(expected, abs=1e-6)
    assert quality.ssim(flat(100), flat(100), mask) == 1


def test_similarity_is_that_of_the_hole():
    painted = flat(100, 32)
    painted[:, 20:] = 255
    assert quality.ssim(flat(100, 32), painted, hole(slice(0, 32), slice(0, 12), 32)) == 1
    assert quality.ssim(flat(100, 32), painted, hole(slice(0, 32), slice(24, 32), 32)) < 0.8


@pytest.mark.parametrize("measure", [quality.mean_squared_error, quality.ssim])
def test_what_does_not_go_together_is_refused(measure):
    with pytest.raises(ValueError, match="no hole"):
        measure(flat(1), flat(1), np.zeros((16, 16), np.uint8))
    with pytest.raises(ValueError, match="do not go together"):
        measure(flat(1), flat(1, 24), hole(0, 0))
    with pytest.raises(ValueError, match="do not go together"):
        measure(flat(1), flat(1), hole(0, 0, 24))


def test_a_score_is_a_mean_of_pictures_and_the_error_of_all_holes():
    score = quality.score([outcome({"m": 1.0}, values=30), outcome({"m": 100.0}, values=10)], "m")
    assert score.psnr == pytest.approx((48.1308 + 28.1308) / 2, abs=1e-4)
    assert score.pooled_psnr == pytest.approx(10 * math.log10(255**2 / 25.75))
    assert score.ssim == 0.5
    assert quality.score([outcome({"m": 0.0})], "m").pooled_psnr is None
    with pytest.raises(ValueError, match="nothing"):
        quality.score([], "m")


# In decades of error, hence in steps of 10 dB: on page 1 x is best and m second, on the others m is best.
PAGES = [
    outcome({"m": 10.0, "x": 1.0, "y": 100.0}, "a", "1"),
    outcome({"m": 1.0, "x": 10.0, "y": 100.0}, "a", "2"),
    outcome({"m": 1.0, "x": 1000.0, "y": 100.0}, "b", "3"),
    outcome({"m": 1.0, "x": 10000.0, "y": 100.0}, "b", "4"),
]


def test_a_comparison_is_with_the_better_of_the_others():
    assert quality.better(PAGES, ("x", "y")) == "y"  # 40, 30, 10, 0 below x's best, against 20 on each
    found = quality.compare(PAGES, "m", ("x", "y"), seed=0)
    assert found.baseline == "y"
    assert found.gain == pytest.approx((10 + 20 + 20 + 20) / 4)
    assert found.low <= found.gain <= found.high
    assert quality.compare(PAGES[:2], "m", ("x", "y"), seed=0).baseline == "x"


def test_with_the_better_of_every_category():
    found = quality.compare(PAGES, "m", ("x", "y"), seed=0)
    assert found.gain_by_category == pytest.approx((-10 + 10 + 20 + 20) / 4)


def test_a_picture_is_won_against_all_others_and_not_by_a_tie():
    assert quality.compare(PAGES, "m", ("x", "y"), seed=0).won == 0.75
    assert quality.compare([outcome({"m": 0.0, "x": 0.0})], "m", ("x",), seed=0).won == 0


def test_one_source_has_no_interval():
    found = quality.compare([outcome({"m": 1.0, "x": 10.0}), outcome({"m": 1.0, "x": 100.0})], "m", ("x",), seed=0)
    assert (found.gain, found.low, found.high) == (pytest.approx(15), None, None)


def test_the_interval_of_many_independent_values_is_the_normal_one():
    values = np.random.default_rng(3).normal(2, 1, 400).tolist()
    low, high = quality.interval(values, [str(i) for i in range(400)], seed=0)
    error = 1.96 * np.std(values) / 20
    assert low == pytest.approx(np.mean(values) - error, abs=0.02)
    assert high == pytest.approx(np.mean(values) + error, abs=0.02)


def test_sources_are_drawn_whole():
    """Of two sources only three means can be drawn: 0 and 0, 0 and 3, 3 and 3; values on their own would average."""
    values, sources = [0.0] * 50 + [3.0] * 50, ["a"] * 50 + ["b"] * 50
    assert quality.interval(values, sources, seed=0) == (0, 3)
    low, high = quality.interval(values, [str(i) for i in range(100)], seed=0)
    assert 1.1 < low < 1.5 < high < 1.9


def test_the_seed_decides_the_draws():
    values, sources = [1.0, 2.0, 4.0, 8.0, 9.5], list("abcde")
    assert quality.interval(values, sources, seed=5) == quality.interval(values, sources, seed=5)
    with pytest.raises(ValueError, match="0 values"):
        quality.interval([], [], seed=0)
    with pytest.raises(ValueError, match="2 values of 1 sources"):
        quality.interval([1.0, 2.0], ["a"], seed=0)
