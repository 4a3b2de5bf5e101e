from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from atelier.compositing import BackgroundAnalyzer, MaskGenerator, ObjectExtractor, ObjectSynthesizer
from atelier.compositing.classical.shadow import contact_shadow
from atelier.compositing.jobs import AnalysisJob, ExtractionJob, Light, PlacementJob, SynthesisJob
from atelier.compositing.metrics import score
from atelier.compositing.settings import (
    AnalyzerSettings,
    ExtractorSettings,
    PlacementSettings,
    SynthesizerSettings,
)
from atelier.compositing.synthesizer import paste_back
from atelier.errors import InvalidInput
from tests.compositing.pictures import NOWHERE, meadow, placed, scene, vase
from tests.conftest import ROOT

BOX = (100.0, 60.0, 180.0, 170.0)


def job(box=BOX, **changes):
    background, cutout = meadow(200, 280), vase()
    placement = placed(background, cutout, box=box, scene=scene())
    return replace(SynthesisJob(background, cutout, placement, scene()), **changes)


def synthesize(given, mode="auto", **values):
    return ObjectSynthesizer(SynthesizerSettings(**values), root=NOWHERE)(given, mode)


def test_the_classical_way():
    given = job()
    made = synthesize(given)
    assert made.image.shape == given.background.shape
    assert (made.seed, made.prompt) == (None, "")
    assert made.report.mode == "classical"
    assert made.report.warnings == []
    assert "`atelier weights pull flux.1-fill-dev`" in made.report.facts["why_classical"]
    assert made.report.facts["score"] == score(made.metrics)
    assert made.metrics["outside_max_difference"] == 0
    assert made.metrics["identity_correlation"] > 0.99
    assert set(made.report.seconds) == {"shadow", "paste", "metrics"}
    solid = given.placement.object_mask == 255
    np.testing.assert_array_equal(made.image[solid], given.placement.pre_composite[solid])


def test_it_is_the_same_each_time():
    np.testing.assert_array_equal(synthesize(job()).image, synthesize(job()).image)


def test_there_is_a_shadow_under_the_object():
    given = job()
    made = synthesize(given)
    box = given.placement.box
    under = slice(box.bottom, box.bottom + 4), slice(box.left + box.width // 3, box.right - box.width // 3)
    assert made.image[under].mean() < 0.85 * given.background[under].mean()


def test_the_shadow_falls_away_from_the_light():
    alpha = np.zeros((100, 200), np.uint8)
    alpha[30:80, 80:120] = 255
    from_left = contact_shadow(alpha, Light((-1.0, 0.0), 0.2), 15)
    np.testing.assert_allclose(from_left[:, ::-1], contact_shadow(alpha, Light((1.0, 0.0), 0.2), 15), atol=0.03)
    assert from_left[:, 120:].sum() > 1.5 * from_left[:, :80].sum()
    assert 0 <= from_left.min() <= from_left.max() < 1
    assert contact_shadow(alpha, Light((0.0, 0.0), 1.0), 15).sum() < from_left.sum()


def test_strength_scales_matching_and_shadow():
    faint, full = synthesize(job(strength=0.01)), synthesize(job())
    background = job().background.astype(int)
    shadow = (job().placement.object_mask == 0) & (job().placement.fill_mask > 0)
    assert (
        np.abs(faint.image[shadow] - background[shadow]).sum()
        < np.abs(full.image[shadow] - background[shadow]).sum() / 9
    )
    solid = job().placement.object_mask == 255
    as_it_was = placed(job().background, vase(), box=BOX).object_mask == 255
    reds = faint.image[solid & as_it_was][:, 0]
    assert set(np.unique(reds // 8)) >= {200 // 8, 240 // 8}


def test_poisson_is_there_when_asked_for_and_warns():
    made = synthesize(job(), blend="poisson")
    assert "smear" in made.report.warnings[0]
    assert made.metrics["outside_max_difference"] == 0
    assert (made.image != synthesize(job()).image).any()


@pytest.mark.parametrize("box", [(0.0, 0.0, 280.0, 200.0), (0.0, 0.0, 60.0, 60.0), (240.0, 150.0, 280.0, 200.0)])
@pytest.mark.parametrize("blend", ["alpha", "poisson"])
def test_at_the_pictures_border(box, blend):
    solid = np.dstack([vase()[..., :3], np.full((60, 40), 255, np.uint8)])
    background = meadow(200, 280)
    given = SynthesisJob(background, solid, placed(background, solid, box=box))
    assert synthesize(given, blend=blend).metrics["outside_max_difference"] in (0, None)


@settings(max_examples=25, deadline=None)
@given(data=st.data(), height=st.integers(16, 70), width=st.integers(16, 70), strength=st.floats(0.01, 1))
def test_outside_the_fill_mask_nothing_changes(data, height, width, strength):
    background = meadow(height, width, seed=width)
    cutout = vase(data.draw(st.integers(4, 30)), data.draw(st.integers(4, 30)))
    left, top = data.draw(st.integers(0, width - 8)), data.draw(st.integers(0, height - 8))
    right, bottom = data.draw(st.integers(left + 6, width)), data.draw(st.integers(top + 6, height))
    try:
        placement = placed(background, cutout, box=(left, top, right, bottom))
    except InvalidInput as refusal:
        assert "at least 4 a side" in str(refusal)
        return
    blend = data.draw(st.sampled_from(["alpha", "poisson"]))
    made = synthesize(SynthesisJob(background, cutout, placement, strength=strength), blend=blend)
    outside = placement.fill_mask == 0
    np.testing.assert_array_equal(made.image[outside], background[outside])


@pytest.mark.parametrize("radius", [0, 6.5])
def test_a_networks_crop_is_pasted_back_inside_the_fill_mask(radius):
    given = job()
    crop = given.placement.crop
    new = np.full((crop.height, crop.width, 3), 255, np.uint8)
    image = paste_back(given, new, radius)
    filled = given.placement.fill_mask > 0
    np.testing.assert_array_equal(image[~filled], given.background[~filled])
    middle = given.placement.box.top + 40, given.placement.box.left + 30
    assert (image[middle] == 255).all()
    assert (image[filled] == 255).all() == (radius == 0)
    with pytest.raises(ValueError, match="a crop of"):
        paste_back(given, new[:-1], radius)


def test_neural_without_weights_is_refused_by_name(tmp_path):
    with pytest.raises(InvalidInput, match=r"no weights flux.1-fill-dev and flux.1-redux-dev; `atelier weights pull"):
        synthesize(job(), "neural")
    with pytest.raises(InvalidInput, match="no weights flux.1-fill-dev; "):
        synthesize(job(), "neural", identity="diptych")
    with pytest.raises(InvalidInput, match="no weights flux.2-klein-4b; "):
        synthesize(job(), "neural", network="flux.2-klein")
    (tmp_path / "weights" / "flux.1-fill-dev").mkdir(parents=True)
    without_redux = ObjectSynthesizer(SynthesizerSettings(), root=tmp_path)
    with pytest.raises(InvalidInput, match="no weights flux.1-redux-dev; "):
        without_redux(job(), "neural")


class Stopped(Exception):
    pass


def test_it_can_be_stopped_and_tells_how_far_it_is():
    def stop():
        raise Stopped

    with pytest.raises(Stopped):
        synthesize(job(check=stop))
    seen = []
    synthesize(job(on_progress=seen.append))
    assert [(progress.step, progress.of) for progress in seen] == [(1, 1)]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"background": meadow(100, 280)}, "for a background of 280x200 pixels, not of 280x100"),
        ({"object": np.zeros((4, 4, 3), np.uint8)}, "The object is"),
        ({"strength": 0.0}, "STRENGTH is 0"),
        ({"strength": float("nan")}, "STRENGTH is nan"),
    ],
)
def test_jobs_that_do_not_fit_together_are_refused(changes, sentence):
    with pytest.raises(InvalidInput, match=sentence):
        synthesize(job(**changes))


def test_an_empty_object_mask_is_refused():
    given = job()
    empty = replace(given.placement, object_mask=np.zeros_like(given.placement.object_mask))
    with pytest.raises(InvalidInput, match="object mask is empty"):
        synthesize(replace(given, placement=empty))


def test_all_four_stages_on_the_samples():
    """The demo's picture: nothing but the fill mask changes, and the object keeps its looks."""
    background = np.asarray(Image.open(ROOT / "samples" / "meadow.jpg").convert("RGB"))
    reference = np.asarray(Image.open(ROOT / "samples" / "beanbag.png"))
    read = BackgroundAnalyzer(AnalyzerSettings(), root=NOWHERE)(AnalysisJob(background, language="ko"))
    found = ObjectExtractor(ExtractorSettings(), root=NOWHERE)(ExtractionJob(reference))
    place = MaskGenerator(PlacementSettings())(PlacementJob(background, found.object, read, point=(430.0, 560.0)))
    made = synthesize(SynthesisJob(background, found.object, place, read))
    assert (found.report.mode, place.source, made.report.mode) == ("given", "point", "classical")
    assert made.metrics["outside_max_difference"] == 0
    assert made.metrics["identity_correlation"] > 0.99
    assert made.metrics["seam_gradient_ratio"] < 3
    assert "초록색" in read.text
