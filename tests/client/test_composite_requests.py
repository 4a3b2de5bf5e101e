"""What a request to `composite` is made of, and what is refused before anything is sent."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from atelier.client import Client, CompositeResult, InvalidRequest, ServerError
from atelier.client.compositing import composite_inputs, read_result

SCENE = np.random.default_rng(4).integers(0, 256, (40, 60, 3), dtype=np.uint8)
THING = np.dstack([SCENE[:20, :10], np.full((20, 10), 200, np.uint8)])


def png(array):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()


def test_every_setting_becomes_its_tensor():
    settings = {
        "prompt": "탁자 위의 컵",
        "box": (1, 2.5, 30, 40),
        "point": np.array([3, 4]),
        "scale": 0.25,
        "mask": SCENE[..., 0] > 99,
        "reference_box": [0, 0, 10, 20],
        "reference_point": (5, 6),
        "seed": 2**62,
        "steps": 8,
        "guidance_scale": 3,
        "strength": np.float32(0.5),
        "language": "ko",
        "mode": "classical",
    }
    inputs = composite_inputs(SCENE, THING, settings)
    # MASK is the name of an output, and an ensemble's tensors share their names.
    names = {"PLACEMENT_MASK" if name == "mask" else name.upper() for name in settings}
    assert set(inputs) == {"BACKGROUND", "REFERENCE", *names}
    shapes = {"BOX": (1, 4), "REFERENCE_BOX": (1, 4), "POINT": (1, 2), "REFERENCE_POINT": (1, 2)}
    assert all(array.shape == shapes.get(name, (1, 1)) for name, array in inputs.items())
    numbers = {name: array for name, array in inputs.items() if array.dtype != object}
    kinds = {name: array.dtype for name, array in numbers.items()}
    floats = dict.fromkeys(
        ("BOX", "POINT", "SCALE", "REFERENCE_BOX", "REFERENCE_POINT", "GUIDANCE_SCALE", "STRENGTH"), np.float32
    )
    assert kinds == {**floats, "SEED": np.int64, "STEPS": np.int32}
    assert numbers["BOX"].tolist() == [[1, 2.5, 30, 40]]
    assert numbers["SEED"].item() == 2**62
    assert inputs["PROMPT"].item().decode() == "탁자 위의 컵"
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(inputs["REFERENCE"].item()))), THING)
    assert np.asarray(Image.open(io.BytesIO(inputs["PLACEMENT_MASK"].item()))).any()


def test_what_is_not_said_is_not_sent():
    inputs = composite_inputs(SCENE, THING, {"prompt": None, "box": None, "seed": None, "mode": ""})
    assert set(inputs) == {"BACKGROUND", "REFERENCE", "MODE"}


def test_every_way_to_hold_a_picture_is_taken(tmp_path):
    path = tmp_path / "배경.png"
    path.write_bytes(png(SCENE))
    forms = [path, str(path), png(SCENE), bytearray(png(SCENE)), SCENE, Image.fromarray(SCENE)]
    for form in forms:
        sent = composite_inputs(form, form, {})["BACKGROUND"].item()
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(sent))), SCENE)


def test_the_stream_has_settings_of_its_own():
    inputs = composite_inputs(SCENE, THING, {"seeds": 3, "preview_every": 2}, streamed=True)
    assert (inputs["SEEDS"].item(), inputs["PREVIEW_EVERY"].item()) == (3, 2)
    with pytest.raises(InvalidRequest, match="seeds is for composite_stream"):
        composite_inputs(SCENE, THING, {"seeds": 3})


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"box": (1, 2, 3)}, r"box is \(1, 2, 3\); accepted: left, top, right, bottom"),
        ({"box": "1,2,3,4"}, "box is '1,2,3,4'; accepted"),
        ({"box": np.zeros((1, 4))}, "box is array.*; accepted"),
        ({"point": 5}, "point is 5; accepted: x, y"),
        ({"point": (1, None)}, r"point is \(1, None\); accepted"),
        ({"point": (True, 1)}, "accepted: x, y"),
        ({"reference_point": (10**400, 1)}, "which is too large"),
        ({"scale": "half"}, "scale is 'half'; accepted: a number"),
        ({"strength": [1]}, r"strength is \[1\]; accepted: a number"),
        ({"seed": -1}, r"seed is -1; accepted: an integer from 0 to 2\^63 - 1"),
        ({"seed": 2**63}, "seed is 9223372036854775808; accepted"),
        ({"seed": 1.5}, "seed is 1.5; accepted"),
        ({"steps": 2**31}, "steps is 2147483648; accepted: an integer of 32 bits"),
        ({"steps": 1.5}, "steps is 1.5; accepted"),
        ({"prompt": 5}, "prompt is 5; accepted: a text"),
        ({"prompt": "\udc80"}, "no valid text"),
        ({"mask": "gone.png"}, "mask: gone.png cannot be read"),
        ({"mask": 5}, "mask is a int; accepted: a path, bytes, a PIL image or an array"),
        ({"temperature": 1}, "There is no setting 'temperature'; accepted: prompt, language, mode, box"),
    ],
)
def test_what_cannot_be_sent_is_refused_at_once(settings, said):
    with Client("localhost:1") as client:  # nothing listens there
        with pytest.raises(InvalidRequest, match=said):
            client.composite(SCENE, THING, **settings)
        with pytest.raises(InvalidRequest, match=said):
            client.composite_stream(SCENE, THING, **settings)


@pytest.mark.parametrize("name", ["background", "reference"])
def test_what_is_no_picture_is_refused_by_its_name(name):
    pictures = {"background": SCENE, "reference": THING, name: 5}
    with Client("localhost:1") as client, pytest.raises(InvalidRequest, match=f"{name} is a int; accepted"):
        client.composite(**pictures)


def test_parts_do_not_come_over_http():
    with Client("http://localhost:1") as client, pytest.raises(InvalidRequest, match="use the gRPC address"):
        client.composite_stream(SCENE, THING).result()


def answer(**changes):
    report = {"seed": 1}
    parts = {"IMAGE": png(SCENE), "MASK": png(SCENE[..., 0]), "ANALYSIS": "맑음".encode(), "REPORT": json.dumps(report)}
    return {name: np.array([[value]], object) for name, value in (parts | changes).items()}


def test_a_result_is_read_and_saved(tmp_path):
    result = read_result(answer(), "here")
    np.testing.assert_array_equal(result.image, SCENE)
    np.testing.assert_array_equal(result.mask, SCENE[..., 0])
    assert (result.analysis, result.report) == ("맑음", {"seed": 1})
    result.save(tmp_path / "결과.PNG")
    assert (tmp_path / "결과.PNG").read_bytes() == result.data
    for path, said in (
        (tmp_path / "x.jpg", "x.jpg does not end in .png"),
        (tmp_path / "gone" / "x.png", "cannot be written .No such file"),
        (tmp_path / "a\0.png", "cannot be written"),
        (5, "5 is no path"),
    ):
        with pytest.raises(InvalidRequest, match=said):
            result.save(path)


@pytest.mark.parametrize(
    "changes", [{"REPORT": b"["}, {"REPORT": b"[]"}, {"IMAGE": 5}, {"ANALYSIS": b"\xff"}, {"ANALYSIS": 5}]
)
def test_an_answer_that_is_none(changes):
    with pytest.raises(ServerError, match="answer of here"):
        read_result(answer(**changes), "here")


def test_a_picture_that_is_none():
    result = CompositeResult(b"GIF89a", b"", "", {})
    for name in ("image", "mask"):
        with pytest.raises(ServerError, match="cannot be read"):
            getattr(result, name)
