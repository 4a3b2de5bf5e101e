"""Measures of one video against independent computations, and where they have nothing to say."""

import json
import math
import weakref
from fractions import Fraction

import numpy as np
import pytest
from scipy import ndimage, signal
from skimage.color import rgb2lab

from atelier.errors import InvalidInput
from atelier.evaluation.arrays import luma
from atelier.evaluation.describing import METRICS, VIDEO
from atelier.evaluation.frames import (
    NEIGHBOURS,
    colourfulness,
    frame_metrics,
    noise_sigma,
    sharpness_laplacian,
    sharpness_tenengrad,
    video_metrics,
)
from atelier.evaluation.motion import both_flows, consistent, motion
from atelier.media.video import CODECS, Facts, VideoWriter, open_video
from tests.evaluation import clips


@pytest.fixture(scope="module")
def clip():
    return clips.panned(frames=6)


@pytest.fixture(scope="module")
def grey(clip):
    return luma(clip[0])


def test_luma_is_that_of_bt_601(clip, grey):
    assert np.abs(clip[0] @ [0.299, 0.587, 0.114] - grey).max() <= 0.51


def test_sharpness_is_scipy_s(grey):
    kernel = [[0, 1, 0], [1, -4, 1], [0, 1, 0]]
    plane = grey.astype(np.float64)
    assert sharpness_laplacian(grey) == pytest.approx(ndimage.convolve(plane, kernel, mode="mirror").var(), rel=1e-9)
    squares = sum(ndimage.sobel(plane, axis, mode="mirror") ** 2 for axis in (0, 1))
    assert sharpness_tenengrad(grey) == pytest.approx(squares.mean(), rel=1e-9)


def test_noise_is_that_of_the_paper_s_formula(grey):
    mask = [[1, -2, 1], [-2, 4, -2], [1, -2, 1]]
    height, width = grey.shape
    total = np.abs(signal.convolve2d(grey.astype(np.float64), mask, mode="valid")).sum()
    expected = math.sqrt(math.pi / 2) * total / (6 * (width - 2) * (height - 2))
    assert noise_sigma(grey) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("sigma", [2, 5, 15])
def test_noise_that_was_added_is_found(sigma):
    ramp = np.tile(np.linspace(90, 160, 320), (240, 1))  # a slope has no noise
    noisy = np.rint(ramp + np.random.default_rng(3).normal(0, sigma, ramp.shape)).astype(np.uint8)
    assert noise_sigma(noisy) == pytest.approx(math.hypot(sigma, 1 / math.sqrt(12)), rel=0.03)


def test_lightness_is_scikit_image_s(clip):
    """To what OpenCV's table of cube roots allows, 0.2."""
    lightness = rgb2lab(clip[0])[..., 0]
    found = frame_metrics(clip[0])
    assert found["lightness_mean"] == pytest.approx(lightness.mean(), abs=0.2)
    assert found["lightness_std"] == pytest.approx(lightness.std(), abs=0.2)


def test_colourfulness_and_clipping_by_hand():
    frame = np.zeros((16, 16, 3), np.uint8)
    frame[:8] = (255, 0, 0)
    # R - G and (R + G) / 2 - B are 255 and 127.5 on one half, 0 on the other: means and deviations are half of that.
    assert colourfulness(frame) == pytest.approx(1.3 * math.hypot(127.5, 63.75), rel=1e-12)
    assert frame_metrics(frame)["clipped_share"] == 1
    frame[:] = (1, 254, 255)
    assert frame_metrics(frame)["clipped_share"] == pytest.approx(1 / 3)
    assert colourfulness(np.full((16, 16, 3), 90, np.uint8)) == 0


def test_flicker_is_vbench_s_formula(clip):
    differences = [np.abs(a.astype(int) - b).mean() for a, b in zip(clip[1:], clip[:-1], strict=True)]
    assert video_metrics(clip)["temporal_flicker"] == pytest.approx((255 - np.mean(differences)) / 255, rel=1e-12)


def test_a_shift_of_all_levels_changes_no_sharpness_noise_or_motion():
    clip = (clips.panned(frames=4) // 2 + 40).astype(np.uint8)
    found, shifted = video_metrics(clip), video_metrics(clip + np.uint8(60))
    for name in ("sharpness_laplacian", "sharpness_tenengrad", "noise_sigma", "temporal_flicker", "motion_magnitude"):
        assert shifted[name] == pytest.approx(found[name], rel=0.01)
    assert shifted["lightness_mean"] > found["lightness_mean"] + 10


def test_motion_is_that_of_the_pan(clip):
    found = video_metrics(clip)
    assert found["motion_magnitude"] == pytest.approx(math.hypot(1.5, 0.5), rel=0.05)
    assert found["motion_relative"] == pytest.approx(100 * found["motion_magnitude"] / 160, rel=1e-9)  # 96, 128, 160
    flow, back = both_flows(clip[0], clip[1])
    assert np.median(flow, axis=(0, 1)) == pytest.approx([-1.5, -0.5], abs=0.1)
    assert np.median(back, axis=(0, 1)) == pytest.approx([1.5, 0.5], abs=0.1)


def test_warping_error_is_scipy_s(clip):
    """SciPy brings the next frame back along the same flow, and finds where the two flows agree."""
    flow, back = (plane.astype(np.float64) for plane in both_flows(clip[0], clip[1]))
    rows, columns = np.mgrid[:96, :128]
    places = [rows + flow[..., 1], columns + flow[..., 0]]

    def fetched(planes):
        found = [ndimage.map_coordinates(plane, places, order=1, mode="nearest") for plane in np.moveaxis(planes, 2, 0)]
        return np.stack(found, axis=2)

    returned = fetched(back)
    lengths = (flow**2).sum(2) + (returned**2).sum(2)
    followed = ((flow + returned) ** 2).sum(2) < 0.01 * lengths + 0.5
    followed &= (places[0] >= 0) & (places[0] <= 95) & (places[1] >= 0) & (places[1] <= 127)
    squares = (clip[0] / 255 - fetched(clip[1].astype(np.float64)) / 255) ** 2
    found = motion(clip[0], clip[1])
    # OpenCV's remap places pixels to a 32nd; no more than that sets the two apart.
    assert found.error == pytest.approx(1e3 * squares[followed].mean(), rel=0.02)
    assert found.lost == pytest.approx(1 - followed.mean(), abs=0.002)


def test_flow_that_does_not_lead_back_or_leads_outside_is_lost():
    flow = np.zeros((20, 30, 2), np.float32)
    flow[..., 0] = 2
    back = -flow
    back[5:9, 10:16] = (3, 0)
    expected = np.ones((20, 30), bool)
    expected[:, 28:] = False  # leads outside
    expected[5:9, 8:14] = False  # arrives where the way back leads elsewhere
    assert np.array_equal(consistent(flow, back), expected)


def test_what_a_moving_thing_uncovers_is_left_out():
    background = clips.panned("chelsea", 1)[0]
    thing = clips.panned("coffee", 1)[0][:32, :32]
    pair = []
    for left in (30, 36):
        frame = background.copy()
        frame[30:62, left : left + 32] = thing
        pair.append(frame)
    followed = consistent(*both_flows(*pair))
    assert followed[30:62, 62:68].mean() < 0.3  # covered in the next frame
    assert followed[:24].mean() > 0.95
    everything = np.square((pair[0].astype(float) - pair[1]) / 255).mean() * 1e3
    assert motion(*pair).error < everything / 5


def test_frozen_repeated_and_black_frames():
    a, b = clips.panned(frames=2)
    black = np.full_like(a, 20)
    found = video_metrics(np.stack([a, a, b, b, a, a, black, b]))
    # After the first: frozen, new, frozen, repeated, frozen, new, repeated.
    assert (found["frozen_share"], found["duplicate_share"]) == (pytest.approx(3 / 7), pytest.approx(2 / 7))
    assert found["black_share"] == pytest.approx(1 / 8)


def test_the_least_that_is_a_repeat_or_a_change():
    a, b = clips.panned(frames=2)
    # The shortest way back: to the frame before the one before.
    assert video_metrics([a, b, a])["duplicate_share"] == 1 / 2
    a = a // 2
    speck = a.copy()
    speck[40, 40] += 30  # half a level of its cell
    assert video_metrics([a, speck])["frozen_share"] == 1
    assert video_metrics([a, a + np.uint8(2)])["frozen_share"] == 0


def test_a_frame_is_black_up_to_the_stated_level_and_share():
    frame = np.full((20, 50, 3), 25, np.uint8)
    frame[0, :20] = 200  # 2 % of the pixels
    assert video_metrics([frame])["black_share"] == 1
    frame[0, 20] = 200
    assert video_metrics([frame])["black_share"] == 0
    assert video_metrics([np.full((20, 50, 3), 26, np.uint8)])["black_share"] == 0


@pytest.mark.parametrize(
    ("make", "frozen", "duplicate"),
    [
        (lambda clip: clips.repeated(clip[0], 12), 1, 0),
        (lambda clip: clip, 0, 0),
        (lambda clip: clip[[0, 2, 4, 6, 8, 10] * 2], 0, 6 / 11),
    ],
)
def test_stills_and_loops_are_found_through_a_codec(tmp_path, make, frozen, duplicate):
    """The frames that come out of H.264 are never equal to the byte."""
    frames = make(clips.panned(frames=12))
    path = tmp_path / "영상 하나.mp4"
    with VideoWriter(str(path), CODECS["h264"], Facts(128, 96, Fraction(24), Fraction(1, 24), None, "h264")) as writer:
        for number, frame in enumerate(frames):
            writer.write(frame, Fraction(number, 24))
    with open_video(path) as reader:
        found = video_metrics(timed.pixels for timed in reader)
    assert (found["frozen_share"], found["duplicate_share"]) == (frozen, pytest.approx(duplicate))


def test_a_small_thing_that_moves_is_no_still():
    """A mean over the frame, 0.2 levels here, would not see it."""
    frames = clips.repeated(np.full((256, 320, 3), 90, np.uint8), 5)
    for number, frame in enumerate(frames):
        frame[100 : 100 + 8, 100 + 6 * number : 108 + 6 * number] = 220
    found = video_metrics(frames)
    assert (found["frozen_share"], found["duplicate_share"]) == (0, 0)


def test_the_means_are_over_all_frames(clip):
    found = video_metrics(clip)
    each = [frame_metrics(frame) for frame in clip]
    for name in each[0]:
        assert found[name] == pytest.approx(sum(one[name] for one in each) / len(clip), rel=1e-12)


def test_one_frame_has_no_values_over_time(clip):
    found = video_metrics(clip[:1], clip[0])
    assert {name for name, value in found.items() if value is None} == set(NEIGHBOURS)
    assert (found["first_frame_psnr"], found["first_frame_ssim"]) == (100, pytest.approx(1))


def test_every_value_is_described_and_goes_into_json(clip):
    found = video_metrics(clip, clip[1])
    assert set(found) == {metric.name for metric in VIDEO}
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    flat = video_metrics(np.zeros((3, 16, 16, 3), np.uint8))
    assert json.loads(json.dumps(flat, allow_nan=False)) == flat
    assert "first_frame_psnr" not in flat


def test_descriptions_are_whole():
    for name, metric in METRICS.items():
        assert metric.name == name
        assert metric.label
        assert metric.about.endswith(".")
        assert metric.better is None or metric.scope == "output"
        assert metric.better is None or metric.group != "legacy"
        assert 0 <= metric.digits <= 4


def test_frames_are_let_go(clip):
    """A long video is never in memory: of the frames that came, two are alive."""
    came, most = [], 0

    def frames():
        nonlocal most
        for number in range(8):
            frame = clip[number % 6].copy()
            came.append(weakref.ref(frame))
            most = max(most, sum(known() is not None for known in came))
            yield frame
            del frame

    assert video_metrics(frames())["frozen_share"] == 0
    assert (len(came), most) == (8, 2)


GOOD = np.zeros((16, 16, 3), np.uint8)


@pytest.mark.parametrize(
    ("frames", "words"),
    [
        ([], "has no frames"),
        (np.zeros((0, 16, 16, 3), np.uint8), "has no frames"),
        ([GOOD, np.zeros((16, 18, 3), np.uint8)], "frame 1 of the video is 18x16 and the first one 16x16"),
        ([GOOD.astype(np.float32)], r"frame 0 of the video is float32 \[16, 16, 3\]; an RGB array of uint8"),
        ([GOOD[..., 0]], r"uint8 \[16, 16\]"),
        ([np.zeros((16, 16, 4), np.uint8)], r"uint8 \[16, 16, 4\]"),
        ([GOOD.tolist()], "frame 0 of the video is list"),
        ([np.zeros((1, 1, 3), np.uint8)], "is 1x1; 16x16 pixels or more"),
        ([np.zeros((8, 64, 3), np.uint8)] * 2, "is 64x8; 16x16 pixels or more"),  # DIS would end the process
    ],
)
def test_what_is_no_video_is_refused(frames, words):
    with pytest.raises(InvalidInput, match=words):
        video_metrics(frames)


@pytest.mark.parametrize("size", [(16, 16), (16, 300), (300, 16), (17, 33)])
def test_small_and_thin_frames_are_measured(size):
    found = video_metrics(clips.white_noise((3, *size, 3)))
    assert all(value is None or math.isfinite(value) for value in found.values())


def test_the_picture_has_to_have_the_video_s_size(clip):
    with pytest.raises(InvalidInput, match="the given picture and the first frame are 64x96 and 128x96"):
        video_metrics(clip, clip[0][:, :64])


def test_frames_that_do_not_lie_together_are_measured_alike(clip):
    assert video_metrics(clip[:, :, ::-1][:, :, ::-1]) == video_metrics(clip)
    cut = clip[:, 8:72, 8:72]
    assert video_metrics(cut) == video_metrics(cut.copy())
