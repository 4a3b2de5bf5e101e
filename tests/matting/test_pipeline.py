"""Clips through the golden networks: streams, bounds, what is refused."""

import tracemalloc

import numpy as np
import pytest

from atelier.errors import InvalidInput
from atelier.matting import MattingPipeline, MattingSettings
from atelier.matting.pipeline import Run, describe
from atelier.matting.sampling import Sampler
from tests.golden.gvm.cases import frames

SMALL = {"size": 96, "max_resolution": 128}


@pytest.fixture(scope="module")
def clip():
    return frames("clip21.mkv")


def test_a_stream_gives_every_frame_with_its_alpha_in_order(pipelines, clip):
    settings = MattingSettings(num_frames_per_batch=8, num_overlap_frames=2, decode_chunk_size=4, **SMALL)
    run, seen, parts = Run(), [], []
    for shown, alpha in pipelines("a01_readme").stream(iter(clip), settings, run=run):
        assert len(shown) == len(alpha) <= 4
        seen += shown
        parts.append(alpha)
    np.testing.assert_array_equal(seen, clip)
    np.testing.assert_array_equal(np.concatenate(parts), pipelines("a01_readme")(clip, settings))
    assert (run.frames, run.windows, run.seed) == (21, 4, None)
    assert describe(run)["padded"] == [96, 128]
    assert set(run.seconds) == {"resize", "encode", "denoise", "decode"}


def test_a_stream_begins_before_the_clip_ends(pipelines, clip):
    taken = []
    source = (taken.append(1) or frame for frame in clip)
    settings = MattingSettings(num_frames_per_batch=8, num_overlap_frames=2, decode_chunk_size=4, **SMALL)
    next(pipelines("a01_readme").stream(source, settings))
    assert len(taken) <= 16


class Plain:
    """Networks of three lines, to watch the memory of what is around them."""

    sampler = Sampler()

    def encode(self, frames):
        return frames[:, [0, 1, 2, 0], ::8, ::8]

    def predict(self, sample, timestep):
        return sample[:, :, 4:]

    def decode(self, latents):
        return np.clip(latents.mean(axis=1) * 0.5 + 0.5, 0, 1).repeat(8, axis=1).repeat(8, axis=2)


@pytest.mark.parametrize("windows", ["overlapping", "disjoint"])
def test_memory_is_bounded_by_the_window_and_not_by_the_clip(windows):
    settings = MattingSettings(num_frames_per_batch=16, windows=windows, **SMALL)

    def peak(count):
        source = (np.full((96, 128, 3), n % 251, np.uint8) for n in range(count))
        tracemalloc.start()
        total = sum(len(alpha) for _, alpha in MattingPipeline(Plain()).stream(source, settings))
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert total == count
        return found

    peak(100)  # what is imported and cached on first use
    assert peak(10_000) < 1.1 * peak(100)


@pytest.mark.parametrize(
    ("first", "settings"),
    [
        (4, {"num_overlap_frames": 2}),
        (8, {"num_overlap_frames": 2}),
        (12, {"num_overlap_frames": 5}),
        (20, {"num_overlap_frames": 2}),
        (13, {"num_overlap_frames": 2}),
        (9, {"num_overlap_frames": 2, "ensemble_size": 3}),
        (3, {"windows": "disjoint"}),
        (8, {"windows": "disjoint"}),
        (16, {"windows": "disjoint", "ensemble_size": 3}),
        (8, {"num_overlap_frames": 2, "noise_type": "gaussian", "seed": 5}),
    ],
)
def test_work_that_is_gone_on_with_gives_what_it_would_have_given(pipelines, clip, first, settings):
    settings = {"num_frames_per_batch": 8, "decode_chunk_size": 4, **SMALL, **settings}
    pipeline = pipelines("a01_readme")
    whole = pipeline(clip, MattingSettings(**settings))
    seen, parts = [], []
    for shown, alpha in pipeline.stream(iter(clip), MattingSettings(**settings, first_frame=first)):
        seen += shown
        parts.append(alpha)
    np.testing.assert_array_equal(seen, clip[first:])
    np.testing.assert_allclose(np.concatenate(parts), whole[first:], atol=1e-5)


def test_a_first_frame_behind_the_end_is_refused(pipelines, clip):
    with pytest.raises(InvalidInput, match="no frames at frame"):
        pipelines("a01_readme")(clip, MattingSettings(first_frame=320, **SMALL))


def test_copies_of_zeros_are_computed_once_where_they_cannot_differ(pipelines, clip):
    settings = {"num_frames_per_batch": 8, "decode_chunk_size": 4, "windows": "disjoint", **SMALL}
    one, run = MattingSettings(**settings), Run()
    three = MattingSettings(**settings, ensemble_size=3)
    pipeline = pipelines("a01_readme")
    found = np.concatenate([alpha for _, alpha in pipeline.stream(iter(clip[:8]), three, run=run)])
    np.testing.assert_array_equal(found, pipeline(clip[:8], one))


def test_a_seed_makes_noise_again_and_a_missing_one_is_drawn_and_reported(pipelines, clip):
    settings = {"noise_type": "gaussian", "num_frames_per_batch": 4, "num_overlap_frames": 1, **SMALL}
    pipeline, run = pipelines("a01_readme"), Run()
    drawn = [alpha for _, alpha in pipeline.stream(iter(clip[:4]), MattingSettings(**settings), run=run)]
    again = pipeline(clip[:4], MattingSettings(**settings, seed=run.seed))
    np.testing.assert_array_equal(np.concatenate(drawn), again)
    assert not np.array_equal(again, pipeline(clip[:4], MattingSettings(**settings, seed=1)))


def test_what_is_asked_between_calls_stops_the_work(pipelines, clip):
    calls = []

    def check():
        calls.append(1)
        if len(calls) > 3:
            raise RuntimeError("nobody waits")

    with pytest.raises(RuntimeError, match="nobody waits"):
        list(pipelines("a01_readme").stream(iter(clip), MattingSettings(**SMALL), check=check))
    assert len(calls) == 4


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (np.zeros((0, 96, 128, 3), np.uint8), "no frames"),
        (np.zeros((2, 1, 1, 3), np.uint8), "1x1"),
        (np.zeros((96, 128, 3), np.uint8), "uint8"),
        (np.zeros((2, 96, 128, 4), np.uint8), "uint8"),
        (np.zeros((2, 96, 128, 3), np.float32), "float32"),
    ],
)
def test_frames_that_are_none_are_refused(pipelines, given, words):
    with pytest.raises(InvalidInput, match=words):
        pipelines("a01_readme")(given, MattingSettings(**SMALL))


def test_a_window_that_is_too_large_is_refused_before_anything_is_computed(pipelines, clip):
    settings = MattingSettings(max_window_pixels=100_000, **SMALL)
    with pytest.raises(InvalidInput, match="32 frames of 128x96 has 393216 pixels; 100000 are the most"):
        pipelines("a01_readme")(clip, settings)


def test_a_frame_of_another_size_is_refused(pipelines):
    source = [np.zeros((96, 128, 3), np.uint8), np.zeros((96, 120, 3), np.uint8)]
    with pytest.raises(InvalidInput, match="Frame 1 is 120x96"):
        list(pipelines("a01_readme").stream(source, MattingSettings(**SMALL)))


def test_noise_of_another_shape_is_refused(pipelines, clip):
    settings = MattingSettings(noise_type="gaussian", **SMALL)
    with pytest.raises(InvalidInput, match="noise of window 0"):
        pipelines("a01_readme")(clip[:4], settings, noise=[np.zeros((1, 3, 4, 12, 16), np.float32)])
    with pytest.raises(InvalidInput, match="missing"):
        pipelines("a01_readme")(clip[:4], settings, noise=[])
