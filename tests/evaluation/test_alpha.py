"""The errors of an alpha against independent computations: other libraries, and figures worked out by hand."""

import math

import numpy as np
import pytest
import torch
from scipy import ndimage
from skimage.measure import label
from torch.nn import functional

from atelier.errors import InvalidInput
from atelier.evaluation.alpha import SIGMA, alpha_errors


@pytest.fixture(scope="module")
def clips():
    """A soft disc that moves, and an alpha of it with noise, a hole and a blob apart."""
    rows, columns = np.mgrid[:48, :64]
    random = np.random.default_rng(5)
    truth = np.stack([1 / (1 + np.exp((np.hypot(rows - 24, columns - 20 - 3 * t) - 14) / 2)) for t in range(4)])
    alpha = np.clip(truth + random.normal(0, 0.08, truth.shape), 0, 1)
    alpha[1, 20:26, 18:30] = 0.3
    alpha[2, 2:9, 50:60] = 0.9
    return alpha.astype(np.float32), truth.astype(np.float32)


def test_mad_and_mse_are_pytorch_s(clips):
    alpha, truth = map(torch.from_numpy, clips)
    found = alpha_errors(*clips)
    assert found.mad == pytest.approx(float(functional.l1_loss(alpha, truth)) * 1e3, rel=1e-5)
    assert found.mse == pytest.approx(float(functional.mse_loss(alpha, truth)) * 1e3, rel=1e-5)


def test_grad_is_scipy_s(clips):
    """SciPy's Gaussian derivative, cut where the benchmark cuts it; both are scaled so that their squares sum to 1."""
    radius = math.ceil(SIGMA * math.sqrt(-2 * math.log(math.sqrt(2 * math.pi) * SIGMA * 1e-2)))
    impulse = np.zeros((2 * radius + 1, 2 * radius + 1))
    impulse[radius, radius] = 1

    def gradient(plane):
        parts = []
        for order in ((0, 1), (1, 0)):
            options = {"sigma": SIGMA, "order": order, "radius": radius}
            kernel = ndimage.gaussian_filter(impulse, mode="constant", **options)
            parts.append(ndimage.gaussian_filter(plane, mode="nearest", **options) / np.sqrt((kernel**2).sum()))
        return np.hypot(*parts)

    pairs = [clip.astype(np.float64) for clip in clips]
    expected = np.mean([((gradient(a) - gradient(t)) ** 2).sum() / 1e3 for a, t in zip(*pairs, strict=True)])
    assert alpha_errors(*clips).grad == pytest.approx(expected, rel=1e-6)


def test_dtssd_is_that_of_the_changes(clips):
    alpha, truth = (clip.astype(np.float64) for clip in clips)
    roots = [math.sqrt((((alpha[t] - alpha[t - 1]) - (truth[t] - truth[t - 1])) ** 2).mean()) for t in range(1, 4)]
    assert alpha_errors(*clips).dtssd == pytest.approx(100 * sum(roots) / 3, rel=1e-9)
    assert math.isnan(alpha_errors(clips[0][:1], clips[1][:1]).dtssd)


def test_conn_is_scikit_image_s_components(clips):
    def connectivity(alpha, truth):
        reached = np.ones(alpha.shape)
        open_ = np.ones(alpha.shape, bool)
        for step in range(1, 11):
            level = np.arange(0, 1.1, 0.1)[step]
            parts = label((alpha >= level) & (truth >= level), connectivity=1)
            sizes = np.bincount(parts.ravel())[1:]
            largest = parts == (sizes.argmax() + 1) if len(sizes) else np.zeros(alpha.shape, bool)
            reached[open_ & ~largest] = np.arange(0, 1.1, 0.1)[step - 1]
            open_ &= largest
        phi = [1 - np.where(v - reached >= 0.15, v - reached, 0) for v in (alpha, truth)]
        return np.abs(phi[0] - phi[1]).sum() / 1e3

    expected = np.mean([connectivity(a, t) for a, t in zip(*(c.astype(np.float64) for c in clips), strict=True)])
    assert alpha_errors(*clips).conn == pytest.approx(expected, rel=1e-9)
    assert expected > 0.05  # the hole and the blob count


def test_figures_that_can_be_worked_out_by_hand():
    truth = np.zeros((2, 10, 10))
    half = np.full_like(truth, 0.5)
    found = alpha_errors(half, truth)
    assert (found.mad, found.mse, found.grad, found.dtssd) == (pytest.approx(500), pytest.approx(250), 0, 0)
    # Nothing is connected at any level, so every pixel of the alpha is 0.5 too far: 100 pixels, over 1000.
    assert found.conn == pytest.approx(0.05)
    blinking = np.stack([np.zeros((10, 10)), np.ones((10, 10))])
    assert alpha_errors(blinking, truth).dtssd == pytest.approx(100)


def test_an_alpha_has_no_error_against_itself(clips):
    found = alpha_errors(clips[1], clips[1])
    assert (found.mad, found.mse, found.grad, found.dtssd, found.conn) == (0, 0, 0, 0, 0)


@pytest.mark.parametrize(
    ("alpha", "truth", "words"),
    [
        (np.zeros((1, 4, 4)), np.zeros((2, 4, 4)), "two equal"),
        (np.zeros((4, 4)), np.zeros((4, 4)), "two equal"),
        (np.zeros((0, 4, 4)), np.zeros((0, 4, 4)), "two equal"),
        (np.full((1, 4, 4), 255.0), np.zeros((1, 4, 4)), "alpha holds values outside"),
        (np.zeros((1, 4, 4)), np.full((1, 4, 4), np.nan), "truth holds values outside"),
    ],
)
def test_what_is_no_alpha_is_refused(alpha, truth, words):
    with pytest.raises(InvalidInput, match=words):
        alpha_errors(alpha, truth)
