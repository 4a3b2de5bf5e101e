"""The old numbers against sanity runs of the old script and its formulas written out, and why none of them judges."""

import math

import cv2
import numpy as np
import pytest
from scipy import ndimage, stats

from atelier.errors import InvalidInput
from atelier.evaluation.describing import LEGACY
from atelier.evaluation.legacy import NOTES, THRESHOLDS, legacy_clip_01, legacy_metrics
from tests.evaluation import clips

SIZE = (4, 240, 416, 3)


def test_a_still_of_white_noise_is_perfect():
    found = legacy_metrics(clips.repeated(clips.white_noise(SIZE)[0], 4))
    assert found["legacy_temporal_consistency"] == found["legacy_sharpness"] == 1
    assert round(found["legacy_overall"], 3) == 1
    assert round(found["legacy_pseudo_fvd"]) == 0


def test_white_noise_is_nearly_so():
    found = legacy_metrics(clips.white_noise(SIZE))
    assert round(found["legacy_overall"], 3) == pytest.approx(0.9, abs=0.0011)
    assert round(found["legacy_pseudo_fvd"]) == 100


def test_a_flat_grey_still_has_the_weight_of_its_stillness():
    found = legacy_metrics(np.full((3, 64, 64, 3), 128, np.uint8))
    assert list(found.values()) == pytest.approx([1, 0, 0, 0.4, 600])


def test_inversion_of_every_second_frame():
    """Levels spread evenly differ from their inverses by 127.5 on average: 1 / (1 + 1 / 2)."""
    levels = np.tile(np.arange(256, dtype=np.uint8)[None, :, None], (64, 1, 3))
    found = legacy_metrics(np.stack([levels, 255 - levels, levels]))
    assert found["legacy_temporal_consistency"] == pytest.approx(1 / 1.502, rel=1e-3)


def test_noise_is_ranked_above_a_photograph():
    photograph = clips.panned(frames=8)
    overall = [
        legacy_metrics(clip)["legacy_overall"]
        for clip in (
            clips.repeated(clips.white_noise(SIZE)[0], 4),
            clips.white_noise(SIZE),
            photograph,
            clips.inverted(photograph),
            clips.blurred(photograph),
            np.full((3, 64, 64, 3), 128, np.uint8),
        )
    ]
    assert overall == sorted(overall, reverse=True)


def test_the_formulas_written_out():
    clip = clips.blurred(clips.panned(frames=4), 0.8)
    differences = np.abs(np.diff(clip.astype(int), axis=0)).mean()
    greys = [np.rint(frame @ np.array([0.299, 0.587, 0.114])) for frame in clip]
    sharpness = np.mean([ndimage.laplace(grey, mode="mirror").var() for grey in greys]) / 500
    hues = [cv2.cvtColor(np.ascontiguousarray(frame[..., ::-1]), cv2.COLOR_BGR2HSV)[..., 0] for frame in clip]
    entropy = np.mean([stats.entropy(np.histogram(hue, 180, (0, 180))[0], base=2) for hue in hues])
    found = legacy_metrics(iter(clip))
    assert found["legacy_temporal_consistency"] == pytest.approx(1 / (1 + differences / 255), rel=1e-9)
    assert found["legacy_sharpness"] == pytest.approx(min(sharpness, 1), rel=1e-3)
    assert found["legacy_color_diversity"] == pytest.approx(entropy / 7.49, rel=1e-9)
    parts = [found[f"legacy_{name}"] for name in ("temporal_consistency", "sharpness", "color_diversity")]
    assert found["legacy_overall"] == pytest.approx(np.dot([0.4, 0.3, 0.3], parts), rel=1e-12)
    assert found["legacy_pseudo_fvd"] == pytest.approx(1000 - 1000 * found["legacy_overall"], rel=1e-12)


def test_sharpness_is_not_always_cut():
    found = legacy_metrics(clips.blurred(clips.panned(frames=2), 1.5))
    assert 0.01 < found["legacy_sharpness"] < 0.5


def test_one_frame_has_no_consistency():
    found = legacy_metrics(clips.panned(frames=1))
    missing = {name for name, value in found.items() if value is None}
    assert missing == {"legacy_temporal_consistency", "legacy_overall", "legacy_pseudo_fvd"}


def test_the_old_clip_score():
    assert [legacy_clip_01(cosine) for cosine in (-1, 0, 0.3, 1)] == pytest.approx([0, 0.5, 0.65, 1])
    assert legacy_clip_01(1.0000001) == pytest.approx(1)
    for none in (31.4, -1.1, math.nan):
        with pytest.raises(InvalidInput, match="is no cosine; -1 to 1 is accepted"):
            legacy_clip_01(none)


def test_no_video_fails_the_thresholds():
    """Full inversion of black and white, without a colour or an edge, is the worst that can be."""
    worst = np.zeros((4, 32, 32, 3), np.uint8)
    worst[1::2] = 255
    assert legacy_metrics(worst)["legacy_pseudo_fvd"] == pytest.approx(800)
    assert "800" in THRESHOLDS
    assert legacy_clip_01(-0.4) == pytest.approx(0.3)
    assert "-0.4" in THRESHOLDS


def test_each_old_number_says_what_is_wrong_with_it():
    names = [*legacy_metrics(clips.panned(frames=2)), "legacy_clip_01"]
    assert names == list(NOTES) == [metric.name for metric in LEGACY]
    assert {metric.about for metric in LEGACY} == set(NOTES.values())
    assert all("\n" not in note for note in NOTES.values())


def test_what_is_no_video_is_refused():
    with pytest.raises(InvalidInput, match="has no frames"):
        legacy_metrics([])
