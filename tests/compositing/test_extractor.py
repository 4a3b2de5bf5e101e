import time

import cv2
import numpy as np
import pytest
from PIL import Image

from atelier.compositing import ObjectExtractor
from atelier.compositing.jobs import ExtractionJob
from atelier.compositing.settings import ExtractorSettings
from atelier.errors import InvalidInput
from tests.compositing.pictures import NOWHERE, disc, noise, vase
from tests.conftest import ROOT


def extract(reference, mode="auto", **job):
    return ObjectExtractor(ExtractorSettings(), root=NOWHERE)(ExtractionJob(reference, **job), mode)


def in_place(extraction, shape):
    """The alpha where it was in the reference."""
    left, top, right, bottom = extraction.report.facts["box"]
    alpha = np.zeros(shape, np.uint8)
    alpha[top:bottom, left:right] = extraction.object[..., 3]
    return alpha


def overlap(alpha, truth):
    """Intersection over union."""
    solid = alpha >= 128
    return (solid & truth).sum() / (solid | truth).sum()


def on_white(height=120, width=160, shade=0):
    """A textured disc before a wall that may grow darker to the right."""
    truth = disc(height, width, 70, 55, 34)
    wall = 240 - shade * np.arange(width)[None, :, None] / width
    return np.where(truth[..., None], noise(height, width), wall).astype(np.uint8), truth


def test_the_references_own_alpha_is_the_answer():
    reference = np.zeros((100, 90, 4), np.uint8)
    reference[20:80, 30:70] = vase()
    found = extract(reference)
    np.testing.assert_array_equal(found.object, vase())
    assert found.report.mode == "given"
    assert found.report.facts["method"] == "alpha"
    assert found.report.facts["box"] == [30, 20, 70, 80]
    assert found.report.facts["share"] == pytest.approx((vase()[..., 3] > 0).sum() / 9000, abs=1e-5)
    assert found.report.warnings == []


def test_an_alpha_counts_in_every_mode_and_box_and_point_are_told_to_be_idle():
    found = extract(vase(), "neural", box=(0, 0, 10, 10), point=(3, 3))
    assert found.report.mode == "given"
    assert "had no effect" in found.report.warnings[0]
    assert found.object.shape == vase().shape


def test_an_alpha_that_is_255_everywhere_is_none():
    reference, truth = on_white()
    opaque = np.dstack([reference, np.full(truth.shape, 255, np.uint8)])
    found = extract(opaque)
    assert found.report.facts["method"] == "plain"
    np.testing.assert_array_equal(found.object, extract(reference).object)


@pytest.mark.parametrize("opaque", [0, 4])
def test_an_empty_alpha_is_refused(opaque):
    reference = np.zeros((10, 10, 4), np.uint8)
    reference[0, :opaque, 3] = 255
    with pytest.raises(InvalidInput, match="empty"):
        extract(reference)


@pytest.mark.parametrize("shade", [0, 60])
def test_a_plain_background(shade):
    reference, truth = on_white(shade=shade)
    found = extract(reference)
    assert found.report.mode == "classical"
    assert found.report.facts["method"] == "plain"
    assert found.report.warnings == []
    assert "`atelier weights pull birefnet`" in found.report.facts["why_classical"]
    assert overlap(in_place(found, truth.shape), truth) > 0.97
    np.testing.assert_allclose(found.report.facts["box"], [36, 21, 105, 90], atol=2)


def test_colours_of_the_edge_are_the_objects():
    truth = disc(120, 160, 70, 55, 34)
    soft = cv2.GaussianBlur(truth.astype(np.float32), (0, 0), 1.5)[..., None]
    reference = (soft * (150, 20, 20) + (1 - soft) * (250, 250, 250)).astype(np.uint8)
    found = extract(reference).object
    edge = (found[..., 3] > 100) & (found[..., 3] < 250)
    assert edge.sum() > 20
    # Cut out alone, the edge would be pink.
    assert found[edge][:, 1].mean() < 80


def test_what_is_like_the_background_inside_the_object_stays():
    reference, _ = on_white()
    reference[50:60, 65:75] = 240
    found = in_place(extract(reference), reference.shape[:2])
    assert found[52:58, 67:73].min() == 255


def test_a_point_takes_one_of_two_objects():
    reference, truth = on_white()
    other = disc(120, 160, 135, 90, 15)
    reference[other] = (30, 60, 130)
    both = in_place(extract(reference), truth.shape)
    assert overlap(both, truth | other) > 0.95
    one = extract(reference, point=(135, 90))
    assert overlap(in_place(one, truth.shape), other) > 0.9
    boxed = extract(reference, box=(110, 60, 160, 120))
    assert overlap(in_place(boxed, truth.shape), other) > 0.9


def test_a_point_on_the_plain_background_is_refused():
    with pytest.raises(InvalidInput, match="REFERENCE_POINT is on the background"):
        extract(on_white()[0], point=(5, 5))


def on_noise():
    """A smooth orange disc before many colours."""
    truth = disc(120, 160, 80, 60, 30)
    return np.where(truth[..., None], np.uint8((235, 120, 20)), noise() // 2).astype(np.uint8), truth


def test_a_textured_background_needs_a_hint():
    with pytest.raises(InvalidInput, match=r"not plain.*a ruin.*alpha, or REFERENCE_BOX or REFERENCE_POINT"):
        extract(on_noise()[0])


@pytest.mark.parametrize("hint", [{"box": (45.0, 25.0, 115.0, 95.0)}, {"point": (80.0, 60.0)}])
def test_a_textured_background_with_a_hint(hint):
    reference, truth = on_noise()
    found = extract(reference, **hint)
    assert found.report.facts["method"] == "grabcut"
    assert "edges of the object may be wrong" in found.report.warnings[-1]
    assert overlap(in_place(found, truth.shape), truth) > 0.9
    np.testing.assert_array_equal(found.object, extract(reference, **hint).object)


def test_a_large_textured_picture_is_cut_out_in_seconds():
    reference, truth = on_noise()
    large = cv2.resize(reference, (4000, 3000), interpolation=cv2.INTER_LINEAR)
    started = time.perf_counter()
    found = extract(large, box=(1125, 625, 2875, 2375))
    assert time.perf_counter() - started < 60
    expected = cv2.resize(truth.astype(np.uint8), (4000, 3000)) > 0
    assert overlap(in_place(found, (3000, 4000)), expected) > 0.9


def test_a_photograph_on_a_plain_ground():
    """The sample's object, before grey: the cut-out is the alpha that it was made with."""
    cutout = np.asarray(Image.open(ROOT / "samples" / "beanbag.png"))
    alpha = np.pad(cutout[..., 3], 30)
    colours = np.pad(cutout[..., :3], ((30, 30), (30, 30), (0, 0)))
    weight = alpha[..., None] / 255
    reference = np.rint(colours * weight + 214 * (1 - weight)).astype(np.uint8)
    assert overlap(in_place(extract(reference), alpha.shape), alpha >= 128) > 0.98


@pytest.mark.parametrize("shape", [(1, 1), (2, 2), (3, 200), (200, 3)])
def test_nothing_but_background_is_refused(shape):
    with pytest.raises(InvalidInput, match="What was cut out of REFERENCE is empty"):
        extract(np.full((*shape, 3), 90, np.uint8))


@pytest.mark.parametrize("shape", [(3, 200), (200, 3), (7, 9), (1, 2)])
def test_tiny_pictures_are_answered_or_refused_in_words(shape):
    reference = np.random.default_rng(2).integers(0, 256, (*shape, 3), dtype=np.uint8)
    for hint in ({}, {"box": (0, 0, shape[1], shape[0])}, {"point": (0, 0)}):
        with pytest.raises(InvalidInput, match=r"empty|too small|not plain|on the background"):
            extract(reference, **hint)


@pytest.mark.parametrize(
    ("hint", "sentence"),
    [
        ({"box": (0, 0, 161, 10)}, r"REFERENCE_BOX \[0, 0, 161, 10\] leaves the picture; 0 to 160 across and 0 to 120"),
        ({"box": (-1, 0, 10, 10)}, "leaves the picture"),
        ({"box": (10, 10, 10, 20)}, "has no area"),
        ({"box": (20, 10, 10, 20)}, "has no area"),
        ({"box": (0, 0, float("nan"), 10)}, "four numbers"),
        ({"point": (161, 0)}, r"REFERENCE_POINT \[161, 0\] is not in the picture"),
        ({"point": (0, float("nan"))}, "is not in the picture"),
        ({"point": (float("inf"), 0)}, "is not in the picture"),
    ],
)
def test_hints_outside_are_refused(hint, sentence):
    with pytest.raises(InvalidInput, match=sentence):
        extract(on_white()[0], **hint)


@pytest.mark.parametrize("reference", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 2), np.uint8), np.zeros((4, 4, 3))])
def test_what_is_no_picture_is_refused(reference):
    with pytest.raises(InvalidInput, match=r"REFERENCE is .*UINT8 \[H, W, 3\] or \[H, W, 4\]"):
        extract(reference)


def test_neural_without_weights_is_refused():
    with pytest.raises(InvalidInput, match="object extractor has no weights birefnet"):
        extract(on_white()[0], "neural")
    remover = ObjectExtractor(ExtractorSettings(background_remover="rmbg-2.0"), root=NOWHERE)
    with pytest.raises(InvalidInput, match="object extractor has no weights rmbg-2.0"):
        remover(ExtractionJob(on_white()[0]), "neural")


def test_the_reference_is_not_written_to():
    reference, _ = on_white()
    reference.setflags(write=False)
    extract(reference, box=(20, 10, 120, 100))
