"""What a language model answers: read where it can be, never made up."""

import json

import pytest

from atelier.compositing.neural.answers import read

WHOLE = {
    "light": {"from": "upper left", "softness": 0.3, "colour": "#FFEEdd", "description": "late sun"},
    "palette": ["#102030", "#AABBCC", "blue", "#102030"],
    "mood": "calm",
    "camera": ["eye level", "35 mm"],
    "surfaces": "wooden table",
    "text": "나무 탁자 위로 부드러운 빛이 듭니다.",
    "prompt": "A vase on a wooden table, late sun from the upper left, soft shadow.",
    "box": [100, 200, 300.5, 1000],
}


def test_a_whole_answer():
    found = read(f"Here you are:\n```json\n{json.dumps(WHOLE, ensure_ascii=False)}\n```\nGood luck {{}}!", "ko")
    assert found.read == ["text", "prompt", "light", "palette", "mood", "camera", "surfaces", "box"]
    assert found.missing(True) == []
    assert not found.problems
    light = found.values["light"]
    assert light["direction"] == pytest.approx((-(0.5**0.5), -(0.5**0.5)))
    assert (light["softness"], light["colour"], light["description"]) == (0.3, (255, 238, 221), "late sun")
    assert found.values["palette"] == ("#102030", "#aabbcc")
    assert found.values["camera"] == "eye level, 35 mm"
    assert found.values["box"] == (100.0, 200.0, 300.5, 1000.0)


@pytest.mark.parametrize("end", [', "prompt": "A va', "", ",}", ', "box": [1, 2'])
def test_of_a_damaged_answer_what_is_whole(end):
    found = read('{"mood": "calm", "palette": ["#010203"], "text": "Ein \\"Tisch\\"."' + end, "de")
    assert found.read == ["text", "palette", "mood"]
    assert found.values["text"] == 'Ein "Tisch".'
    assert found.missing(False) == ["prompt", "light", "camera", "surfaces"]


@pytest.mark.parametrize(
    "answer", ["", "no idea", "[1, 2, 3]", '"mood"', "{}", '{"other": 1}', "{" * 5000, "[" * 200000]
)
def test_of_no_answer_nothing(answer):
    found = read(answer, "en")
    assert found.read == []
    assert not found.problems
    assert found.missing(True)[-1] == "box"
    assert "box" not in found.missing(False)


@pytest.mark.parametrize(
    "box, why",
    [
        ([1, 2, 3], "four numbers"),
        ([1, 2, 3, "4"], "four numbers"),
        ([True, 0, 3, 4], "four numbers"),
        ({"left": 1}, "four numbers"),
        ([-1, 0, 10, 10], "leaves 0 to 1000"),
        ([0, 0, 10, 1000.5], "leaves 0 to 1000"),
        ([float("nan"), 0, 10, 10], "leaves 0 to 1000"),
        ([0, 0, float("inf"), 10], "leaves 0 to 1000"),
        ([10, 0, 10, 10], "empty"),
        ([0, 20, 10, 10], "empty"),
    ],
)
def test_a_box_that_is_none_is_dropped_and_said(box, why):
    found = read(json.dumps({"box": box, "mood": "calm"}), "en")
    assert found.read == ["mood"]
    assert why in found.problems["box"]


@pytest.mark.parametrize(
    "field, value, why",
    [
        ("text", "Hello there.", "not in Korean"),
        ("text", 5, "no text"),
        ("prompt", "탁자 위의 꽃병", "not in English"),
        ("mood", " \n ", "no words"),
        ("camera", ["wide", 3], "no text"),
        ("palette", ["red", "#12"], "#rrggbb"),
        ("palette", "#102030", "#rrggbb"),
        ("light", 7, "no object"),
        ("light", {"from": "Mars", "softness": 3, "colour": "white"}, "nothing of it"),
    ],
)
def test_values_that_are_none_are_dropped_and_said(field, value, why):
    found = read(json.dumps({field: value}), "ko")
    assert found.read == []
    assert why in found.problems[field]


@pytest.mark.parametrize(
    "side, direction",
    [("left", (-1, 0)), ("From the RIGHT.", (1, 0)), ("top", (0, -1)), ("below", (0, 1)), ("front", (0, 0)),
     ("left and right", (0, 0)), ("around", (0, 0))],
)  # fmt: skip
def test_sides_are_directions(side, direction):
    assert read(json.dumps({"light": {"from": side}}), "en").values["light"] == {"direction": direction}
    assert read(json.dumps({"light": side}), "en").values["light"]["direction"] == direction


def test_words_are_bounded_and_plain():
    found = read(json.dumps({"mood": "calm\x00\n\tand " * 100, "prompt": "a" * 5000}), "en")
    assert len(found.values["mood"]) == 200
    assert "\n" not in found.values["mood"]
    assert len(found.values["prompt"]) == 1000


def test_half_a_surrogate_pair_does_not_spoil_the_answer():
    found = read('{"mood": "calm \\ud83d", "text": "A table \\ud83d\\ude00."}', "en")
    assert found.values["mood"] == "calm" and found.values["text"] == "A table 😀."
    json.dumps(found.values, ensure_ascii=False).encode("utf-8")
