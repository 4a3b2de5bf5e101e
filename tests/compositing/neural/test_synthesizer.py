"""The synthesizer with tiny random FLUX: which network it takes, and that the background stays as it is."""

import shutil

import numpy as np
import pytest

from atelier.compositing import ObjectSynthesizer
from atelier.errors import InvalidInput
from tests.compositing.neural.flux import job, settings, write_all


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    write_all(folder)
    return folder


def synthesizer(root, **changes):
    names = {name: name for name in ("checkpoint", "redux", "klein")}
    return ObjectSynthesizer(settings(**names, **changes), root=root)


@pytest.mark.parametrize("changes", [{}, {"network": "flux.2-klein"}, {"residence": "request"}])
def test_auto_is_neural_where_the_weights_are(root, changes):
    stage = synthesizer(root, **changes)
    assert stage.loaded == {}
    given = job()
    made = stage(given)
    assert made.report.mode == "neural"
    assert made.report.facts["mode_asked"] == "auto"
    assert "why_classical" not in made.report.facts
    assert made.seed == 1
    assert made.prompt
    assert "ready" in stage.loaded
    filled = given.placement.fill_mask > 0
    np.testing.assert_array_equal(made.image[~filled], given.background[~filled])
    assert made.metrics["outside_max_difference"] == 0
    assert made.metrics["inside_changed_share"] > 0.5
    np.testing.assert_array_equal(made.image, stage(given).image)


def test_new_pixels_fade_in_inside_the_fill_mask(root):
    given = job()
    soft, hard = (synthesizer(root, identity="none", feather=feather)(given).image for feather in (16, 0))
    filled = given.placement.fill_mask > 0
    changed = (soft != hard).any(axis=2)
    assert changed.any()
    assert not changed[~filled].any()
    middle = given.placement.box.top + given.placement.box.height // 2
    assert not changed[middle, given.placement.box.left + given.placement.box.width // 2]


def test_classical_may_be_asked_for(root):
    made = synthesizer(root)(job(), "classical")
    assert (made.report.mode, made.seed) == ("classical", None)


def test_without_redux_auto_shows_the_object_in_a_diptych_and_says_so(root, tmp_path):
    shutil.copytree(root / "checkpoint", tmp_path / "checkpoint")
    stage = synthesizer(tmp_path)
    made = stage(job())
    assert made.report.mode == "neural"
    assert "There are no weights redux: the object was shown to FLUX by a diptych." in made.report.warnings
    np.testing.assert_array_equal(made.image, synthesizer(root, identity="diptych")(job()).image)
    with pytest.raises(InvalidInput, match="no weights redux; "):
        stage(job(), "neural")
