"""Pictures and mattes against the truth."""

import json
import math

import numpy as np
import pytest
from skimage.metrics import mean_squared_error

from atelier.errors import InvalidInput
from atelier.evaluation.alpha import alpha_errors
from atelier.evaluation.describing import MATTES, METRICS, PICTURES
from atelier.evaluation.pictures import matte_metrics, picture_metrics
from tests.evaluation import clips


@pytest.fixture(scope="module")
def truth():
    return clips.panned(frames=1)[0]


@pytest.fixture(scope="module")
def mattes():
    """A true one with soft edges, and a worse one, uint8 [3, 48, 64]."""
    rows, columns = np.mgrid[:48, :64]
    truth = np.stack([1 / (1 + np.exp((np.hypot(rows - 24, columns - 20 - 3 * t) - 14) / 2)) for t in range(3)])
    noise = np.random.default_rng(5).normal(0, 0.08, truth.shape)
    return np.rint(np.clip(truth + noise, 0, 1) * 255).astype(np.uint8), np.rint(truth * 255).astype(np.uint8)


def test_a_picture_against_the_true_one(truth):
    picture = clips.grainy(truth)
    found = picture_metrics(picture, truth)
    assert found["truth_psnr"] == pytest.approx(10 * math.log10(65025 / mean_squared_error(picture, truth)), rel=1e-9)
    assert set(found) == {metric.name for metric in PICTURES}
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert picture_metrics(truth, truth) == {"truth_psnr": 100, "truth_ssim": pytest.approx(1), "truth_gmsd": 0}


@pytest.mark.parametrize(
    "spoil",
    [
        clips.grainy,
        lambda picture: clips.blurred(picture[None])[0],
        lambda picture: clips.white_noise(picture.shape),
    ],
)
def test_a_spoilt_picture_is_ranked_below_a_better_one(truth, spoil):
    better, worse = picture_metrics(clips.grainy(truth, 1), truth), picture_metrics(spoil(truth), truth)
    for name in better:
        assert (better[name] > worse[name]) == (METRICS[name].better == "higher")


def test_a_matte_against_the_true_one(mattes):
    matte, truth = mattes
    found = matte_metrics(matte, truth)
    assert set(found) == {metric.name for metric in MATTES}
    # Levels of 255: MAD and MSE in thousandths.
    assert found["alpha_mad"] == pytest.approx(1e3 * np.abs(matte.astype(int) - truth).mean() / 255, rel=1e-9)
    assert found["alpha_mse"] == pytest.approx(1e3 * mean_squared_error(matte, truth) / 255**2, rel=1e-9)
    errors = alpha_errors(matte / 255, truth / 255)
    assert (found["alpha_grad"], found["alpha_dtssd"], found["alpha_conn"]) == (errors.grad, errors.dtssd, errors.conn)


def test_a_matte_s_type_changes_nothing(mattes):
    matte, truth = mattes
    assert matte_metrics(matte / 255, truth) == pytest.approx(matte_metrics(matte, truth))
    # Conn counts the pixels above levels, and a rounding puts some of them on the other side.
    single = matte_metrics((matte / 255).astype(np.float32), truth)
    assert single == pytest.approx(matte_metrics(matte, truth), rel=0.01)


def test_a_picture_s_matte_has_no_changes(mattes):
    found = matte_metrics(mattes[0][0], mattes[1][0])
    assert found["alpha_dtssd"] is None
    assert found["alpha_mad"] > 0
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found == matte_metrics(mattes[0][:1], mattes[1][:1])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda matte: matte[:2], "two equal"),
        (lambda matte: matte.astype(np.int32), "the matte is int32; uint8, or floats in 0 to 1"),
        (lambda matte: matte.astype(np.float32), "outside 0 to 1"),
        (lambda matte: matte[0, 0], "two equal"),
    ],
)
def test_what_is_no_matte_is_refused(mattes, change, words):
    with pytest.raises(InvalidInput, match=words):
        matte_metrics(change(mattes[0]), mattes[1])


def test_pictures_of_two_sizes_are_refused(truth):
    with pytest.raises(InvalidInput, match="the picture and the true one are 64x96 and 128x96; they have to be of one"):
        picture_metrics(truth[:, :64], truth)
    with pytest.raises(InvalidInput, match="the true picture is 8x8; 16x16 pixels or more"):
        picture_metrics(truth, truth[:8, :8])
