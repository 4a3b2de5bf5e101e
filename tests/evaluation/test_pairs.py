"""Distances between two videos against independent computations."""

import hashlib
import json
import math

import numpy as np
import pytest
from scipy import ndimage
from skimage.metrics import mean_squared_error

from atelier.errors import InvalidInput
from atelier.evaluation.arrays import luma
from atelier.evaluation.describing import PAIRS
from atelier.evaluation.pairs import CAP, file_digest, first_frame_metrics, gmsd, pair_metrics, psnr, ssim
from tests.evaluation import clips


@pytest.fixture(scope="module")
def pair():
    clip = clips.panned(frames=3)
    return clip, clips.grainy(clip)


def test_psnr_is_that_of_scikit_image_s_error(pair):
    first, second = pair
    errors = [mean_squared_error(a, b) for a, b in zip(first, second, strict=True)]
    assert psnr(first[0], second[0]) == pytest.approx(20 * math.log10(255) - 10 * math.log10(errors[0]), rel=1e-9)
    # All frames' squares together, not a mean of decibels.
    assert pair_metrics(first, second)["psnr"] == pytest.approx(10 * math.log10(65025 / np.mean(errors)), rel=1e-9)
    half = np.stack([first[0], 255 - first[1]])
    expected = 10 * math.log10(65025 / (mean_squared_error(first[1], half[1]) / 2))
    assert pair_metrics(first[:2], half)["psnr"] == pytest.approx(expected, rel=1e-9)


def test_ssim_is_wang_s_formula(pair):
    """Means and sample variances in windows of 7 x 7, by SciPy; the mean leaves out what a window does not fit on."""
    one, two = (luma(clip[0]).astype(np.float64) for clip in pair)

    def mean(plane):
        return ndimage.uniform_filter(plane, 7)

    sample = 49 / 48
    u, v = mean(one), mean(two)
    spread = sample * (mean(one**2) - u**2) + sample * (mean(two**2) - v**2)
    together = sample * (mean(one * two) - u * v)
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    scores = (2 * u * v + c1) * (2 * together + c2) / ((u**2 + v**2 + c1) * (spread + c2))
    assert ssim(pair[0][0], pair[1][0]) == pytest.approx(scores[3:-3, 3:-3].mean(), rel=1e-4)


@pytest.mark.parametrize("size", [(96, 128), (95, 127)])
def test_gmsd_is_the_paper_s_formula(pair, size):
    maps = []
    for clip in pair:
        plane = luma(clip[0][: size[0], : size[1]]).astype(np.float64)
        half = ndimage.correlate(plane, np.full((2, 2), 0.25), origin=-1)[
            : size[0] // 2 * 2 : 2, : size[1] // 2 * 2 : 2
        ]
        maps.append(np.sqrt(sum(ndimage.prewitt(half, axis, mode="nearest") ** 2 for axis in (0, 1))) / 3)
    one, two = maps
    similarity = (2 * one * two + 170) / (one**2 + two**2 + 170)
    expected = math.sqrt(((similarity - similarity.mean()) ** 2).mean())
    assert gmsd(*(clip[0][: size[0], : size[1]] for clip in pair)) == pytest.approx(expected, rel=1e-9)
    assert expected > 0.01


def test_mean_absolute_difference_and_means_over_frames(pair):
    found = pair_metrics(*pair)
    assert found["mean_absolute_difference"] == pytest.approx(np.abs(pair[0].astype(int) - pair[1]).mean(), rel=1e-9)
    each = list(zip(*pair, strict=True))
    assert found["ssim"] == pytest.approx(sum(ssim(a, b) for a, b in each) / 3, rel=1e-12)
    assert found["gmsd"] == pytest.approx(sum(gmsd(a, b) for a, b in each) / 3, rel=1e-12)


def test_a_video_has_no_distance_from_itself(pair):
    found = pair_metrics(pair[0], iter(pair[0].copy()))
    assert found == {
        "psnr": CAP,
        "ssim": pytest.approx(1, abs=1e-12),
        "mean_absolute_difference": 0,
        "gmsd": 0,
        "equal_frames": 1,
    }


def test_distances_are_the_same_both_ways(pair):
    assert pair_metrics(*pair) == pytest.approx(pair_metrics(*reversed(pair)), rel=1e-9)


def test_a_shift_of_all_levels_is_seen_by_all_but_gmsd(pair):
    clip = pair[0] // 2
    found = pair_metrics(clip, clip + np.uint8(10))
    assert (found["gmsd"], found["equal_frames"]) == (pytest.approx(0, abs=0.002), 0)
    assert found["psnr"] == pytest.approx(10 * math.log10(255**2 / 10**2), rel=1e-9)
    assert found["mean_absolute_difference"] == 10
    assert found["ssim"] < 0.99


@pytest.mark.parametrize("distort", [clips.grainy, clips.blurred])
def test_more_of_a_distortion_is_a_greater_distance(pair, distort):
    little, much = (pair_metrics(pair[0], distort(pair[0], strength)) for strength in (1, 4))
    assert little["psnr"] > much["psnr"] + 3
    assert little["ssim"] > much["ssim"] + 0.02
    assert little["mean_absolute_difference"] < much["mean_absolute_difference"] / 1.5
    assert little["gmsd"] < much["gmsd"] / 1.5


def test_one_value_that_differs_is_no_equality(pair):
    other = pair[0].copy()
    other[1, 5, 5, 2] ^= 1
    found = pair_metrics(pair[0], other)
    assert found["equal_frames"] == pytest.approx(2 / 3)
    assert 90 < found["psnr"] <= CAP


def test_every_distance_is_described_and_goes_into_json(pair):
    found = pair_metrics(*pair)
    assert set(found) == {metric.name for metric in PAIRS}
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_the_first_frame_against_the_picture(pair):
    picture, frame = pair[0][0], pair[1][0]
    found = first_frame_metrics(picture, frame)
    assert found["first_frame_psnr"] == pytest.approx(10 * math.log10(65025 / mean_squared_error(picture, frame)))
    assert found["first_frame_ssim"] == ssim(picture, frame)
    assert found["first_frame_ssim"] > first_frame_metrics(picture, clips.white_noise(frame.shape))["first_frame_ssim"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda clip: clip[:2], "the first video has more than the 2 frames of the other"),
        (lambda clip: np.concatenate([clip, clip]), "the second video has more than the 3 frames of the other"),
        (lambda clip: clip[:, :64], "128x96 and 128x64; they have to be of one size"),
        (lambda clip: clip[:0], "the second video has no frames"),
        (lambda clip: clip.astype(np.float32), "frame 0 of the second video is float32"),
    ],
)
def test_what_does_not_fit_together_is_refused(pair, change, words):
    with pytest.raises(InvalidInput, match=words):
        pair_metrics(pair[0], change(pair[0]))


def test_files_are_compared_by_their_bytes(tmp_path):
    files = [tmp_path / name for name in ("기본 영상.mp4", "로라 영상.mp4", "다른 영상.mp4")]
    for file, content in zip(files, (b"same" * 1000, b"same" * 1000, b"sane" * 1000), strict=True):
        file.write_bytes(content)
    base, equal, other = map(file_digest, files)
    assert base == equal == hashlib.sha256(b"same" * 1000).hexdigest() != other
    for missing in (tmp_path / "없는 영상.mp4", tmp_path):
        with pytest.raises(InvalidInput, match=f"{missing.name} is no file"):
            file_digest(missing)
