import cv2
import numpy as np
import pytest

from atelier.compositing.metrics import measure, score
from tests.compositing.pictures import disc, meadow, placed, vase

NAMES = {
    "outside_max_difference",
    "seam_gradient_ratio",
    "identity_correlation",
    "lab_gap",
    "inside_changed_share",
}


@pytest.fixture
def parts():
    """A background, and the placement of an object in it."""
    background = meadow(240, 320)
    return background, placed(background, vase(90, 60), box=(100.0, 80.0, 220.0, 220.0))


def measured(background, placement, result):
    return measure(background, result, placement.pre_composite, placement.object_mask, placement.fill_mask)


def test_the_paste_itself(parts):
    background, placement = parts
    found = measured(background, placement, placement.pre_composite)
    assert set(found) == NAMES
    assert found["outside_max_difference"] == 0
    assert found["identity_correlation"] == pytest.approx(1)
    assert 0.3 < found["inside_changed_share"] < 1
    assert found["lab_gap"] > 10
    assert found["seam_gradient_ratio"] > 0
    assert all(type(value) is float for value in found.values())


def test_a_change_outside_is_seen(parts):
    background, placement = parts
    spilled = placement.pre_composite.copy()
    spilled[0, 0] = background[0, 0] - 9
    found = measured(background, placement, spilled)
    assert found["outside_max_difference"] == 9
    clean = measured(background, placement, placement.pre_composite)
    assert score(found) < score(clean) - 0.9


def test_identity_is_blind_to_brightness_and_sees_other_shapes(parts):
    background, placement = parts
    darker = (placement.pre_composite * 0.7).astype(np.uint8)
    assert measured(background, placement, darker)["identity_correlation"] > 0.99
    other = placement.pre_composite.copy()
    other[placement.object_mask > 0] = meadow(240, 320, seed=9)[placement.object_mask > 0]
    assert measured(background, placement, other)["identity_correlation"] < 0.3


def test_the_gap_is_the_distance_of_means():
    grey = np.full((60, 60, 3), 119, np.uint8)  # L 50
    solid = disc(60, 60, 30, 30, 10)
    result = np.where(solid[..., None], np.uint8(0), grey)
    mask = solid.astype(np.uint8) * 255
    assert measure(grey, result, result, mask, mask)["lab_gap"] == pytest.approx(50, abs=0.2)


def test_nothing_to_measure_is_none():
    picture = meadow(20, 20)
    nothing, everything = np.zeros((20, 20), np.uint8), np.full((20, 20), 255, np.uint8)
    assert measure(picture, picture, picture, nothing, nothing) == {
        "outside_max_difference": 0.0,
        "inside_changed_share": None,
        "seam_gradient_ratio": None,
        "identity_correlation": None,
        "lab_gap": None,
    }
    full = measure(picture, picture, picture, everything, everything)
    assert (full["outside_max_difference"], full["seam_gradient_ratio"], full["lab_gap"]) == (None, None, None)
    assert full["identity_correlation"] == pytest.approx(1)
    flat = np.full((20, 20, 3), 90, np.uint8)
    part = disc(20, 20, 10, 10, 4).astype(np.uint8) * 255
    found = measure(flat, flat, flat, part, part)
    assert found["identity_correlation"] is None
    assert found["seam_gradient_ratio"] is None
    assert score(found) == pytest.approx(0, abs=1e-5)


def test_shapes_that_do_not_agree():
    picture, mask = meadow(20, 20), np.zeros((20, 20), np.uint8)
    with pytest.raises(ValueError, match="shapes do not agree"):
        measure(picture, picture, picture[:10], mask, mask)
    with pytest.raises(ValueError, match="shapes do not agree"):
        measure(picture, picture, picture, mask, mask[:10])


def test_a_destroyed_object_ranks_below_a_good_one_although_its_seam_is_better(parts):
    """Why no single number decides: smeared, an object has the smoothest outline of all."""
    background, placement = parts
    good = placement.pre_composite
    solid = (placement.object_mask > 0).astype(np.uint8) * 255
    smeared = cv2.inpaint(good, cv2.dilate(solid, np.ones((5, 5), np.uint8)), 5, cv2.INPAINT_TELEA)
    smeared = np.where(placement.fill_mask[..., None] > 0, smeared, background)
    fine, ruined = measured(background, placement, good), measured(background, placement, smeared)
    assert abs(np.log2(ruined["seam_gradient_ratio"])) < abs(np.log2(fine["seam_gradient_ratio"]))
    assert ruined["lab_gap"] < fine["lab_gap"]
    assert ruined["identity_correlation"] < 0.5 < fine["identity_correlation"]
    assert score(ruined) < score(fine)


def test_among_equals_the_better_seam_and_colour_win():
    base = {"identity_correlation": 0.9, "outside_max_difference": 0.0}
    ranked = [
        {**base, "seam_gradient_ratio": 1.0, "lab_gap": 5.0},
        {**base, "seam_gradient_ratio": 1.0, "lab_gap": 15.0},
        {**base, "seam_gradient_ratio": 2.0, "lab_gap": 15.0},
        {**base, "seam_gradient_ratio": 0.0, "lab_gap": 15.0},
    ]
    scores = [score(metrics) for metrics in ranked]
    assert scores == sorted(scores, reverse=True)
    assert len(set(scores)) == 4
