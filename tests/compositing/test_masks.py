import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atelier.compositing import MaskGenerator
from atelier.compositing.jobs import Light, PlacementJob
from atelier.compositing.scene import check_placement
from atelier.compositing.settings import PlacementSettings
from atelier.errors import InvalidInput
from atelier.media.boxes import Box
from tests.compositing.pictures import meadow, placed, scene, vase

BOX = (20.0, 30.0, 80.0, 110.0)
POINT = (100.0, 100.0)
PROPOSED = (500.0, 500.0, 900.0, 950.0)


def hole(top, left, bottom, right):
    mask = np.zeros((120, 160), np.uint8)
    mask[top:bottom, left:right] = 1
    return mask


def test_of_several_places_the_first_wins():
    known = {"mask": hole(10, 100, 70, 150), "box": BOX, "point": POINT, "scene": scene(box=PROPOSED)}
    for source in ("mask", "box", "point", "analysis"):
        placement = placed(meadow(), vase(), **known)
        assert placement.source == source == placement.report.facts["source"]
        check_placement(placement, meadow())
        known.pop("scene" if source == "analysis" else source)
    assert placed(meadow(), vase(), **known).source == "heuristic"
    assert placed(meadow(), vase(), scene=scene()).source == "heuristic"


def test_a_box_holds_the_object_on_its_lower_edge_in_the_middle():
    placement = placed(meadow(), vase(), box=(20, 30, 120, 110))
    assert placement.box == Box(50 - 20, 70 - 26, 80, 53)
    wide = placed(meadow(), vase(20, 60), box=(20, 30, 80, 110)).box
    assert (wide.bottom, wide.left, wide.right, wide.height) == (110, 20, 80, 20)


def test_a_point_is_under_the_middle_of_the_object():
    box = placed(meadow(), vase(), point=(100, 100), scale=0.5).box
    assert (box.height, box.width, box.bottom) == (60, 40, 100)
    assert box.left + box.width / 2 == 100


def test_without_scale_the_background_says_how_large():
    assert placed(meadow(), vase(), point=(80, 110)).box.height == round(0.35 * 120)


def test_an_object_that_would_leave_the_picture_is_smaller_and_its_scale_told():
    placement = placed(meadow(), vase(), point=(5, 100), scale=0.5)
    assert placement.box.left >= 0
    assert placement.box.width == 10
    assert placement.report.warnings == ["At SCALE 0.5 the object would leave the picture: 0.125 was taken."]
    assert placed(meadow(), vase(), point=(5, 100)).report.warnings == []


def test_scale_is_idle_beside_a_box_and_that_is_told():
    assert "SCALE had no effect" in placed(meadow(), vase(), box=BOX, scale=0.1).report.warnings[0]


def test_the_analysts_box():
    box = placed(meadow(), vase(), scene=scene(box=PROPOSED)).box
    assert (box.bottom, box.left + box.width / 2) == (114, 112)
    scaled = placed(meadow(), vase(), scene=scene(box=PROPOSED), scale=0.25).box
    assert (scaled.height, scaled.bottom, scaled.left + scaled.width / 2) == (30, 114, 112)


@pytest.mark.parametrize(
    "box",
    [
        (900, 500, 500, 950),
        (0, 0, 1001, 1000),
        (-1, 0, 10, 10),
        (0, 0, 0.1, 0.1),
        (0, 0, float("nan"), 9),
        (5, 5, 5, 9),
    ],
)
def test_an_impossible_box_of_the_analyst_is_passed_over_and_told(box):
    placement = placed(meadow(), vase(), scene=scene(box=tuple(map(float, box))))
    assert placement.source == "heuristic"
    assert "the analyzer proposed is not possible" in placement.report.warnings[0]


def test_a_guess_stands_on_the_calm_ground():
    background = meadow()
    background[60:, :90] = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)
    placement = placed(background, vase())
    assert placement.box.left >= 85
    assert placement.box.bottom > 90
    assert placement.box == placed(background, vase()).box


def test_with_a_users_mask_nothing_else_changes():
    mask = hole(40, 40, 100, 90)
    mask[40:70, 40:60] = 0
    placement = placed(meadow(), vase(), mask=mask)
    np.testing.assert_array_equal(placement.fill_mask, mask * 255)
    assert not placement.object_mask[mask == 0].any()
    assert placement.object_mask.any()
    assert (placement.box.bottom, placement.box.left + placement.box.width / 2) == (100, 65)
    assert placement.report.warnings[0].startswith("MASK cuts off ")


def test_a_mask_that_holds_the_object_cuts_nothing_off():
    assert placed(meadow(), vase(), mask=hole(40, 40, 100, 90)).report.warnings == []


def test_the_fill_mask_has_a_margin_and_room_for_the_shadow_away_from_the_light():
    left, right = (
        placed(meadow(), vase(), box=(50, 20, 110, 90), scene=scene(light=Light((x, 0.0)))) for x in (-1.0, 1.0)
    )
    for placement in (left, right):
        margin = placement.fill_mask[placement.box.top - 2 : placement.box.bottom]
        assert margin[0].any()
        assert set(np.unique(placement.fill_mask)) == {0, 255}
        assert placement.fill_mask[placement.object_mask > 0].all()
        assert placement.fill_mask[placement.box.bottom + 5].any()
    # Light from the left: room on the right.
    middle = left.box.left + left.box.width // 2
    assert left.fill_mask[:, middle:].sum() > 1.1 * left.fill_mask[:, :middle].sum()
    assert right.fill_mask[:, middle:].sum() < 0.9 * right.fill_mask[:, :middle].sum()


def test_without_room_for_a_shadow_there_is_the_margin_alone():
    bare = MaskGenerator(PlacementSettings(shadow=0, dilation=0))(PlacementJob(meadow(), vase(), box=BOX))
    rows = np.flatnonzero(bare.fill_mask.any(axis=1))
    assert rows[-1] == bare.box.bottom - 1 + 2


def test_the_crop_is_square_and_holds_what_may_change():
    placement = placed(meadow(300, 400), vase(), box=(180.0, 120.0, 220.0, 180.0))
    crop = placement.crop
    assert crop.height == crop.width
    rows, columns = (np.flatnonzero(placement.fill_mask.any(axis=axis)) for axis in (1, 0))
    longer = max(np.ptp(rows), np.ptp(columns)) + 1
    assert crop.height == 2 * longer
    assert crop.contains(Box(rows[0], columns[0], np.ptp(rows) + 1, np.ptp(columns) + 1))


def test_the_paste_has_the_objects_shapes_and_the_surroundings_light():
    background = meadow() // 3
    placement = placed(background, vase(), box=BOX)
    solid = placement.object_mask == 255
    np.testing.assert_array_equal(
        placement.pre_composite[placement.fill_mask == 0], background[placement.fill_mask == 0]
    )
    bright = placed(meadow(), vase(), box=BOX).pre_composite
    assert placement.pre_composite[solid].mean() < bright[solid].mean()


def test_transparent_colours_do_not_bleed():
    cutout = vase(240, 160)
    cutout[cutout[..., 3] == 0, :3] = (0, 255, 0)
    clean = placed(meadow(), vase(240, 160), box=BOX)
    np.testing.assert_array_equal(placed(meadow(), cutout, box=BOX).pre_composite, clean.pre_composite)


@pytest.mark.parametrize(
    ("job", "sentence"),
    [
        ({"box": (0, 0, 161, 10)}, r"BOX \[0, 0, 161, 10\] leaves the picture; 0 to 160 across and 0 to 120 down"),
        ({"box": (0, -1, 60, 10)}, "leaves the picture"),
        ({"box": (10, 10, 10, 20)}, "has no area"),
        ({"box": (0, 0, 10, float("nan"))}, "BOX is .*160x120"),
        ({"box": (0, 0, 3, 3)}, "The object would be 2x3 pixels; at least 4"),
        ({"point": (161, 10)}, r"POINT \[161, 10\] is not in the picture; 0 to 160 across and 0 to 120 down"),
        ({"point": (float("nan"), 10)}, "is not in the picture"),
        ({"point": (50, 2)}, "at least 4 a side"),
        ({"point": (0, 100)}, "at least 4 a side"),
        ({"scale": 0.0}, "SCALE is 0; above 0 to 1"),
        ({"scale": 1.01}, "SCALE is 1.01"),
        ({"scale": float("nan")}, "SCALE is nan"),
        ({"scale": 0.01}, "at least 4 a side"),
        ({"mask": np.zeros((120, 160), np.uint8)}, "MASK is empty"),
        ({"mask": np.ones((120, 159), np.uint8)}, "MASK has 159x120 pixels; 160x120 are accepted"),
        ({"mask": np.ones(5, np.uint8)}, "MASK has"),
        ({"mask": hole(5, 5, 7, 7)}, "at least 4 a side"),
        ({"object": np.zeros((9, 9, 4), np.uint8)}, "The object is empty"),
        ({"object": np.zeros((9, 9, 3), np.uint8)}, r"The object is .*UINT8 \[H, W, 4\]"),
        ({"background": np.zeros((1, 1, 3), np.uint8)}, "The object would be 1x1 pixels"),
        ({"background": np.zeros((3, 200, 3), np.uint8)}, "at least 4 a side"),
        ({"background": np.zeros((4, 4), np.uint8)}, "BACKGROUND is"),
    ],
)
def test_what_is_not_possible_is_refused(job, sentence):
    values = {"background": meadow(), "object": vase(), **job}
    with pytest.raises(InvalidInput, match=sentence) as caught:
        MaskGenerator(PlacementSettings())(PlacementJob(**values))
    assert "\n" not in str(caught.value)


def test_a_mask_that_misses_the_object_is_refused():
    mask = hole(40, 40, 100, 90)
    mask[41:99, 41:89] = 0
    cutout = np.zeros((60, 50, 4), np.uint8)
    cutout[20:40, 20:30] = 255
    with pytest.raises(InvalidInput, match="Nothing of the object would be left in MASK"):
        placed(meadow(), cutout, mask=mask)


@settings(max_examples=40, deadline=None)
@given(data=st.data(), height=st.integers(12, 90), width=st.integers(12, 90))
def test_any_place_in_any_picture(data, height, width):
    background = meadow(height, width, seed=height)
    cutout = vase(data.draw(st.integers(4, 40)), data.draw(st.integers(4, 40)))
    left, top = data.draw(st.floats(0, width / 2)), data.draw(st.floats(0, height / 2))
    job = data.draw(
        st.sampled_from([{"box": (left, top, float(width), float(height))}, {"point": (left, float(height))}, {}])
    )
    generator = MaskGenerator(PlacementSettings(crop=data.draw(st.floats(1, 3)), dilation=data.draw(st.floats(0, 0.3))))
    try:
        placement = generator(PlacementJob(background, cutout, **job))
    except InvalidInput as refusal:
        assert "at least 4 a side" in str(refusal)
        return
    check_placement(placement, background)
    assert min(placement.box.height, placement.box.width) >= 4
    assert placement.fill_mask[placement.object_mask > 0].all()
    outside = placement.fill_mask == 0
    np.testing.assert_array_equal(placement.pre_composite[outside], background[outside])
    rows, columns = (np.flatnonzero(placement.fill_mask.any(axis=axis)) for axis in (1, 0))
    filled = Box(rows[0], columns[0], rows[-1] + 1 - rows[0], columns[-1] + 1 - columns[0])
    assert placement.crop.contains(filled)


def test_a_huge_picture_in_seconds():
    background = np.full((4000, 6000, 3), 120, np.uint8)
    started = time.perf_counter()
    placement = placed(background, vase(600, 400))
    assert time.perf_counter() - started < 60
    assert placement.box.height == 1400
