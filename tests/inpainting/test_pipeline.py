"""The pipeline on plain functions of arrays: what is sent to the network, what is kept, what comes back."""

import json
import re
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atelier.errors import InvalidInput
from atelier.inpainting import pipeline
from atelier.inpainting.pipeline import InpaintJob, InpaintResult, inpaint, read_job, write_result
from atelier.inpainting.settings import InpaintSettings
from atelier.media import Picture, decode_picture, encode_picture
from atelier.serving.settings import settle
from tests.conftest import ROOT

SMALL = {"tile_sizes": (32, 64), "margin": 8}


class Painter:
    """A network: paints everything in one colour, and remembers the batches."""

    def __init__(self, colour=(200, 100, 50)):
        self.colour = np.array(colour, np.uint8)
        self.batches = []

    def __call__(self, images, masks):
        self.batches.append(masks.shape)
        return np.broadcast_to(self.colour, images.shape)


def job(height=50, width=70, channels=3, seed=0, hole=(10, 20, 15, 25), **changes):
    generator = np.random.default_rng(seed)
    pixels = generator.integers(0, 256, (height, width, channels), dtype=np.uint8)
    mask = np.zeros((height, width), np.uint8)
    top, left, h, w = hole
    mask[top : top + h, left : left + w] = 1
    return InpaintJob(Picture(pixels, None, "png"), mask, InpaintSettings(**{**SMALL, "fill_flat": False, **changes}))


@pytest.mark.parametrize("strategy", ["regions", "page"])
def test_the_hole_is_the_network_s_and_the_rest_is_the_picture_s(strategy):
    one = job(strategy=strategy)
    (result,) = inpaint([one], Painter())
    hole = one.mask != 0
    np.testing.assert_array_equal(result.picture.pixels[~hole], one.picture.pixels[~hole])
    assert (result.picture.pixels[hole] == (200, 100, 50)).all()


@given(st.integers(1, 100), st.integers(1, 100), st.integers(0, 99), st.sampled_from([1, 2, 3, 4]), st.booleans())
def test_pixels_outside_the_mask_never_change(height, width, seed, channels, fill_flat):
    one = job(height, width, channels, seed, fill_flat=fill_flat, feather=seed % 5)
    one.mask[:] = np.random.default_rng(seed).random((height, width)) < seed / 99
    (result,) = inpaint([one], Painter())
    outside = one.mask == 0
    np.testing.assert_array_equal(result.picture.pixels[outside], one.picture.pixels[outside])


def test_grey_stays_grey_and_alpha_stays():
    grey, with_alpha = inpaint([job(channels=1), job(channels=4)], Painter())
    assert grey.picture.pixels.shape[2] == 1
    np.testing.assert_array_equal(with_alpha.picture.alpha, job(channels=4).picture.alpha)


def test_pictures_of_different_sizes_share_batches():
    painter = Painter()
    jobs = [job(50 + 7 * i, 60 + 5 * i, seed=i) for i in range(10)]
    results = inpaint(jobs, painter, max_batch=4)
    assert all(isinstance(result, InpaintResult) for result in results)
    assert painter.batches == [(4, 32, 64), (4, 32, 64), (2, 32, 64)]


def test_pages_batch_with_pages_of_their_own_size():
    painter = Painter()
    jobs = [job(50, 70, strategy="page"), job(80, 90, strategy="page"), job(50, 70, strategy="page", seed=5)]
    inpaint(jobs, painter)
    assert painter.batches == [(2, 56, 72), (1, 80, 96)]


def test_large_pages_go_alone():
    painter = Painter()
    inpaint([job(1600, 1600, strategy="page", seed=i) for i in range(4)], painter)
    assert painter.batches == [(3, 1600, 1600), (1, 1600, 1600)]


def test_an_empty_mask_calls_nothing_and_changes_nothing():
    painter = Painter()
    one = job(hole=(0, 0, 0, 0))
    (result,) = inpaint([one], painter)
    assert not painter.batches
    np.testing.assert_array_equal(result.picture.pixels, one.picture.pixels)
    _, report = write_result(result, {"name": "painter"})
    assert json.loads(report)["warnings"] == ["MASK is empty: the picture is returned unchanged."]


def test_a_call_that_fails_fails_those_in_it_only():
    def network(images, masks):
        if images.shape[2] == 64:
            raise RuntimeError("no room for 64")
        return images

    small = {"hole": (10, 20, 4, 4)}
    fits, fails, also = inpaint([job(**small), job(), job(seed=2, **small)], network)
    assert isinstance(fits, InpaintResult)
    assert isinstance(also, InpaintResult)
    assert str(fails) == "no room for 64"


def test_a_job_that_cannot_be_planned_fails_alone():
    tiny, fine = inpaint([job(8, 30, strategy="page", hole=(1, 1, 2, 2)), job()], Painter())
    assert isinstance(tiny, InvalidInput)
    assert isinstance(fine, InpaintResult)


def test_a_job_that_nobody_waits_for_is_not_computed():
    def gone():
        raise TimeoutError("gone")

    painter = Painter()
    lost = job()
    lost.check = gone
    result = inpaint([lost, job(seed=1)], painter)
    assert isinstance(result[0], TimeoutError)
    assert painter.batches == [(1, 32, 64)]


def test_a_job_whose_caller_leaves_during_planning_fails_alone():
    painter = Painter()
    lost = job()

    def gone():
        raise TimeoutError("gone")

    lost.check = gone
    one, other = inpaint([lost, job(seed=1)], painter)
    assert isinstance(one, TimeoutError)
    assert "network" not in lost.seconds
    assert isinstance(other, InpaintResult)


def test_memory_does_not_grow_with_the_number_of_tiles():
    """144 tiles of 256 x 256 are 38 MB with their masks, and as much again as answers."""
    one = job(1500, 1500, hole=(0, 0, 0, 0), tile_sizes=(256,), margin=110)
    one.mask[60::120, 60::120] = 255
    calls = []

    def network(images, masks):
        calls.append(len(images))
        return images

    tracemalloc.start()
    try:
        (result,) = inpaint([one], network, max_batch=2)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert sum(calls) == len(result.plan.tiles) == 144
    assert result.plan.labels is None
    assert peak < 35e6, "the picture's copy, its labels, one batch"


def test_a_picture_that_is_done_lets_its_labels_go_before_the_next_is_pasted(monkeypatch):
    """Of four pictures in a batch, no more than one holds both its labels and its copy at a time."""
    held = []
    put_back = pipeline._Work.put_back

    def watched(self, tile, output):
        put_back(self, tile, output)
        held.append(self.plan.labels is not None)

    monkeypatch.setattr(pipeline._Work, "put_back", watched)
    inpaint([job(seed=i) for i in range(4)], Painter())
    assert held == [False] * 4


@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.parametrize("feather", [0, 1, 9])
def test_pasting_in_strips_gives_what_pasting_at_once_gives(channels, feather, monkeypatch):
    def run():
        one = job(90, 80, channels, hole=(8, 6, 70, 60), strategy="page", feather=feather)
        return inpaint([one], Painter())[0].picture.pixels

    whole = run()
    monkeypatch.setattr(pipeline, "STRIP", 300)
    np.testing.assert_array_equal(run(), whole)


def test_less_context_than_asked_is_reported():
    one = job(300, 300, hole=(100, 100, 30, 30), margin=200)
    (result,) = inpaint([one], Painter())
    facts = json.loads(write_result(result, {})[1])
    assert [(tile["scale"], tile["margin"]) for tile in facts["tiles"]] == [(1, 17)]
    assert facts["warnings"] == [
        "1 tile(s) have less than the 200 pixels of context that MARGIN asks for, 17 at least: "
        "with its parts the largest tile holds no more."
    ]


@pytest.mark.parametrize(("height", "width", "margin"), [(64, 64, 1024), (5, 7, 1024), (60, 50, 40)])
def test_a_margin_beyond_the_picture_is_no_reason_for_a_warning(height, width, margin):
    (result,) = inpaint([job(height, width, hole=(2, 2, 2, 2), margin=margin)], Painter())
    facts = json.loads(write_result(result, {})[1])
    assert [tile["scale"] for tile in facts["tiles"]] == [1]
    assert facts["warnings"] == []


@pytest.mark.parametrize(
    ("space", "channels", "kind", "warned"),
    [
        ("GRAY", 1, "png", 0),
        ("GRAY", 1, "webp", 1),
        ("RGB ", 1, "png", 1),
        ("RGB ", 3, "webp", 0),
        ("GRAY", 3, "png", 1),
    ],
)
def test_a_profile_that_is_left_out_is_reported(space, channels, kind, warned):
    one = job(channels=channels, format=kind)
    one.picture = replace(one.picture, icc_profile=bytes(16) + space.encode() + bytes(200))
    (result,) = inpaint([one], Painter())
    data, report = write_result(result, {})
    warnings = json.loads(report)["warnings"]
    assert len(warnings) == warned
    assert all("colour profile was left out" in warning for warning in warnings)
    assert (decode_picture(data).icc_profile is None) == bool(warned)


def test_colour_chunks_of_a_png_stay_or_are_reported():
    gamma = ((b"gAMA", (100_000).to_bytes(4)),)
    kept, lost = job(), job(format="webp")
    for one in (kept, lost):
        one.picture = replace(one.picture, png_colour=gamma)
    data, report = write_result(inpaint([kept], Painter())[0], {})
    assert decode_picture(data).png_colour == gamma
    assert json.loads(report)["warnings"] == []
    (warning,) = json.loads(write_result(inpaint([lost], Painter())[0], {})[1])["warnings"]
    assert "webp cannot hold the PNG's colour information (gAMA)" in warning


@pytest.mark.parametrize(("given", "said"), [("gif", "FORMAT is 'gif'; accepted: png, jpeg or webp.")])
def test_a_format_that_is_not_known_is_said_once(given, said):
    with pytest.raises(InvalidInput) as caught:
        settle(InpaintSettings, {}).override({"format": given})
    assert str(caught.value) == said
    assert settle(InpaintSettings, {}).override({"format": "JPG"}).values.format == "jpeg"


def test_a_tile_waits_no_longer_than_the_network_s_queue_lets_it():
    config = (ROOT / "model_repository/lama/config.pbtxt").read_text()
    limit = int(re.search(r"default_timeout_microseconds: (\d+)", config)[1]) / 1e6
    assert InpaintSettings.model_fields["network_timeout"].default <= limit


def test_a_network_that_answers_too_little_is_an_error():
    (result,) = inpaint([job()], lambda images, masks: images[:0])
    assert isinstance(result, ValueError)


def files(one):
    mask = Picture(one.mask[..., None] * 255, None, "png")
    return encode_picture(one.picture, "png"), encode_picture(mask, "png")


def test_files_in_files_out():
    seconds: dict[str, float] = {}
    read = read_job(*files(job()), InpaintSettings(**SMALL), sources={"margin": "config"}, seconds=seconds)
    (result,) = inpaint([read], Painter())
    data, report = write_result(result, {"name": "painter", "version": "3"})
    facts = json.loads(report)
    np.testing.assert_array_equal(decode_picture(data).pixels, result.picture.pixels)
    assert list(facts["seconds"]) == ["decode", "plan", "network", "paste", "encode"]
    assert facts["model"] == {"name": "painter", "version": "3"}
    assert facts["settings"]["margin"] == {"value": 8, "source": "config"}
    assert facts["masked_pixels"] == 15 * 25
    assert facts["tiles"] == [
        {"top": 1, "left": 0, "height": 32, "width": 64, "input": [32, 64], "scale": 1, "margin": 8, "parts": 1}
    ]
    assert facts["lossless"] is True


def test_a_lossy_format_is_reported():
    read = read_job(*files(job()), InpaintSettings(format="jpeg", **SMALL))
    (result,) = inpaint([read], Painter())
    facts = json.loads(write_result(result, {})[1])
    assert facts["lossless"] is False
    assert "jpeg is lossy" in facts["warnings"][0]


def test_alpha_and_jpeg_are_refused_before_any_work():
    with pytest.raises(InvalidInput, match="alpha channel, which JPEG cannot hold"):
        read_job(*files(job(channels=4)), InpaintSettings(format="jpeg"))


def test_a_mask_of_another_size():
    image, _ = files(job())
    _, mask = files(job(60, 70))
    with pytest.raises(InvalidInput, match="MASK is 70x60 and IMAGE 70x50; they must be equal"):
        read_job(image, mask, InpaintSettings())
