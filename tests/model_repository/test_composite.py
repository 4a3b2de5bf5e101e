"""`composite`, its stages and `composite_stream` on a real server, without weights."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from atelier.client import Client, InvalidRequest
from tests.conftest import ROOT
from tests.model_repository.composing import REPOSITORIES, file_of, pixels_of, scene, thing

OUTPUTS = ("IMAGE", "MASK", "ANALYSIS", "REPORT")


@pytest.fixture(scope="module")
def server(launch):
    return launch(*REPOSITORIES, models=("composite", "composite_stream"))


@pytest.fixture(params=["grpc", "http"])
def client(request, server):
    with Client(server.grpc_url if request.param == "grpc" else server.http_url) as client:
        yield client


def text(value):
    return np.array([[value.encode() if isinstance(value, str) else value]], np.object_)


def inputs(**more):
    given = {"BACKGROUND": text(file_of(scene())), "REFERENCE": text(file_of(thing()))}
    for name, value in more.items():
        array = isinstance(value, np.ndarray)
        given[name] = value if array else text(value)
    return given


def box(*corners):
    return np.array([corners], np.float32)


def ask(client, **more):
    answer = client.infer("composite", inputs(**more), outputs=dict.fromkeys(OUTPUTS))
    return {name: value.reshape(-1)[0] for name, value in answer.items()}


def test_an_object_is_set_in_and_nothing_else_changes(client):
    answer = ask(client, BOX=box(60, 30, 110, 110), PROMPT="마루 위의 빨간 상자", LANGUAGE="ko")
    image, mask, report = pixels_of(answer["IMAGE"]), pixels_of(answer["MASK"]), json.loads(answer["REPORT"])
    assert (image[mask == 0] == scene()[mask == 0]).all()
    assert (np.abs(image.astype(int) - scene())[mask > 0]).max() > 50
    left, top, right, bottom = report["placement"]["box"]
    assert (60 <= left < right <= 110) and (30 <= top < bottom == 110)
    assert report["placement"]["source"] == "box"
    stages = ["background_analyzer", "object_extractor", "mask_generator", "object_synthesizer"]
    assert list(report["seconds"]) == list(report["modes"]) == list(report["memory"]) == stages
    assert report["modes"]["object_extractor"] == "given"
    assert report["metrics"]["outside_max_difference"] == 0
    assert any("가" <= letter <= "힣" for letter in answer["ANALYSIS"].decode())


def test_what_was_drawn_and_used_is_reported(client):
    report = json.loads(ask(client)["REPORT"])
    assert report["placement"]["source"] == "heuristic"
    assert report["seed"] is None  # nothing was drawn
    assert "qwen2-vl-7b-instruct" in report["facts"]["background_analyzer"]["why_classical"]
    assert (report["width"], report["height"]) == (200, 120)
    assert report["warnings"] == []  # of an object with alpha nothing is left out


@pytest.mark.parametrize("kind, mode", [("PNG", "L"), ("PNG", "P"), ("PNG", "RGBA"), ("JPEG", "CMYK"), ("WEBP", None)])
def test_backgrounds_of_every_mode(client, kind, mode):
    image = pixels_of(ask(client, BACKGROUND=file_of(scene(), kind, mode), BOX=box(10, 10, 60, 100))["IMAGE"])
    assert image.shape == (120, 200, 3)


def test_a_colour_profile_stays(client):
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    file = io.BytesIO()
    Image.fromarray(scene()).save(file, "PNG", icc_profile=profile)
    answer = ask(client, BACKGROUND=file.getvalue())
    assert Image.open(io.BytesIO(answer["IMAGE"])).info["icc_profile"] == profile


def test_a_colour_profile_of_other_pixels_is_told(client):
    file = io.BytesIO()
    Image.fromarray(scene()).convert("CMYK").save(file, "JPEG", icc_profile=b"\0" * 16 + b"CMYK" + b"\0" * 108)
    answer = ask(client, BACKGROUND=file.getvalue())
    assert "icc_profile" not in Image.open(io.BytesIO(answer["IMAGE"])).info
    assert any("colour profile was left out" in warning for warning in json.loads(answer["REPORT"])["warnings"])


BAD = {
    "box outside": ({"BOX": box(150, 10, 260, 90)}, "BOX"),
    "box without area": ({"BOX": box(50, 10, 50, 90)}, "BOX"),
    "box of no number": ({"BOX": box(np.nan, 10, 60, 90)}, "BOX"),
    "point outside": ({"POINT": box(500, 20)}, "POINT"),
    "scale of nothing": ({"POINT": box(50, 100), "SCALE": box(0)}, "SCALE"),
    "mask of another size": ({"PLACEMENT_MASK": file_of(np.full((9, 9), 255, np.uint8))}, "MASK"),
    "empty mask": ({"PLACEMENT_MASK": file_of(np.zeros((120, 200), np.uint8))}, "MASK"),
    "unknown mode": ({"MODE": "best"}, "MODE"),
    "no weights": ({"MODE": "neural"}, "qwen2-vl-7b-instruct"),
    "no steps": ({"STEPS": np.array([[0]], np.int32)}, "STEPS"),
    "negative seed": ({"SEED": np.array([[-1]], np.int64)}, "SEED"),
    "strength above 1": ({"STRENGTH": box(1.5)}, "STRENGTH"),
    "no language": ({"LANGUAGE": "?"}, "LANGUAGE"),
    "no picture": ({"BACKGROUND": "words"}, "BACKGROUND"),
    "cut off": ({"REFERENCE": file_of(thing())[:60]}, "REFERENCE"),
    "empty object": ({"REFERENCE": file_of(np.zeros((20, 20, 4), np.uint8))}, "empty"),
    "reference's box outside": ({"REFERENCE_BOX": box(0, 0, 900, 9)}, "REFERENCE_BOX"),
    "textured without a box": (
        {"REFERENCE": file_of(np.random.default_rng(1).integers(0, 255, (64, 64, 3), np.uint8))},
        "plain background",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_in_one_sentence_and_the_next_request_works(client, case):
    given, word = BAD[case]
    with pytest.raises(InvalidRequest, match=word) as refused:
        ask(client, **given)
    assert "Traceback" not in str(refused.value) and str(ROOT) not in str(refused.value)
    assert pixels_of(ask(client, BOX=box(60, 30, 110, 110))["IMAGE"]).shape == (120, 200, 3)


def test_each_stage_alone_and_together(client):
    def run(model, given, *outputs):
        return client.infer(model, given, outputs=dict.fromkeys(outputs))

    place = {"BOX": box(60, 30, 110, 110)}
    given = inputs()
    read = run("background_analyzer", {"BACKGROUND": given["BACKGROUND"], **place}, "ANALYSIS", "SCENE", "REPORT")
    found = run("object_extractor", {"REFERENCE": given["REFERENCE"], "REPORT": read["REPORT"]}, "OBJECT", "REPORT")
    assert (found["OBJECT"][0] == thing()[4:-4, 4:-4]).all()
    more = {"OBJECT": found["OBJECT"], "SCENE": read["SCENE"], "BACKGROUND": given["BACKGROUND"]}
    names = ("PLACEMENT", "OBJECT_MASK", "FILL_MASK", "PRE_COMPOSITE", "REPORT")
    placed = run("mask_generator", {**more, **place, "REPORT": found["REPORT"]}, *names)
    made = run("object_synthesizer", {**more, **placed}, "IMAGE", "MASK", "REPORT")
    together = ask(client, BOX=place["BOX"])
    assert (pixels_of(made["IMAGE"].item()) == pixels_of(together["IMAGE"])).all()
    assert json.loads(made["REPORT"].item())["placement"] == json.loads(together["REPORT"])["placement"]
    # A scene that was read before is taken as it is.
    again = run("background_analyzer", {"BACKGROUND": given["BACKGROUND"], "SCENE": read["SCENE"]}, "ANALYSIS", "SCENE")
    assert again["ANALYSIS"].item() == read["ANALYSIS"].item()
    for forged in ("{}", "[" * 100_000, '{"stages": {"a": {"mode": "given", "warnings": 5}}}', "/etc/passwd"):
        with pytest.raises(InvalidRequest, match="REPORT"):
            run("object_extractor", {"REFERENCE": given["REFERENCE"], "REPORT": text(forged)}, "OBJECT")
        with pytest.raises(InvalidRequest, match="REPORT"):
            run("object_synthesizer", {**more, **placed, "REPORT": text(forged)}, "IMAGE")
    with pytest.raises(InvalidRequest, match="PLACEMENT"):
        run("object_synthesizer", {**more, **placed, "BACKGROUND": text(file_of(scene(60, 60)))}, "IMAGE")
