import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atelier.compositing.jobs import Light, StageReport
from atelier.compositing.scene import (
    check_placement,
    from_json,
    placement_from_json,
    placement_to_json,
    report_from_dict,
    report_to_dict,
    reports_from_json,
    reports_to_json,
    to_json,
)
from atelier.errors import InvalidInput
from tests.compositing.pictures import meadow, placed, scene, vase


@pytest.mark.parametrize("box", [None, (100.5, 200.0, 300.25, 900.0), (-5.0, 0.0, 2000.0, 1.0)])
def test_a_scene_comes_back_as_it_was(box):
    before = scene(box=box)
    assert from_json(to_json(before)) == before


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
unit = st.floats(0, 1)


@given(text=texts, softness=unit, x=st.floats(-0.7, 0.7), y=st.floats(-0.7, 0.7), colour=st.integers(0, 255))
def test_any_scene_comes_back(text, softness, x, y, colour):
    light = Light((x, y), softness, (colour, 0, 255), text)
    before = scene(text=text, light=light)
    assert from_json(to_json(before)) == before


def changed(path, value):
    values = json.loads(to_json(scene()))
    target = values
    for name in path[:-1]:
        target = target[name]
    if value is None:
        del target[path[-1]]
    else:
        target[path[-1]] = value
    return json.dumps(values)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "is not JSON"),
        ("{", "is not JSON"),
        (b"\xff\xfe\xff", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "is not as expected"),
        ("null", "is not as expected"),
        (changed(["text"], None), "text: Field required"),
        (changed(["text"], 5), "text: Input should be a valid string"),
        (changed(["light", "softness"], "much"), "light.softness: Input should be a valid number"),
        (changed(["light", "softness"], 1.5), "light.softness is from 0 to 1"),
        (changed(["light", "direction"], [1, 2, 3]), "light.direction"),
        (changed(["light", "direction"], [1, 1]), "unit vector"),
        (changed(["light", "colour"], [0, 0, 256]), "light.colour is three numbers"),
        (changed(["light", "colour"], [0.5, 0, 0]), "light.colour.0"),
        (changed(["palette"], ["green"]), "#rrggbb"),
        (changed(["box"], [1, 2, 3]), "box"),
        (changed(["report", "mode"], "magic"), "report.mode"),
        (changed(["light", "softness"], float("nan")), "is not JSON"),
        (changed(["box"], [0, 0, float("inf"), 1]), "is not JSON"),
    ],
)
def test_what_is_no_scene_is_refused(text, sentence):
    with pytest.raises(InvalidInput, match=sentence) as caught:
        from_json(text)
    assert str(caught.value).count("\n") == 0


def test_a_scene_that_is_none_is_not_written():
    with pytest.raises(InvalidInput, match="finite"):
        to_json(scene(box=(0.0, 0.0, float("nan"), 1.0)))


def test_reports_come_back():
    before = StageReport("neural", {"m": {"digest": "x"}}, {"s": 0.25}, {"host": 1}, ["one."], {"f": [1, None]})
    assert report_from_dict(json.loads(json.dumps(report_to_dict(before)))) == before


@pytest.mark.parametrize("values", [None, [], {}, {"mode": "magic"}, {"mode": "given", "seconds": {"a": "long"}}])
def test_what_is_no_report_is_refused(values):
    with pytest.raises(InvalidInput, match="report is not as expected"):
        report_from_dict(values)


def test_a_placement_comes_back():
    before = placed(meadow(), vase(), box=(20.0, 30.0, 80.0, 110.0))
    after = placement_from_json(placement_to_json(before), before.object_mask, before.fill_mask, before.pre_composite)
    assert (after.box, after.crop, after.source, after.report) == (
        before.box,
        before.crop,
        before.source,
        before.report,
    )
    assert after.object_mask is before.object_mask


def placement_with(**changes):
    placement = placed(meadow(), vase())
    values = {**json.loads(placement_to_json(placement)), **changes}
    return json.dumps(values), placement.object_mask, placement.fill_mask, placement.pre_composite


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"source": "dream"}, "Input should be"),
        ({"box": [1, 2, 3, 4]}, "is not as expected"),
        ({"box": {"top": 1, "left": 1, "height": "4", "width": 4}}, "height"),
        ({"box": {"top": 1, "left": 1, "height": -4, "width": 4}}, "no negative size"),
        (
            {"box": {"top": 1, "left": 1, "height": 0, "width": 4}},
            "box leaves the picture of 160x120 pixels or is empty",
        ),
        ({"crop": {"top": 1, "left": 1, "height": 500, "width": 4}}, "crop leaves the picture"),
        ({"crop": {"top": 0, "left": 0, "height": 4, "width": 4}}, "box leaves its crop"),
        ({"report": {}}, "report is not as expected"),
        ({"more": 1}, "it has box, crop, report, source, all four"),
    ],
)
def test_what_is_no_placement_is_refused(changes, sentence):
    with pytest.raises(InvalidInput, match=sentence):
        placement_from_json(*placement_with(**changes))


@pytest.mark.parametrize(
    ("part", "value"),
    [
        (1, np.zeros((120, 159), np.uint8)),
        (1, np.zeros((120, 160), np.float32)),
        (2, np.zeros((120, 160, 1), np.uint8)),
        (3, np.zeros((120, 160), np.uint8)),
        (3, np.zeros((120, 160, 3), np.float32)),
        (3, np.zeros((0, 160, 3), np.uint8)),
    ],
)
def test_tensors_that_do_not_fit_are_refused(part, value):
    parts = list(placement_with())
    parts[part] = value
    with pytest.raises(InvalidInput, match="is accepted"):
        placement_from_json(*parts)


def test_a_placement_belongs_to_its_background():
    with pytest.raises(InvalidInput, match="for a background of 160x120 pixels, not of 160x90"):
        check_placement(placed(meadow(), vase()), meadow(90, 160))


def test_reports_survive_json():
    reports = {"background_analyzer": report_to_dict(StageReport("neural", warnings=["정말"], facts={"a": [1, None]}))}
    assert reports_from_json(reports_to_json(reports)) == reports


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"stages": []}',
        '{"stages": {"a": {}}}',
        '{"stages": {"a": {"mode": "classical", "warnings": 5}}}',
        '{"stages": {"a": {"mode": "classical", "warnings": [["not", "hashable"]]}}}',
        '{"stages": {"a": {"mode": "classical", "seconds": {"alpha": "/etc/passwd"}}}}',
        '{"stages": {"a": {"mode": "classical", "facts": {"b": NaN}}}}',
        '{"stages": {"a": {"mode": "classical", "facts": {"b": 1e999}}}}',
        '{"stages": {"a": {"mode": "classical", "warnings": ["\\ud800"]}}}',
        '{"stages": {"a": {"mode": "classical", "facts": {"b": ' + "[" * 500 + "]" * 500 + "}}}}",
        "[" * 100_000,
    ],
)
def test_what_no_stage_reports_is_refused(text):
    with pytest.raises(InvalidInput, match="^REPORT is not") as refused:
        reports_from_json(text)
    assert len(str(refused.value)) < 300
